/* Matrix multiplication in floats. */
typedef float element;
enum { Rounds = 15 };
#include "matrix.h"

static const char name[] = "matrix-float";

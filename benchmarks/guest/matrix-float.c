/* Matrix multiplication in floats. */
typedef float element;
enum { Rounds = 6 };
#include "matrix.h"

static const char name[] = "matrix-float";

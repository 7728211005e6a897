/* Matrix multiplication in doubles. */
typedef double element;
enum { Rounds = 6 };
#include "matrix.h"

static const char name[] = "matrix-double";

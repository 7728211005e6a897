/* On one processor. */
#include "parallel.h"

static const char name[] = "parallel";

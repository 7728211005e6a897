/* On two processors. */
#include "parallel.h"

static const char name[] = "parallel-two";

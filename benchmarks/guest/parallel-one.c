/* On one of two processors. */
enum { Processors = 1 };
#include "parallel.h"

static const char name[] = "parallel-one";

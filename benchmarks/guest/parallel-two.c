/* On two processors. */
enum { Processors = 2 };
#include "parallel.h"

static const char name[] = "parallel-two";

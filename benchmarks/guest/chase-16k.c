/* Pointers within 16 KB: in every cache. */
enum { Size = 16 * 1024, Steps = 40000000 };
#include "chase.h"

static const char name[] = "chase-16k";

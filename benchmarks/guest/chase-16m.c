/* Pointers within 16 MB: beyond most caches. */
enum { Size = 16 * 1024 * 1024, Steps = 1000000 };
#include "chase.h"

static const char name[] = "chase-16m";

/* Pointers within 512 KB: in the second-level cache, and more pages than most TLBs hold. */
enum { Size = 512 * 1024, Steps = 5000000 };
#include "chase.h"

static const char name[] = "chase-512k";

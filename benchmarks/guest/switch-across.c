/* Wake-ups across two processors: interrupts between them, and idle ones that wake. */
enum { ChildsProcessor = 1, Rounds = 1000 };
#include "switch.h"

static const char name[] = "switch-across";

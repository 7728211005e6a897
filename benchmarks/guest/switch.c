/* Context switches on one processor. */
enum { ChildsProcessor = 0, Rounds = 2500 };
#include "switch.h"

static const char name[] = "switch";

/* Context switches on one processor. */
enum { ChildsProcessor = 0, Rounds = 15000 };
#include "switch.h"

static const char name[] = "switch";

/* The cheapest system call, many times: the way into the kernel and back. */
#include "runtime.h"

static const char name[] = "syscall";

enum { Calls = 400000 };

static u64 work(void) {
  u64 answered = 0;
  for (u64 i = 0, calls = times(Calls); i < calls; i++) answered += system_call(SYS_getppid, 0, 0, 0, 0) >= 0;
  return answered;
}

/* Two processes that wake each other in turns, through two pipes, each on a processor of its own or both on one. */
#include "runtime.h"

static u64 work(void) {
  int there[2], back[2];
  u64 rounds = times(Rounds), sum = 0;
  u8 byte = 0;
  must(system_call(SYS_pipe, (long)there, 0, 0, 0));
  must(system_call(SYS_pipe, (long)back, 0, 0, 0));
  stay_on(0);
  long child = must(system_call(SYS_fork, 0, 0, 0, 0));
  if (child == 0) {
    stay_on(ChildsProcessor);
    for (u64 i = 0; i < rounds; i++) {
      must(system_call(SYS_read, there[0], (long)&byte, 1, 0));
      byte = (u8)(byte * 3 + 1);
      must(system_call(SYS_write, back[1], (long)&byte, 1, 0));
    }
    leave(0);
  }
  for (u64 i = 0; i < rounds; i++) {
    must(system_call(SYS_write, there[1], (long)&byte, 1, 0));
    must(system_call(SYS_read, back[0], (long)&byte, 1, 0));
    sum = sum * 31 + byte;
  }
  return sum + (u64)wait_for(child);
}

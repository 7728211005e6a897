/* Processes: fork, write to shared pages in the child, exit, wait; page tables, page faults and the scheduler. */
#include "runtime.h"

static const char name[] = "fork";

enum { Forks = 250, Pages = 16 };
static volatile u8 memory[Pages * PageSize];

static u64 work(void) {
  u64 ended = 0;
  for (int page = 0; page < Pages; page++) memory[page * PageSize] = 1;
  for (u64 i = 0, forks = times(Forks); i < forks; i++) {
    long child = system_call(SYS_fork, 0, 0, 0, 0);
    if (child == 0) {
      for (int page = 0; page < Pages; page++) memory[page * PageSize]++;
      leave(i & 127);
    }
    int status = -1;
    if (child < 0 || system_call(SYS_wait4, child, (long)&status, 0, 0) != child) break;
    ended = ended * 31 + (u64)(status >> 8 & 127);
  }
  return ended;
}

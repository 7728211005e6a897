/* A stream between two processes through a pipe: system calls, copies in the kernel, wake-ups. */
#include "runtime.h"

static const char name[] = "pipes";

enum { Block = 16 * 1024 };
static u8 block[Block];

static u64 work(void) {
  int ends[2];
  u64 blocks = times(4000), sum = 0;
  must(system_call(SYS_pipe, (long)ends, 0, 0, 0));
  long child = must(system_call(SYS_fork, 0, 0, 0, 0));
  if (child == 0) {
    for (u64 i = 0; i < blocks; i++) {
      block[i * 64 % Block] = (u8)i;
      for (long done = 0; done < Block;) done += must(system_call(SYS_write, ends[1], (long)block + done, Block - done, 0));
    }
    leave(0);
  }
  system_call(SYS_close, ends[1], 0, 0, 0);
  /* Reads come in pieces of any size: a byte of every 64 is looked at, wherever the piece ends. */
  u64 at = 0, end = 0;
  for (long got; (got = must(system_call(SYS_read, ends[0], (long)block, Block, 0))) > 0;) {
    u64 begin = end;
    for (end += (u64)got; at < end; at += 64) sum = sum * 31 + block[at - begin];
  }
  wait_for(child);
  system_call(SYS_close, ends[0], 0, 0, 0);
  return sum + end;
}

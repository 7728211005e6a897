/* Mappings made, touched and removed. */
#include "runtime.h"

static const char name[] = "mmap";

enum { Pages = 8 };

static u64 work(void) {
  u64 sum = 0, rounds = times(2500);
  for (u64 round = 0; round < rounds; round++) {
    volatile u8 *memory = map((u64)Pages * PageSize, MAP_PRIVATE);
    memory[round % Pages * PageSize] = (u8)round;
    sum = sum * 31 + memory[round % Pages * PageSize] + memory[0];
    must(system_call(SYS_munmap, (long)memory, (long)Pages * PageSize, 0, 0));
  }
  return sum;
}

/* Page faults: the first touch of each page of fresh memory, given back and touched again. */
#include "runtime.h"

static const char name[] = "faults";

enum { Pages = 1024, MADV_DONTNEED = 4, MADV_NOHUGEPAGE = 15 };

static u64 work(void) {
  u64 sum = 0, rounds = times(20);
  u8 *memory = map((u64)Pages * PageSize, MAP_PRIVATE);
  system_call(SYS_madvise, (long)memory, (long)Pages * PageSize, MADV_NOHUGEPAGE, 0);
  for (u64 round = 0; round < rounds; round++) {
    for (u64 page = 0; page < Pages; page++) sum += memory[page * PageSize]++ + 1;
    must(system_call(SYS_madvise, (long)memory, (long)Pages * PageSize, MADV_DONTNEED, 0));
  }
  return sum;
}

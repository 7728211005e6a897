/* Work that two processes share evenly and without a word, on `Processors`: twice as fast on two. */
#include "runtime.h"

enum { Workers = 2, Table = 16 * 1024 };

/* A walk whose steps need registers and a table of the worker's own. */
static u64 part(u64 worker, u64 rounds) {
  static u64 table[Table];
  u64 state = worker + 1, sum = 0;
  for (u64 i = 0; i < rounds; i++) {
    u64 at = random_number(&state) % Table;
    sum += table[at] += state >> 7;
  }
  return sum;
}

static u64 work(void) {
  u64 rounds = times(50000000), sum = 0;
  volatile u64 *results = map(PageSize, MAP_SHARED);
  long children[Workers];
  for (u64 worker = 0; worker < Workers; worker++) {
    children[worker] = must(system_call(SYS_fork, 0, 0, 0, 0));
    if (children[worker] == 0) {
      stay_on((int)worker % Processors);
      results[worker] = part(worker, rounds);
      leave(0);
    }
  }
  for (u64 worker = 0; worker < Workers; worker++) wait_for(children[worker]), sum = sum * 31 + results[worker];
  return sum;
}

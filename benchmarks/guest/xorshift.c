/* Registers only: Marsaglia's generator, each step needing the one before. */
#include "runtime.h"

static const char name[] = "xorshift";

static u64 work(void) {
  u64 state = 88172645463325252, rounds = times(100000000);
  for (u64 i = 0; i < rounds; i++) random_number(&state);
  return state;
}

/* Nothing, many times: a decrement and a branch. */
#include "runtime.h"

static const char name[] = "loop";

static u64 work(void) {
  u64 left = times(150000000);
  do __asm__ volatile("" : "+r"(left));
  while (--left);
  return left;
}

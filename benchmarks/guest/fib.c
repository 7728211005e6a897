/* Calls and returns: Fibonacci numbers the slow way. */
#include "runtime.h"

static const char name[] = "fib";

/* As it is written: gcc would make most of the calls loops. */
__attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline"))) static u64 fib(u32 n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static u64 work(void) {
  u64 sum = 0, rounds = times(60);
  for (u64 i = 0; i < rounds; i++) sum += fib(25);
  return sum;
}

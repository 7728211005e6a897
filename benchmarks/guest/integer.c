/* Integers and branches: a sieve (bytes in memory), then the lengths of Collatz sequences (registers only). */
#include "runtime.h"

static const char name[] = "integer";

enum { SieveSize = 1 << 20, Rounds = 12, CollatzLimit = 400000 };
static u8 composite[SieveSize];

static u64 count_primes(void) {
  u64 primes = 0;
  for (u32 i = 0; i < SieveSize; i++) composite[i] = 0;
  KEEP(composite);
  for (u32 i = 2; i < SieveSize; i++) {
    if (composite[i]) continue;
    primes++;
    for (u64 multiple = (u64)i * i; multiple < SieveSize; multiple += i) composite[multiple] = 1;
  }
  return primes;
}

static u64 collatz_steps(void) {
  u64 steps = 0, limit = times(CollatzLimit);
  for (u64 start = 1; start < limit; start++) {
    for (u64 n = start; n != 1; steps++) {
      if (n & 1) n = 3 * n + 1;
      else n >>= 1;
    }
  }
  return steps;
}

static u64 work(void) {
  u64 sum = 0;
  for (u64 round = 0, rounds = times(Rounds); round < rounds; round++) sum = sum * 31 + count_primes();
  return sum + collatz_steps();
}

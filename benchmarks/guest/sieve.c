/* Eratosthenes' sieve over a megabyte: bytes in memory at every distance. */
#include "runtime.h"

static const char name[] = "sieve";

enum { Size = 1 << 20 };
static u8 composite[Size];

static u64 primes(void) {
  u64 count = 0;
  for (u32 i = 0; i < Size; i++) composite[i] = 0;
  KEEP(composite);
  for (u32 i = 2; i < Size; i++) {
    if (composite[i]) continue;
    count++;
    for (u64 multiple = (u64)i * i; multiple < Size; multiple += i) composite[multiple] = 1;
  }
  return count;
}

static u64 work(void) {
  u64 sum = 0, rounds = times(20);
  for (u64 i = 0; i < rounds; i++) sum = sum * 31 + primes();
  return sum;
}

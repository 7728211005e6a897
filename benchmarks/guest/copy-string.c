/* Memory copy with REP MOVSB, as the kernel does it where the processor says that it is fast. 128 MiB in all. */
#include "runtime.h"

static const char name[] = "copy-string";

enum { Size = 256 * 1024, Rounds = 512 };
static u8 source[Size], target[Size + 64];

static u64 work(void) {
  u64 sum = 0;
  for (int i = 0; i < Size; i++) source[i] = (u8)(i * 131 + (i >> 8));
  for (u64 round = 0, rounds = times(Rounds); round < rounds; round++) {
    u8 *to = target + (round & 63);
    const u8 *from = source;
    u64 count = Size;
    source[round % Size] ^= (u8)round;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  }
  for (int i = 0; i < Size; i++) sum = sum * 31 + target[i];
  return sum;
}

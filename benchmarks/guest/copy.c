/* Memory copy as C libraries do it on x86-64: 64 bytes a turn through vector registers. 512 MiB in all. */
#include <emmintrin.h>
#include "runtime.h"

static const char name[] = "copy";

enum { Size = 256 * 1024, Rounds = 2048 };
static u8 source[Size] __attribute__((aligned(64)));
static u8 target[Size + 64] __attribute__((aligned(64)));

/* Loads aligned, stores not: the usual case. */
static void copy(u8 *to, const u8 *from) {
  for (u64 at = 0; at < Size; at += 64) {
    __m128i a = _mm_load_si128((const __m128i *)(from + at));
    __m128i b = _mm_load_si128((const __m128i *)(from + at + 16));
    __m128i c = _mm_load_si128((const __m128i *)(from + at + 32));
    __m128i d = _mm_load_si128((const __m128i *)(from + at + 48));
    _mm_storeu_si128((__m128i *)(to + at), a);
    _mm_storeu_si128((__m128i *)(to + at + 16), b);
    _mm_storeu_si128((__m128i *)(to + at + 32), c);
    _mm_storeu_si128((__m128i *)(to + at + 48), d);
  }
  KEEP(to);
}

static u64 work(void) {
  u64 sum = 0;
  for (int i = 0; i < Size; i++) source[i] = (u8)(i * 131 + (i >> 8));
  for (u64 round = 0, rounds = times(Rounds); round < rounds; round++) {
    source[round % Size] ^= (u8)round;
    copy(target + (round & 63), source);
  }
  for (int i = 0; i < Size; i++) sum = sum * 31 + target[i];
  return sum;
}

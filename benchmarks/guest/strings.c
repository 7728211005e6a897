/* String functions: by byte, and by sixteen as C libraries have them on x86-64; words of all lengths. */
#include <emmintrin.h>
#include "runtime.h"

static const char name[] = "strings";

enum { Size = 64 * 1024, Words = 4096 };
static char text[Size] __attribute__((aligned(16)));
static char copy[Size + 16];
static const char *word[Words];
typedef long long __attribute__((may_alias)) eight;

__attribute__((noinline)) static u64 find_end(const char *at) {
  const char *from = (const char *)((u64)at & -16ul);
  u32 found = (u32)_mm_movemask_epi8(_mm_cmpeq_epi8(*(const __m128i *)from, _mm_setzero_si128())) >> ((u64)at & 15);
  if (found) return (u64)__builtin_ctz(found);
  do {
    from += 16;
    found = (u32)_mm_movemask_epi8(_mm_cmpeq_epi8(*(const __m128i *)from, _mm_setzero_si128()));
  } while (!found);
  return (u64)(from - at) + (u64)__builtin_ctz(found);
}

__attribute__((noinline)) static int compare(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return (u8)*a - (u8)*b;
}

__attribute__((noinline)) static const char *find(const char *at, char wanted) {
  while (*at && *at != wanted) at++;
  return at;
}

__attribute__((noinline)) static void move(char *to, const char *from, u64 count) {
  for (; count >= 8; count -= 8, to += 8, from += 8) *(eight *)to = *(const eight *)from;
  while (count--) *to++ = *from++;
}

__attribute__((noinline)) static int same(const char *a, const char *b, u64 count) {
  for (; count >= 16; count -= 16, a += 16, b += 16) {
    __m128i equal = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b));
    if (_mm_movemask_epi8(equal) != 0xffff) return 0;
  }
  while (count--)
    if (*a++ != *b++) return 0;
  return 1;
}

static void write_words(void) {
  u64 state = 3;
  char *at = text;
  for (int i = 0; i < Words; i++) {
    word[i] = at;
    u64 count = random_number(&state) % 13 + (i % 64 == 0 ? 90 : 1);
    while (count--) *at++ = (char)('a' + random_number(&state) % 4);
    *at++ = 0;
  }
}

static u64 work(void) {
  u64 sum = 0, rounds = times(240);
  write_words();
  for (u64 round = 0; round < rounds; round++) {
    char *to = copy;
    for (int i = 0; i < Words; i++) {
      const char *one = word[i], *other = word[(i * 5 + (int)round) & (Words - 1)];
      u64 count = find_end(one);
      move(to, one, count + 1);
      sum = sum * 31 + (u64)compare(one, other) + (u64)(find(one, 'd') - one) + (u64)same(to, one, count);
      to += count + 1;
    }
  }
  return sum;
}

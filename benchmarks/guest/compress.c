/* Compression in LZ4's way (a hash of four bytes, matches as length and distance), decompression, comparison. */
#include "runtime.h"

static const char name[] = "compress";

enum { Size = 256 * 1024, HashBits = 13, ShortestMatch = 4, Farthest = 65535, Tail = 12, Vocabulary = 512 };
typedef u32 __attribute__((may_alias, aligned(1))) four;
static u8 source[Size], packed[Size * 2], unpacked[Size];
static u32 latest[1 << HashBits];

/* Words that repeat, as texts do. */
static void write_text(void) {
  u64 state = 11;
  static u8 words[Vocabulary][8];
  for (int i = 0; i < Vocabulary; i++)
    for (int j = 0; j < 8; j++) words[i][j] = (u8)('a' + random_number(&state) % 26);
  for (u32 at = 0; at < Size;) {
    u64 choice = random_number(&state);
    const u8 *word = words[(choice & choice >> 16) % Vocabulary];
    for (u32 i = 0, count = (u32)(3 + (choice >> 40) % 6); i < count && at < Size; i++) source[at++] = word[i];
    if (at < Size) source[at++] = ' ';
  }
}

static u8 *put_length(u8 *to, u32 count) {
  for (; count >= 255; count -= 255) *to++ = 255;
  *to++ = (u8)count;
  return to;
}

static u8 *put_sequence(u8 *to, const u8 *literals, u32 count, u32 match) {
  *to++ = (u8)((count < 15 ? count : 15) << 4 | (match < 15 ? match : 15));
  if (count >= 15) to = put_length(to, count - 15);
  for (u32 i = 0; i < count; i++) *to++ = literals[i];
  return to;
}

__attribute__((noinline)) static u64 pack(void) {
  u8 *to = packed;
  u32 at = 0, literals = 0;
  for (u32 i = 0; i < 1 << HashBits; i++) latest[i] = 0;
  while (at < Size - Tail) {
    u32 now = *(const four *)(source + at);
    u32 *entry = &latest[now * 2654435761u >> (32 - HashBits)];
    u32 match = *entry;
    *entry = at;
    if (match >= at || at - match > Farthest || *(const four *)(source + match) != now) {
      at++;
      continue;
    }
    u32 count = ShortestMatch;
    while (at + count < Size - Tail && source[match + count] == source[at + count]) count++;
    to = put_sequence(to, source + literals, at - literals, count - ShortestMatch);
    *to++ = (u8)(at - match), *to++ = (u8)((at - match) >> 8);
    if (count - ShortestMatch >= 15) to = put_length(to, count - ShortestMatch - 15);
    at += count, literals = at;
  }
  to = put_sequence(to, source + literals, Size - literals, 0);
  return (u64)(to - packed);
}

static u32 get_length(const u8 **from, u32 count) {
  if (count < 15) return count;
  u8 more;
  do count += more = *(*from)++;
  while (more == 255);
  return count;
}

__attribute__((noinline)) static void unpack(const u8 *from, u64 count) {
  const u8 *end = from + count;
  u8 *to = unpacked;
  while (from < end) {
    u8 token = *from++;
    for (u32 left = get_length(&from, token >> 4); left; left--) *to++ = *from++;
    if (from >= end) return;
    u32 distance = from[0] | (u32)from[1] << 8;
    from += 2;
    for (u32 left = get_length(&from, token & 15) + ShortestMatch; left; left--, to++) *to = to[-(long)distance];
  }
}

static u64 work(void) {
  u64 sum = 0, rounds = times(30);
  write_text();
  for (u64 round = 0; round < rounds; round++) {
    source[round * 37] ^= 1;
    u64 size = pack();
    unpack(packed, size);
    for (u32 i = 0; i < Size; i++)
      if (source[i] != unpacked[i]) return 0;
    sum = sum * 31 + size + packed[size / 2];
  }
  return sum;
}

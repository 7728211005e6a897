/* Quicksort through a callback, as a C library's qsort(): indirect calls and branches that nobody can predict. */
#include "runtime.h"

static const char name[] = "qsort";

typedef int comparison(const void *, const void *);
struct item { u32 key, value; };
enum { Items = 20000 };
static struct item items[Items];

static int by_key(const void *a, const void *b) {
  u32 left = ((const struct item *)a)->key, right = ((const struct item *)b)->key;
  return left < right ? -1 : left > right;
}

static int by_value(const void *a, const void *b) {
  u32 left = ((const struct item *)a)->value, right = ((const struct item *)b)->value;
  return left > right ? -1 : left < right;
}

static void swap(u8 *a, u8 *b, u64 size) {
  for (u64 i = 0; i < size; i += sizeof(u64)) {
    u64 *left = (u64 *)(a + i), *right = (u64 *)(b + i), kept = *left;
    *left = *right, *right = kept;
  }
}

__attribute__((noinline, noclone)) static void sort(void *base, u64 count, u64 size, comparison *compare) {
  u8 *first = base;
  while (count > 1) {
    u8 *last = first + (count - 1) * size, *low = first, *high = last;
    swap(first, first + count / 2 * size, size);
    for (;;) {
      do low += size;
      while (low < last && compare(low, first) < 0);
      while (compare(high, first) > 0) high -= size;
      if (low >= high) break;
      swap(low, high, size), high -= size;
    }
    swap(first, high, size);
    u64 left = (u64)(high - first) / size;
    sort(first, left, size, compare);
    first = high + size, count -= left + 1;
  }
}

static u64 work(void) {
  u64 state = 7, sum = 0, rounds = times(10);
  for (u64 round = 0; round < rounds; round++) {
    for (u32 i = 0; i < Items; i++) items[i] = (struct item){(u32)random_number(&state), (u32)random_number(&state)};
    sort(items, Items, sizeof *items, by_key);
    for (u32 i = 1; i < Items; i++) sum = sum * 31 + items[i].value + (items[i - 1].key <= items[i].key);
    sort(items, Items, sizeof *items, by_value);
    for (u32 i = 1; i < Items; i++) sum = sum * 31 + items[i].key + (items[i - 1].value >= items[i].value);
  }
  return sum;
}

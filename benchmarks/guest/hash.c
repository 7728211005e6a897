/* A hash table with open addressing that grows: inserts, look-ups of what is there and what is not, removals. */
#include "runtime.h"

static const char name[] = "hash";

enum { MostSlots = 1 << 18, Keys = 60000 };
struct slot { u64 key, value; };
static struct slot memory[2][MostSlots], *slots;
static u64 mask, used;

static u64 place(u64 key) { return (key * 0x9e3779b97f4a7c15) >> 20; }

__attribute__((noinline)) static struct slot *find(u64 key) {
  u64 at = place(key) & mask;
  while (slots[at].key && slots[at].key != key) at = (at + 1) & mask;
  return &slots[at];
}

static void resize(u64 count) {
  struct slot *old = slots;
  u64 old_count = mask + 1;
  slots = memory[old == memory[0]], mask = count - 1;
  for (u64 i = 0; i < count; i++) slots[i] = (struct slot){0, 0};
  for (u64 i = 0; old && i < old_count; i++)
    if (old[i].key) *find(old[i].key) = old[i];
}

static void insert(u64 key, u64 value) {
  if (used * 4 >= (mask + 1) * 3) resize((mask + 1) * 2);
  struct slot *slot = find(key);
  used += !slot->key;
  *slot = (struct slot){key, slot->value + value};
}

/* Moves what follows up, so that no hole hides it (Knuth, volume 3, algorithm 6.4R). */
static void remove(u64 key) {
  u64 hole = (u64)(find(key) - slots);
  if (!slots[hole].key) return;
  used--;
  for (u64 at = (hole + 1) & mask; slots[at].key; at = (at + 1) & mask) {
    if (((at - (place(slots[at].key) & mask)) & mask) < ((at - hole) & mask)) continue;
    slots[hole] = slots[at], hole = at;
  }
  slots[hole] = (struct slot){0, 0};
}

static u64 work(void) {
  u64 sum = 0, rounds = times(12);
  for (u64 round = 0; round < rounds; round++) {
    u64 state = round + 1;
    used = 0, slots = 0, mask = 0, resize(64);
    for (u64 i = 0; i < Keys; i++) insert(random_number(&state) % (Keys * 2) + 1, i);
    for (u64 key = 1; key <= Keys * 2; key++) sum = sum * 31 + find(key)->value;
    for (u64 key = 1; key <= Keys * 2; key += 3) remove(key);
    sum = sum * 31 + used;
  }
  return sum;
}

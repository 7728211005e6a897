/* A walk along pointers in random order, one cycle through all cells of `Size` bytes in all. Each load needs the last. */
#include "runtime.h"

struct cell { struct cell *next; u64 value; };
enum { Cells = Size / sizeof(struct cell) };
static struct cell cells[Cells];

/* Sattolo's shuffle: a permutation of one cycle. */
static void link(void) {
  u64 state = 42;
  for (u32 i = 0; i < Cells; i++) cells[i].next = &cells[i], cells[i].value = i;
  for (u32 i = Cells - 1; i > 0; i--) {
    u32 j = (u32)(random_number(&state) % i);
    struct cell *other = cells[i].next;
    cells[i].next = cells[j].next, cells[j].next = other;
  }
}

static u64 work(void) {
  link();
  u64 sum = 0, steps = times(Steps);
  const struct cell *at = cells;
  for (u64 i = 0; i < steps; i++) sum += at->value, at = at->next;
  return sum;
}

/* Multiplication of square matrices, row by column block; the compiler takes vectors for it. */
#include "runtime.h"

enum { Order = 128 };
static element a[Order][Order], b[Order][Order], product[Order][Order];

static void multiply(void) {
  for (int i = 0; i < Order; i++) {
    for (int j = 0; j < Order; j++) product[i][j] = 0;
    for (int k = 0; k < Order; k++) {
      element factor = a[i][k];
      for (int j = 0; j < Order; j++) product[i][j] += factor * b[k][j];
    }
  }
}

/* Small whole numbers: exact in every order of additions. */
static u64 work(void) {
  u64 sum = 0, rounds = times(Rounds);
  for (int i = 0; i < Order; i++)
    for (int j = 0; j < Order; j++) a[i][j] = (element)(i * 7 + j * 3 & 31), b[i][j] = (element)(i * 5 + j & 15);
  for (u64 round = 0; round < rounds; round++) {
    a[round & 127][3] += 1;
    multiply();
    sum = sum * 31 + (u64)product[round * 5 & 127][round & 127];
  }
  return sum;
}

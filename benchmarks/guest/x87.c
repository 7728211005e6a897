/* Long doubles, for which x86-64 has the x87 only: a logistic map, a continued fraction and a sum of roots. */
#include "runtime.h"

static const char name[] = "x87";

static u64 work(void) {
  long double chaos = 0.3L, fraction = 1, roots = 0;
  u64 rounds = times(1000000);
  for (u64 i = 1; i <= rounds; i++) {
    chaos = 3.75L * chaos * (1 - chaos);
    fraction = 1 + (long double)(int)(i & 7) / fraction;
    roots += __builtin_sqrtl(chaos + fraction);
  }
  union { long double value; u64 bits[2]; } result[3] = {{chaos}, {fraction}, {roots}};
  u64 sum = 0;
  for (int i = 0; i < 3; i++) sum = (sum ^ result[i].bits[0]) * 31 + (result[i].bits[1] & 0xffff);
  return sum;
}

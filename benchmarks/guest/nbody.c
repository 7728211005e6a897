/* Doubles: five bodies under gravity, in steps; additions, multiplications, divisions and square roots. */
#include "runtime.h"

static const char name[] = "nbody";

enum { Bodies = 5, Steps = 150000 };

static struct { double x, y, z, vx, vy, vz, mass; } body[Bodies] = {
  {0, 0, 0, 0, 0, 0, 40},
  {5, -1, 0.1, 0.6, 2.7, 0.02, 0.04},
  {8, 4, -0.4, -1.0, 1.8, 0.01, 0.01},
  {-12, -15, 0.2, 1.1, 0.9, -0.01, 0.002},
  {15, -26, 0.2, 1.0, 0.6, -0.03, 0.002},
};

static void step(double time) {
  for (int i = 0; i < Bodies; i++) {
    for (int j = i + 1; j < Bodies; j++) {
      double dx = body[i].x - body[j].x, dy = body[i].y - body[j].y, dz = body[i].z - body[j].z;
      double square = dx * dx + dy * dy + dz * dz;
      double pull = time / (square * __builtin_sqrt(square));
      body[i].vx -= dx * body[j].mass * pull, body[j].vx += dx * body[i].mass * pull;
      body[i].vy -= dy * body[j].mass * pull, body[j].vy += dy * body[i].mass * pull;
      body[i].vz -= dz * body[j].mass * pull, body[j].vz += dz * body[i].mass * pull;
    }
  }
  for (int i = 0; i < Bodies; i++) {
    body[i].x += time * body[i].vx, body[i].y += time * body[i].vy, body[i].z += time * body[i].vz;
  }
}

/* The bits must agree everywhere: IEEE 754 leaves no choice in these operations. */
static u64 work(void) {
  for (u64 i = 0, steps = times(Steps); i < steps; i++) step(0.001);
  u64 sum = 0;
  for (int i = 0; i < Bodies; i++) {
    union { double value; u64 bits; } x = {body[i].x}, y = {body[i].vy};
    sum = (sum ^ x.bits) * 31 + y.bits;
  }
  return sum;
}

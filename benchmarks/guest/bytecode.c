/* An interpreter: a switch in a loop, whose branches follow the interpreted program. */
#include "runtime.h"

static const char name[] = "bytecode";

enum { Push, Load, Store, Add, Subtract, Multiply, And, ShiftRight, Less, JumpIfZero, Jump, Halt };

/* Lengths of Collatz sequences: for (n = 1; n < limit; n++) for (m = n; m != 1; steps++) m = m odd ? 3m+1 : m/2 */
enum { Limit, N, M, Steps, Variables };
static const u8 program[] = {
  Push, 1, Store, N,
  /* 4 */ Load, N, Load, Limit, Less, JumpIfZero, 57, Load, N, Store, M,
  /* 15 */ Push, 1, Load, M, Less, JumpIfZero, 48,
  /* 22 */ Load, Steps, Push, 1, Add, Store, Steps, Load, M, Push, 1, And, JumpIfZero, 58,
  /* 36 */ Load, M, Push, 3, Multiply, Push, 1, Add, Store, M, Jump, 15,
  /* 48 */ Load, N, Push, 1, Add, Store, N, Jump, 4,
  /* 57 */ Halt,
  /* 58 */ Load, M, Push, 1, ShiftRight, Store, M, Jump, 15,
};

__attribute__((noinline)) static u64 run(const u8 *at, u64 *variables) {
  u64 stack[16], *top = stack;
  const u8 *code = at;
  for (;;) {
    switch (*at++) {
      case Push: *top++ = *at++; break;
      case Load: *top++ = variables[*at++]; break;
      case Store: variables[*at++] = *--top; break;
      case Add: top--, top[-1] += *top; break;
      case Subtract: top--, top[-1] -= *top; break;
      case Multiply: top--, top[-1] *= *top; break;
      case And: top--, top[-1] &= *top; break;
      case ShiftRight: top--, top[-1] >>= *top & 63; break;
      case Less: top--, top[-1] = top[-1] < *top; break;
      case JumpIfZero: at = *--top ? at + 1 : code + *at; break;
      case Jump: at = code + *at; break;
      case Halt: return variables[Steps];
      default: leave(1);
    }
  }
}

static u64 work(void) {
  u64 variables[Variables] = {times(15000)};
  return run(program, variables);
}

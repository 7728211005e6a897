/* Two threads and a lock (Drepper, "Futexes Are Tricky", mutex 2), locked additions beside it. */
#include "runtime.h"

static const char name[] = "locks";

enum { CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800, CLONE_THREAD = 0x10000 };
enum { CLONE_SYSVSEM = 0x40000, CLONE_CHILD_CLEARTID = 0x200000 };
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1, StackSize = 64 * 1024, Looks = 200 };
enum { Free, Taken, Contended };

static u32 lock, alive = 1;
static u64 guarded, additions, rounds;
static u8 stack[StackSize] __attribute__((aligned(16)));

static void futex(u32 *word, long operation, u32 value) {
  system_call(SYS_futex, (long)word, operation, value, 0);
}

/* Looks a while before it sleeps, as C libraries' adaptive locks do: a wake-up costs a thousand times a turn. */
static void take(void) {
  for (int look = 0; look < Looks; look++) {
    u32 found = Free;
    if (__atomic_compare_exchange_n(&lock, &found, Taken, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    __builtin_ia32_pause();
  }
  while (__atomic_exchange_n(&lock, Contended, __ATOMIC_ACQUIRE) != Free) futex(&lock, FUTEX_WAIT, Contended);
}

static void give(void) {
  if (__atomic_exchange_n(&lock, Free, __ATOMIC_RELEASE) == Contended) futex(&lock, FUTEX_WAKE, 1);
}

static void count(void) {
  for (u64 i = 0; i < rounds; i++) {
    take();
    guarded = guarded + 1;
    give();
    for (int j = 0; j < 20; j++) __atomic_fetch_add(&additions, i, __ATOMIC_RELAXED);
  }
}

__attribute__((used, noreturn)) static void thread(void) {
  stay_on(1);
  count();
  for (;;) system_call(SYS_exit, 0, 0, 0, 0);
}

static u64 work(void) {
  rounds = times(200000);
  stay_on(0);
  long result, flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  register long child_word __asm__("r10") = (long)&alive;
  __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call thread\n 1:"
                   : "=a"(result)
                   : "a"(SYS_clone), "D"(flags | CLONE_CHILD_CLEARTID), "S"(stack + StackSize), "d"(0), "r"(child_word)
                   : "rcx", "r11", "memory");
  must(result);
  count();
  /* The kernel clears and wakes it when the thread has ended. */
  while (__atomic_load_n(&alive, __ATOMIC_ACQUIRE)) futex(&alive, FUTEX_WAIT, 1);
  return guarded * 31 + additions;
}

/*
 * What the benchmark programs need of Linux, without a C library: the same few hundred bytes run in every guest and on
 * the host. A program defines work(); it is timed by CLOCK_MONOTONIC and its result is printed as a checksum:
 *
 *     bench: NAME begins
 *     bench: NAME NANOSECONDS CHECKSUM
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

/** System call numbers, Linux arch/x86/entry/syscalls/syscall_64.tbl. */
enum { SYS_write = 1, SYS_fork = 57, SYS_exit = 60, SYS_wait4 = 61, SYS_getppid = 110, SYS_clock_gettime = 228 };
enum { CLOCK_MONOTONIC = 1 };

/** Name of the program in its output; its work, timed; keeps the optimizer from dropping what nobody reads. */
static const char name[];
static u64 work(void);
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

static inline long system_call(long number, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

static inline void leave(int status) {
  for (;;) system_call(SYS_exit, status, 0, 0, 0);
}

static u64 nanoseconds(void) {
  struct { u64 seconds, nanoseconds; } time;
  system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0);
  return time.seconds * 1000000000 + time.nanoseconds;
}

static char line[128];
static int length;

static void put(const char *text) {
  while (*text) line[length++] = *text++;
}

static void put_number(u64 value, u64 base) {
  char digits[24];
  int count = 0;
  do digits[count++] = "0123456789abcdef"[value % base];
  while (value /= base);
  while (count) line[length++] = digits[--count];
}

static void flush(void) {
  line[length++] = '\n';
  system_call(SYS_write, 1, (long)line, length, 0);
  length = 0;
}

__attribute__((force_align_arg_pointer, noreturn)) void _start(void) {
  put("bench: "), put(name), put(" begins"), flush();
  u64 start = nanoseconds();
  u64 checksum = work();
  u64 elapsed = nanoseconds() - start;
  put("bench: "), put(name), put(" "), put_number(elapsed, 10), put(" "), put_number(checksum, 16), flush();
  leave(0);
  __builtin_unreachable();
}

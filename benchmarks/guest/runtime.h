/*
 * What the benchmark programs need of Linux, without a C library: the same few hundred bytes run in every guest and on
 * the host. A program defines work(); it is timed by CLOCK_MONOTONIC and its result is printed as a checksum:
 *
 *     bench: NAME begins
 *     bench: NAME NANOSECONDS CHECKSUM
 *
 * The first argument is how much of its usual work a program does, in percent.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

/** System call numbers, Linux arch/x86/entry/syscalls/syscall_64.tbl. */
enum {
  SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_mmap = 9, SYS_munmap = 11, SYS_pipe = 22, SYS_madvise = 28,
  SYS_dup2 = 33, SYS_clone = 56, SYS_fork = 57, SYS_execve = 59, SYS_exit = 60, SYS_wait4 = 61, SYS_getppid = 110,
  SYS_futex = 202, SYS_sched_setaffinity = 203, SYS_clock_gettime = 228, SYS_exit_group = 231,
};
enum { CLOCK_MONOTONIC = 1 };
enum { PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_ANONYMOUS = 32 };
enum { PageSize = 4096 };

/** Name of the program in its output; its work, timed; keeps the optimizer from dropping what nobody reads. */
static const char name[];
static u64 work(void);
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

/** The command line. */
static int argument_count;
static char **arguments;

/** How often to do something that is done `usual` times unless the command line says otherwise. */
static u32 percent = 100;
static inline u64 times(u64 usual) {
  u64 scaled = usual * percent / 100;
  return scaled ? scaled : 1;
}

static inline long system_call6(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static inline long system_call(long number, long a, long b, long c, long d) {
  return system_call6(number, a, b, c, d, 0, 0);
}

static inline void leave(int status) {
  for (;;) system_call(SYS_exit_group, status, 0, 0, 0);
}

/** Ends with a status that the report shows: the host refused something. */
static inline long must(long result) {
  if (result < 0) leave(100);
  return result;
}

static inline void *map(u64 size, long flags) {
  return (void *)must(system_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
}

/** The status of a child that has ended. */
static inline int wait_for(long child) {
  int status = -1;
  must(system_call(SYS_wait4, child, (long)&status, 0, 0));
  return status >> 8 & 255;
}

/** Keeps the caller on one processor, if there is such a one. */
static inline void stay_on(int processor) {
  u64 mask = 1ul << processor;
  system_call(SYS_sched_setaffinity, 0, sizeof mask, (long)&mask, 0);
}

static u64 nanoseconds(void) {
  struct { u64 seconds, nanoseconds; } time;
  system_call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&time, 0, 0);
  return time.seconds * 1000000000 + time.nanoseconds;
}

static inline u64 random_number(u64 *state) {
  u64 x = *state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return *state = x;
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

static void report(const char *of, u64 elapsed, u64 checksum) {
  put("bench: "), put(of), put(" "), put_number(elapsed, 10), put(" "), put_number(checksum, 16), flush();
}

/** Programs that start themselves anew, or that are tools, define it before they include this: it may not return. */
#ifndef AT_START
#define AT_START
#endif

/** `stack` is what Linux leaves there: the number of arguments, then pointers to them. */
__attribute__((used)) static void start(long *stack) {
  argument_count = (int)*stack;
  arguments = (char **)(stack + 1);
  AT_START;
  if (argument_count > 1) {
    percent = 0;
    for (const char *digit = arguments[1]; *digit; digit++) percent = percent * 10 + (u32)(*digit - '0');
  }
  put("bench: "), put(name), put(" begins"), flush();
  u64 began = nanoseconds();
  u64 checksum = work();
  report(name, nanoseconds() - began, checksum);
  leave(0);
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");

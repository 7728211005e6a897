/* Programs: fork, exec of this very file, exit, wait; address spaces made and taken down. */
#define AT_START if (argument_count == 3) leave(arguments[2][0] & 127)
#include "runtime.h"

static const char name[] = "exec";

static u64 work(void) {
  u64 ended = 0, rounds = times(120);
  for (u64 i = 0; i < rounds; i++) {
    char status[] = {(char)('a' + i % 26), 0};
    char *command[] = {"exec", "0", status, 0};
    long child = must(system_call(SYS_fork, 0, 0, 0, 0));
    if (child == 0) {
      system_call(SYS_execve, (long)"/proc/self/exe", (long)command, 0, 0);
      leave(101);
    }
    ended = ended * 31 + (u64)wait_for(child);
  }
  return ended;
}

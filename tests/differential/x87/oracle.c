/*
 * Runs x87 instructions on the processor: reads cases from stdin, writes results to stdout (x86-64 Linux).
 *
 * A case sets all of the x87 state with FRSTOR, runs one instruction whose memory operand is [rdx], and reads the state
 * back with FNSAVE, which does not wait: unmasked exceptions are seen as ES, never as a signal. Addresses in the last
 * instruction and data pointers are replaced by fixed ones.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct environment {
  uint32_t control, status, tags, ip, cs_opcode, dp, ds;
  uint8_t registers[80];
} __attribute__((packed));

struct test_case {
  uint8_t length, code[15];
  uint64_t rflags;
  struct environment state;
  uint8_t memory[128];
} __attribute__((packed));

struct result {
  struct environment state;
  uint8_t memory[128];
  uint64_t rflags, rax;
} __attribute__((packed));

#define INSTRUCTION_ADDRESS 0x1000
#define MEMORY_ADDRESS 0x2000
#define CODE_SELECTOR 0x33

static uint8_t *code;
static _Alignas(64) uint8_t memory[128];

static void run(const struct test_case *in, struct result *out) {
  static const uint8_t before[] = {0xdd, 0x27, 0xff, 0x31, 0x9d, 0xb8, 0x44, 0x33, 0x22, 0x11};
  static const uint8_t after[] = {0xdd, 0x36, 0x9c, 0x8f, 0x01, 0x48, 0x89, 0x41, 0x08, 0xdb, 0xe3, 0xc3};
  uint8_t *p = code;
  uint64_t registers[2] = {in->rflags, 0};
  memcpy(p, before, sizeof before), p += sizeof before;
  uint8_t *start = p;
  memcpy(p, in->code, in->length), p += in->length;
  memcpy(p, after, sizeof after);
  memcpy(memory, in->memory, sizeof memory);
  ((void (*)(const void *, void *, void *, void *))code)(&in->state, &out->state, memory, registers);
  memcpy(out->memory, memory, sizeof memory);
  out->rflags = registers[0] & 0xcd5;
  out->rax = registers[1];
  if (out->state.ip == (uint32_t)(uintptr_t)start && in->state.ip != out->state.ip) {
    out->state.ip = INSTRUCTION_ADDRESS;
    out->state.cs_opcode = (out->state.cs_opcode & 0xffff0000) | CODE_SELECTOR;
  }
  if (out->state.dp == (uint32_t)(uintptr_t)memory && in->state.dp != out->state.dp) out->state.dp = MEMORY_ADDRESS;
}

int main(void) {
  struct test_case in;
  struct result out;
  code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 1;
  while (fread(&in, sizeof in, 1, stdin) == 1) {
    run(&in, &out);
    if (fwrite(&out, sizeof out, 1, stdout) != 1) return 1;
  }
  return 0;
}

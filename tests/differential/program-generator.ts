/**
 * Random ring-3 programs: straight code, forward branches, calls and a counted loop over integer, memory, string, SSE and
 * x87 instructions. They fault nowhere, and no undefined flag or result is ever used, so that every processor must leave
 * the same registers, flags and memory.
 *
 * R15 points into the arena, R14 counts the loop, RSP is a stack in the arena. All other registers are data.
 */
import type { CaseInfo } from './generator.ts';
import { Control, Low, RecordSize, Slot, Window1, InputFields } from './harness-layout.ts';
import { CaseState, Rsp } from './case-state.ts';
import type { Random } from './random.ts';

const ArenaBase = 15;
const LoopCounter = 14;
/** Operands lie in the first half of the window, the stack in the second. */
const OperandBytes = Window1.size / 2;
const StackTop = Window1.start + Window1.size - 0x40;

export interface ProgramBatch {
  readonly cases: readonly CaseInfo[];
  /** Input records. */
  readonly input: Uint8Array;
  /** All programs, from Low.Slots on. */
  readonly code: Uint8Array;
}

/** Makes `count` programs, one a case. `exit`: where they go in the end. */
export function generatePrograms(random: Random, count: number, exit: number): ProgramBatch {
  const input = new Uint8Array(count * RecordSize);
  const code: number[] = [];
  const cases = Array.from({ length: count }, (_, index): CaseInfo => {
    const start = Low.Slots + code.length;
    const body = new Program(random).build(start, exit);
    code.push(...body);
    writeInput(random, new DataView(input.buffer, index * RecordSize, RecordSize), start);
    return {
      index,
      mode: 64,
      code: Uint8Array.from(body),
      address: start,
      ignoredFlags: 0,
      // C0 to C3: x87 arithmetic leaves some of them undefined
      ignoredStatus: 0x4700,
      coarseCr2: false,
      savesSegments: false,
      ignored: [],
    };
  });
  return { cases, input, code: Uint8Array.from(code) };
}

function writeInput(random: Random, view: DataView, start: number): void {
  const state = new CaseState(random, view);
  state.randomizeIntegers(random.pick([16, 32, 64]));
  state.randomizeFx(0);
  state.randomizeWindows();
  state.setGpr(ArenaBase, Window1.start);
  state.setGpr(LoopCounter, random.between(1, 40));
  state.setGpr(Rsp, StackTop);
  // DF clear: string instructions go upwards
  state.rflags &= ~0x400;
  state.finish();
  view.setUint32(InputFields.Target, start, true);
  view.setUint32(InputFields.Flags, 0, true);
}

type Maker = (program: Program) => void;

const AluOpcode = { add: 0x01, or: 0x09, adc: 0x11, sbb: 0x19, and: 0x21, sub: 0x29, xor: 0x31, cmp: 0x39 } as const;
const AluNames = Object.keys(AluOpcode) as (keyof typeof AluOpcode)[];

class Program {
  readonly #random: Random;
  #bytes: number[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  build(start: number, exit: number): number[] {
    const random = this.#random;
    this.#repeat(random.between(3, 8));
    const loop = this.#bytes.length;
    this.#repeat(random.between(4, 20));
    // DEC r14; JNZ loop
    this.#op(0xff, 1, LoopCounter, 64);
    this.#emit(0x0f, 0x85);
    this.#emit32(loop - (this.#bytes.length + 4));
    this.#repeat(random.between(1, 4));
    this.#define();
    // MOV byte [Marker], 1; JMP exit
    this.#emit(0xc6, 0x04, 0x25);
    this.#emit32(Control.Marker);
    this.#emit(1, 0xe9);
    this.#emit32(exit - (start + this.#bytes.length + 4));
    while (this.#bytes.length % Slot.Size !== 0) this.#emit(0xcc);
    return this.#bytes;
  }

  #repeat(count: number): void {
    for (let i = 0; i < count; i++) this.#random.pick(makers)(this);
  }

  #emit(...bytes: number[]): void {
    this.#bytes.push(...bytes.map((byte) => byte & 0xff));
  }

  #emit32(value: number): void {
    this.#emit(value, value >> 8, value >> 16, value >> 24);
  }

  /** Any register that is data. */
  #register(): number {
    return this.#random.pick([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  }

  #size(): 16 | 32 | 64 {
    return this.#random.pick([16, 32, 32, 64, 64]);
  }

  /** An opcode with ModRM, register form. `opcode` may have 0x0f in its second byte. */
  #op(opcode: number, reg: number, rm: number, size: 8 | 16 | 32 | 64, prefix = 0): void {
    this.#prefixes(opcode, reg, rm, size, prefix);
    this.#emit(0xc0 | ((reg & 7) << 3) | (rm & 7));
  }

  /** The same with an operand of `bytes` bytes in memory. */
  #memory(opcode: number, reg: number, size: 8 | 16 | 32 | 64, bytes: number, prefix = 0, lock = false): void {
    if (lock) this.#emit(0xf0);
    this.#prefixes(opcode, reg, ArenaBase, size, prefix);
    this.#emit(0x80 | ((reg & 7) << 3) | (ArenaBase & 7));
    const at = this.#random.below(OperandBytes - bytes);
    this.#emit32(bytes === 16 || this.#random.chance(80) ? at - (at % bytes) : at);
  }

  #prefixes(opcode: number, reg: number, rm: number, size: 8 | 16 | 32 | 64, prefix: number): void {
    if (size === 16) this.#emit(0x66);
    if (prefix !== 0) this.#emit(prefix);
    this.#emit(0x40 | (size === 64 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0));
    if (opcode > 0xffff) this.#emit(opcode >> 16);
    if (opcode > 0xff) this.#emit(opcode >> 8);
    this.#emit(opcode);
  }

  /** Flags that the instruction before left undefined get a meaning: CMP of two registers. */
  #define(): void {
    this.#op(AluOpcode.cmp, this.#register(), this.#register(), 64);
  }

  readonly makers = {
    alu: (): void => {
      const name = this.#random.pick(AluNames);
      const byte = this.#random.chance(20);
      this.#op(AluOpcode[name] - (byte ? 1 : 0), this.#register(), this.#register(), byte ? 8 : this.#size());
      this.#afterLogic(name);
    },
    aluImmediate: (): void => {
      const digit = this.#random.below(8);
      this.#op(0x83, digit, this.#register(), this.#size());
      this.#emit(this.#random.below(256));
      this.#afterLogic(AluNames[digit]!);
    },
    aluMemory: (): void => {
      const name = this.#random.pick(AluNames);
      const size = this.#size();
      const toMemory = this.#random.chance(50);
      const lock = toMemory && name !== 'cmp' && this.#random.chance(30);
      this.#memory(AluOpcode[name] + (toMemory ? 0 : 2), this.#register(), size, size / 8, 0, lock);
      this.#afterLogic(name);
    },
    move: (): void => {
      const size = this.#size();
      const [load, store] = [0x8b, 0x89];
      if (this.#random.chance(40)) this.#op(load, this.#register(), this.#register(), size);
      else this.#memory(this.#random.pick([load, store]), this.#register(), size, size / 8);
    },
    extend: (): void => {
      const opcode = this.#random.pick([0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf]);
      if (this.#random.chance(50)) this.#op(opcode, this.#register(), this.#register(), 64);
      else this.#memory(opcode, this.#register(), 32, opcode & 1 ? 2 : 1);
    },
    address: (): void => {
      // LEA r, [base + index * scale + disp8]
      const [reg, base, index] = [this.#register(), this.#register(), this.#register()];
      const rex = 0x48 | (reg >= 8 ? 4 : 0) | (index >= 8 ? 2 : 0) | (base >= 8 ? 1 : 0);
      const sib = (this.#random.below(4) << 6) | ((index & 7) << 3) | (base & 7);
      this.#emit(rex, 0x8d, 0x44 | ((reg & 7) << 3), sib, this.#random.below(256));
    },
    unary: (): void => {
      const [opcode, digit] = this.#random.pick([
        [0xf7, 2],
        [0xf7, 3],
        [0xff, 0],
        [0xff, 1],
      ] as const);
      this.#op(opcode, digit, this.#register(), this.#size());
    },
    shift: (): void => {
      const size = this.#size();
      this.#op(0xc1, this.#random.pick([0, 1, 2, 3, 4, 5, 7]), this.#register(), size);
      this.#emit(this.#random.between(1, Math.min(size, 31) - 1));
      this.#define();
    },
    multiply: (): void => {
      if (this.#random.chance(50)) this.#op(0x0faf, this.#register(), this.#register(), this.#size());
      else this.#op(0xf7, this.#random.pick([4, 5]), this.#register(), this.#size());
      this.#define();
    },
    bits: (): void => {
      this.#op(this.#random.pick([0x0fa3, 0x0fab, 0x0fb3, 0x0fbb]), this.#register(), this.#register(), this.#size());
      this.#define();
    },
    count: (): void => {
      this.#op(0x0fb8, this.#register(), this.#register(), this.#random.pick([32, 64]), 0xf3);
    },
    swapBytes: (): void => {
      const register = this.#register();
      this.#emit(0x48 | (register >= 8 ? 1 : 0), 0x0f, 0xc8 | (register & 7));
    },
    set: (): void => {
      this.#op(0x0f90 | this.#random.below(16), 0, this.#register(), 8);
    },
    conditionalMove: (): void => {
      this.#op(0x0f40 | this.#random.below(16), this.#register(), this.#register(), this.#size());
    },
    branch: (): void => {
      // Jcc over the next instructions
      this.#emit(0x70 | this.#random.below(16), 0);
      const from = this.#bytes.length;
      this.#repeatStraight(this.#random.between(1, 3));
      this.#bytes[from - 1] = this.#bytes.length - from;
    },
    call: (): void => {
      // CALL body; JMP behind; body: …; RET
      this.#emit(0xe8);
      this.#emit32(2);
      this.#emit(0xeb, 0);
      const from = this.#bytes.length;
      this.#repeatStraight(this.#random.between(1, 2));
      this.#emit(0xc3);
      this.#bytes[from - 1] = this.#bytes.length - from;
    },
    stack: (): void => {
      const [from, to] = [this.#register(), this.#register()];
      if (from >= 8) this.#emit(0x41);
      this.#emit(0x50 | (from & 7));
      this.#repeatStraight(1);
      if (to >= 8) this.#emit(0x41);
      this.#emit(0x58 | (to & 7));
    },
    exchange: (): void => {
      const size = this.#size();
      // XCHG; XADD, CMPXCHG with LOCK
      if (this.#random.chance(40)) this.#memory(0x87, this.#register(), size, size / 8);
      else this.#memory(this.#random.pick([0x0fc1, 0x0fb1]), this.#register(), size, size / 8, 0, true);
    },
    string: (): void => {
      // LEA rdi, [r15 + …]; LEA rsi, [r15 + …]; MOV ecx, n; REP MOVS or STOS
      for (const register of [7, 6]) {
        this.#emit(0x49, 0x8d, 0x87 | (register << 3));
        this.#emit32(this.#random.below(OperandBytes / 2));
      }
      this.#emit(0xb9);
      this.#emit32(this.#random.below(24));
      this.#emit(0xf3, ...this.#random.pick([[0xa4], [0x48, 0xa5], [0xaa], [0x48, 0xab]]));
    },
    vectorInteger: (): void => {
      const opcode = this.#random.pick([
        0x0ffe, 0x0ffd, 0x0ffc, 0x0fd4, 0x0ffa, 0x0ffb, 0x0fef, 0x0fdb, 0x0feb, 0x0fdf, 0x0ff4, 0x0ff5, 0x0fe5, 0x0f62,
        0x0f6c, 0x0f6d, 0x0f60, 0x0f67, 0x0f74, 0x0f66, 0x0fde, 0x0fee, 0x0ff6, 0x0fe0,
      ]); // prettier-ignore
      this.#op(opcode, this.#random.below(16), this.#random.below(16), 32, 0x66);
    },
    vectorFloat: (): void => {
      const prefix = this.#random.pick([0, 0x66, 0xf3, 0xf2]);
      const opcode = this.#random.pick([0x0f58, 0x0f59, 0x0f5c, 0x0f5e, 0x0f5d, 0x0f5f, 0x0f51]);
      this.#op(opcode, this.#random.below(16), this.#random.below(16), 32, prefix);
    },
    vectorConvert: (): void => {
      const [prefix, opcode] = this.#random.pick([
        [0, 0x0f5b],
        [0x66, 0x0f5b],
        [0xf3, 0x0f5b],
        [0, 0x0f5a],
        [0x66, 0x0f5a],
        [0xf3, 0x0fe6],
      ] as const);
      this.#op(opcode, this.#random.below(16), this.#random.below(16), 32, prefix);
    },
    vectorMove: (): void => {
      const xmm = this.#random.below(16);
      const kind = this.#random.below(4);
      // MOVUPS load and store, MOVQ between files
      if (kind < 2) this.#memory(kind === 0 ? 0x0f10 : 0x0f11, xmm, 32, 16);
      else this.#op(kind === 2 ? 0x0f6e : 0x0f7e, xmm, this.#register(), 64, 0x66);
    },
    x87: (): void => {
      // FLD qword; FADD, FMUL, FSUB or FDIV ST, ST(i); FSTP qword
      this.#memory(0xdd, 0, 32, 8);
      this.#emit(0xd8, this.#random.pick([0xc0, 0xc8, 0xe0, 0xf0]) | this.#random.below(8));
      this.#memory(0xdd, 3, 32, 8);
    },
  };

  /** AF is undefined after logic. */
  #afterLogic(name: keyof typeof AluOpcode): void {
    if (name === 'and' || name === 'or' || name === 'xor') this.#define();
  }

  /** Instructions without control flow and stack. */
  #repeatStraight(count: number): void {
    for (let i = 0; i < count; i++) this.#random.pick(straight)(this);
  }
}

const Names = Object.keys(new Program(undefined as unknown as Random).makers) as (keyof Program['makers'])[];
const maker =
  (name: keyof Program['makers']): Maker =>
  (program) =>
    program.makers[name]();
const makers = Names.map(maker);
const straight = Names.filter((name) => !['branch', 'call', 'stack'].includes(name)).map(maker);

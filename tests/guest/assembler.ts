/**
 * A small x86 assembler for guests that tests run: labels, the common instructions in 16-, 32- and 64-bit code, and raw
 * bytes for everything else.
 *
 *     const a = new Assembler({ origin: 0x1000, bits: 64 });
 *     a.mov(ecx, 10).label('loop').dec(ecx).jcc('nz', 'loop').out(0xf4, al).hlt();
 *     const code = a.finish();            // Uint8Array for guest-physical address 0x1000
 *
 * Operand sizes come from registers; a memory operand without a register beside it names its own (`mem({ size: 32 })`).
 * Mistakes in a test's code throw.
 */
import type { Memory, Register, Target } from './assembler-operands.ts';

export * from './assembler-operands.ts';

export type CodeBits = 16 | 32 | 64;

const ConditionCodes = [
  ['o'], ['no'], ['b', 'c', 'nae'], ['ae', 'nc', 'nb'], ['e', 'z'], ['ne', 'nz'], ['be', 'na'], ['a', 'nbe'],
  ['s'], ['ns'], ['p', 'pe'], ['np', 'po'], ['l', 'nge'], ['ge', 'nl'], ['le', 'ng'], ['g', 'nle'],
] as const; // prettier-ignore
export type Condition = (typeof ConditionCodes)[number][number];

const Arithmetic = { add: 0, or: 1, adc: 2, sbb: 3, and: 4, sub: 5, xor: 6, cmp: 7 } as const;
const Shifts = { rol: 0, ror: 1, rcl: 2, rcr: 3, shl: 4, shr: 5, sar: 7 } as const;

type Operand = Register | Memory | Target;
const isRegister = (operand: Operand): operand is Register => typeof operand === 'object' && operand.kind !== 'memory';
const isMemory = (operand: Operand): operand is Memory => typeof operand === 'object' && operand.kind === 'memory';

interface Fixup {
  readonly position: number;
  readonly bytes: 1 | 2 | 4 | 8;
  readonly label: string;
  /** Address that the value is relative to, or undefined for an absolute value. */
  relativeTo: number | undefined;
}

export interface EncodingOptions {
  /** Operand size in bits: decides 66 and REX.W. 0: neither. */
  readonly size?: number;
  /** Mandatory prefix before REX. */
  readonly prefix?: number;
  /** Immediate bytes after ModRM. */
  readonly immediate?: { readonly value: Target; readonly bytes: 1 | 2 | 4 | 8 };
}

export class Assembler {
  /** Size of the code that is emitted from here on; set it where the guest changes mode. */
  bits: CodeBits;
  readonly origin: number;
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];

  constructor(options: { readonly origin: number; readonly bits: CodeBits }) {
    this.origin = options.origin;
    this.bits = options.bits;
  }

  /** Address of the next byte. */
  get here(): number {
    return this.origin + this.#bytes.length;
  }

  /** The finished code; every label that was used must be defined. */
  finish(): Uint8Array {
    const code = Uint8Array.from(this.#bytes);
    for (const fixup of this.#fixups) {
      const value = BigInt(this.address(fixup.label)) - BigInt(fixup.relativeTo ?? 0);
      if (fixup.relativeTo !== undefined && BigInt.asIntN(fixup.bytes * 8, value) !== value) {
        throw new Error(`label ${fixup.label} is out of reach of a ${fixup.bytes}-byte displacement`);
      }
      for (let i = 0; i < fixup.bytes; i++) {
        const added = BigInt.asUintN(64, value + BigInt(code[fixup.position + i] ?? 0)) >> BigInt(8 * i);
        code[fixup.position + i] = Number(added & 0xffn);
      }
    }
    return code;
  }

  address(label: string): number {
    const address = this.#labels.get(label);
    if (address === undefined) throw new Error(`label ${label} is not defined`);
    return address;
  }

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`label ${name} is defined twice`);
    this.#labels.set(name, this.here);
    return this;
  }

  db(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes.map((byte) => byte & 0xff));
    return this;
  }

  bytes(data: Uint8Array): this {
    for (const byte of data) this.#bytes.push(byte);
    return this;
  }

  dw(...values: readonly Target[]): this {
    for (const value of values) this.#value(value, 2);
    return this;
  }

  dd(...values: readonly Target[]): this {
    for (const value of values) this.#value(value, 4);
    return this;
  }

  dq(...values: readonly Target[]): this {
    for (const value of values) this.#value(value, 8);
    return this;
  }

  /** Zero-terminated ASCII. */
  asciz(text: string): this {
    return this.db(...[...text].map((letter) => letter.charCodeAt(0)), 0);
  }

  align(boundary: number, filler = 0): this {
    while (this.here % boundary !== 0) this.db(filler);
    return this;
  }

  /** Advances to `address`, filling with zeros. */
  org(address: number): this {
    if (address < this.here) throw new Error(`org ${address.toString(16)} is behind ${this.here.toString(16)}`);
    while (this.here < address) this.#bytes.push(0);
    return this;
  }

  // Encoding

  /** Emits [prefixes] [REX] opcode ModRM [SIB] [displacement] [immediate]. `reg` is a register or an opcode digit. */
  op(opcode: readonly number[], reg: Register | number, rm: Register | Memory, options: EncodingOptions = {}): this {
    const size = options.size ?? (typeof reg === 'object' ? reg.size : (rm.size ?? 0));
    if (isMemory(rm)) this.#memoryPrefixes(rm);
    if (size === 16 ? this.bits !== 16 : size === 32 && this.bits === 16) this.db(0x66);
    if (options.prefix !== undefined) this.db(options.prefix);
    this.#rex(size, reg, rm);
    this.db(...opcode);
    const field = (typeof reg === 'object' ? reg.number : reg) & 7;
    const immediate = options.immediate;
    if (isMemory(rm)) this.#memory(field, rm, immediate?.bytes ?? 0);
    else this.db(0xc0 | (field << 3) | (rm.number & 7));
    if (immediate !== undefined) this.#value(immediate.value, immediate.bytes);
    return this;
  }

  #rex(size: number, reg: Register | number, rm: Register | Memory): void {
    const registers = typeof reg === 'object' ? [reg] : [];
    if (isRegister(rm)) registers.push(rm);
    const base = isMemory(rm) ? rm.base : rm;
    const index = isMemory(rm) ? rm.index : undefined;
    let rex = size === 64 && this.bits === 64 ? 0x48 : 0;
    if (typeof reg === 'object' && reg.number >= 8) rex |= 0x44;
    if (index !== undefined && index.number >= 8) rex |= 0x42;
    if (base !== undefined && base.number >= 8) rex |= 0x41;
    if (registers.some((one) => one.size === 8 && !one.high && one.number >= 4)) rex |= 0x40;
    if (rex === 0) return;
    if (this.bits !== 64) throw new Error('this operand exists in 64-bit code only');
    if (registers.some((one) => one.high)) throw new Error('AH, CH, DH and BH cannot be used with a REX prefix');
    this.db(rex);
  }

  #memoryPrefixes(memory: Memory): void {
    if (memory.segment !== undefined) this.db([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65][memory.segment.number] ?? 0);
    const addressSize = (memory.base ?? memory.index)?.size ?? this.bits;
    if (addressSize === this.bits) return;
    if (addressSize + this.bits === 80) throw new Error('no 16-bit addressing in 64-bit code and vice versa');
    this.db(0x67);
  }

  #memory(field: number, memory: Memory, bytesAfter: number): void {
    const { base, index } = memory;
    const reg = field << 3;
    if (memory.ripRelative) {
      this.db(reg | 5);
      this.#relative(memory.displacement, 4, bytesAfter);
      return;
    }
    const addressSize = (base ?? index)?.size ?? this.bits;
    if (addressSize === 16) {
      this.#memory16(reg, memory);
      return;
    }
    const displacement = memory.displacement;
    const small = typeof displacement !== 'string' && displacement >= -128 && displacement <= 127;
    const needsSib = index !== undefined || (base === undefined ? this.bits === 64 : (base.number & 7) === 4);
    const bare = base === undefined;
    const mod = bare ? 0 : displacement === 0 && (base.number & 7) !== 5 ? 0 : small ? 1 : 2;
    this.db((mod << 6) | reg | (needsSib ? 4 : bare ? 5 : base.number & 7));
    if (needsSib) {
      if (index?.number === 4) throw new Error('RSP cannot be an index');
      this.db((Math.log2(memory.scale) << 6) | ((index?.number ?? 4) & 7) << 3 | (bare ? 5 : base.number & 7)); // prettier-ignore
    }
    if (mod === 1) this.#value(displacement, 1);
    else if (mod === 2 || bare) this.#value(displacement, 4);
  }

  #memory16(reg: number, memory: Memory): void {
    const name = [memory.base?.number, memory.index?.number].join();
    const rm = { '3,6': 0, '3,7': 1, '5,6': 2, '5,7': 3, '6,': 4, '7,': 5, '5,': 6, '3,': 7, ',': 6 }[name];
    if (rm === undefined) throw new Error(`no 16-bit address form for registers ${name}`);
    const bare = name === ',';
    this.db((bare ? 0 : 0x80) | reg | rm);
    this.#value(memory.displacement, 2);
  }

  #value(value: Target, bytes: 1 | 2 | 4 | 8): void {
    if (typeof value === 'string') {
      this.#fixups.push({ position: this.#bytes.length, bytes, label: value, relativeTo: undefined });
      value = 0;
    }
    const unsigned = BigInt.asUintN(64, BigInt(value));
    for (let i = 0; i < bytes; i++) this.db(Number((unsigned >> BigInt(8 * i)) & 0xffn));
  }

  #relative(target: Target, bytes: 1 | 2 | 4, bytesAfter = 0): void {
    const next = this.here + bytes + bytesAfter;
    if (typeof target !== 'string') {
      this.#value(Number(target) - next, bytes);
      return;
    }
    this.#fixups.push({ position: this.#bytes.length, bytes, label: target, relativeTo: next });
    this.#value(0, bytes);
  }

  // Data movement

  mov(target: Register | Memory, source: Operand): this {
    if (isRegister(target) && target.kind !== 'gpr') return this.#movSpecial(target, source as Register, true);
    if (isRegister(source) && source.kind !== 'gpr') return this.#movSpecial(source, target, false);
    if (isRegister(source)) return this.op([source.size === 8 ? 0x88 : 0x89], source, target);
    if (isMemory(source)) {
      const register = target as Register;
      return this.op([register.size === 8 ? 0x8a : 0x8b], register, source);
    }
    const size = target.size ?? 0;
    if (isRegister(target) && size === 64 && (typeof source === 'string' || !fitsSigned32(source))) {
      return this.#movImmediate64(target, source);
    }
    const bytes = immediateBytes(size);
    return this.op([size === 8 ? 0xc6 : 0xc7], 0, target, { size, immediate: { value: source, bytes } });
  }

  #movImmediate64(target: Register, value: Target): this {
    this.db(0x48 | (target.number >> 3), 0xb8 | (target.number & 7));
    this.#value(value, 8);
    return this;
  }

  #movSpecial(special: Register, other: Operand, load: boolean): this {
    if (special.kind === 'segment') return this.op([load ? 0x8e : 0x8c], special, other as Register, { size: 0 });
    const opcodes = { control: [0x20, 0x22], debug: [0x21, 0x23] }[special.kind as 'control' | 'debug'];
    return this.op([0x0f, opcodes[load ? 1 : 0] ?? 0], special, other as Register, { size: 0 });
  }

  lea(target: Register, source: Memory): this {
    return this.op([0x8d], target, source);
  }

  xchg(target: Register | Memory, source: Register): this {
    return this.op([source.size === 8 ? 0x86 : 0x87], source, target);
  }

  movzx(target: Register, source: Register | Memory): this {
    return this.op([0x0f, source.size === 8 ? 0xb6 : 0xb7], target, source, { size: target.size });
  }

  push(source: Operand): this {
    if (isMemory(source)) return this.op([0xff], 6, source, { size: source.size === 64 ? 0 : (source.size ?? 0) });
    if (!isRegister(source)) {
      this.db(0x68);
      this.#value(source, this.bits === 16 ? 2 : 4);
      return this;
    }
    if (source.kind === 'segment') return this.#segmentStack(source, 0);
    return this.#stackRegister(0x50, source);
  }

  pop(target: Register | Memory): this {
    if (isMemory(target)) return this.op([0x8f], 0, target, { size: target.size === 64 ? 0 : (target.size ?? 0) });
    if (target.kind === 'segment') return this.#segmentStack(target, 1);
    return this.#stackRegister(0x58, target);
  }

  #stackRegister(opcode: number, register: Register): this {
    if (register.size === 16 ? this.bits !== 16 : register.size === 32 && this.bits === 16) this.db(0x66);
    if (register.number >= 8) this.db(0x41);
    return this.db(opcode | (register.number & 7));
  }

  #segmentStack(segment: Register, pop: 0 | 1): this {
    if (segment.number >= 4) return this.db(0x0f, (segment.number === 4 ? 0xa0 : 0xa8) | pop);
    return this.db(0x06 | (segment.number << 3) | pop);
  }

  pushf(): this {
    return this.db(0x9c);
  }

  popf(): this {
    return this.db(0x9d);
  }

  // Arithmetic

  #arithmetic(name: keyof typeof Arithmetic, target: Register | Memory, source: Operand): this {
    const digit = Arithmetic[name];
    if (isRegister(source)) return this.op([(digit << 3) | (source.size === 8 ? 0 : 1)], source, target);
    if (isMemory(source)) {
      const register = target as Register;
      return this.op([(digit << 3) | (register.size === 8 ? 2 : 3)], register, source);
    }
    const size = target.size ?? 0;
    const bytes = immediateBytes(size);
    return this.op([size === 8 ? 0x80 : 0x81], digit, target, { size, immediate: { value: source, bytes } });
  }

  add(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('add', target, source);
  }

  or(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('or', target, source);
  }

  adc(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('adc', target, source);
  }

  sbb(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('sbb', target, source);
  }

  and(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('and', target, source);
  }

  sub(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('sub', target, source);
  }

  xor(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('xor', target, source);
  }

  cmp(target: Register | Memory, source: Operand): this {
    return this.#arithmetic('cmp', target, source);
  }

  test(target: Register | Memory, source: Register | Target): this {
    if (typeof source === 'object') return this.op([source.size === 8 ? 0x84 : 0x85], source, target);
    const size = target.size ?? 0;
    const immediate = { value: source, bytes: immediateBytes(size) };
    return this.op([size === 8 ? 0xf6 : 0xf7], 0, target, { size, immediate });
  }

  #unary(digit: number, target: Register | Memory, opcode = 0xf6): this {
    return this.op([opcode | (target.size === 8 ? 0 : 1)], digit, target, { size: target.size ?? 0 });
  }

  inc(target: Register | Memory): this {
    return this.#unary(0, target, 0xfe);
  }

  dec(target: Register | Memory): this {
    return this.#unary(1, target, 0xfe);
  }

  not(target: Register | Memory): this {
    return this.#unary(2, target);
  }

  neg(target: Register | Memory): this {
    return this.#unary(3, target);
  }

  mul(source: Register | Memory): this {
    return this.#unary(4, source);
  }

  div(source: Register | Memory): this {
    return this.#unary(6, source);
  }

  imul(target: Register, source: Register | Memory): this {
    return this.op([0x0f, 0xaf], target, source);
  }

  /** By a constant, or by CL when `count` is the register CL. */
  shift(name: keyof typeof Shifts, target: Register | Memory, count: number | Register): this {
    const size = target.size ?? 0;
    const wide = size === 8 ? 0 : 1;
    if (typeof count === 'object') return this.op([0xd2 | wide], Shifts[name], target, { size });
    return this.op([0xc0 | wide], Shifts[name], target, { size, immediate: { value: count, bytes: 1 } });
  }

  // Control

  jmp(target: Operand): this {
    if (isRegister(target) || isMemory(target)) return this.op([0xff], 4, target, { size: 0 });
    this.db(0xe9);
    this.#relative(target, this.bits === 16 ? 2 : 4);
    return this;
  }

  jcc(condition: Condition, target: Target): this {
    this.db(0x0f, 0x80 | conditionCode(condition));
    this.#relative(target, this.bits === 16 ? 2 : 4);
    return this;
  }

  setcc(condition: Condition, target: Register | Memory): this {
    return this.op([0x0f, 0x90 | conditionCode(condition)], 0, target, { size: target.size === 8 ? 8 : 0 });
  }

  call(target: Operand): this {
    if (isRegister(target) || isMemory(target)) return this.op([0xff], 2, target, { size: 0 });
    this.db(0xe8);
    this.#relative(target, this.bits === 16 ? 2 : 4);
    return this;
  }

  ret(): this {
    return this.db(0xc3);
  }

  /** Far jump to a constant: 16- and 32-bit code only. `offsetSize` 32 in 16-bit code enters a 32-bit segment. */
  jmpFar(selector: number, offset: Target, offsetSize: 16 | 32 = this.bits === 16 ? 16 : 32): this {
    if (this.bits === 64) throw new Error('64-bit code has no far jump to a constant');
    if (offsetSize !== this.bits) this.db(0x66);
    this.db(0xea);
    this.#value(offset, offsetSize === 16 ? 2 : 4);
    this.#value(selector, 2);
    return this;
  }

  int(vector: number): this {
    return vector === 3 ? this.db(0xcc) : this.db(0xcd, vector);
  }

  /** Return from an interrupt, with the operand size of the code: IRET, IRETD, IRETQ. */
  iret(): this {
    return this.bits === 64 ? this.db(0x48, 0xcf) : this.db(0xcf);
  }

  // System

  /** `port`: a constant to 255, or the register DX. */
  out(port: number | Register, source: Register): this {
    this.#portPrefix(source);
    const wide = source.size === 8 ? 0 : 1;
    return typeof port === 'number' ? this.db(0xe6 | wide, port) : this.db(0xee | wide);
  }

  in(target: Register, port: number | Register): this {
    this.#portPrefix(target);
    const wide = target.size === 8 ? 0 : 1;
    return typeof port === 'number' ? this.db(0xe4 | wide, port) : this.db(0xec | wide);
  }

  #portPrefix(register: Register): void {
    if (register.size === 16 ? this.bits !== 16 : register.size === 32 && this.bits === 16) this.db(0x66);
  }

  lgdt(source: Memory): this {
    return this.op([0x0f, 0x01], 2, source, { size: 0 });
  }

  lidt(source: Memory): this {
    return this.op([0x0f, 0x01], 3, source, { size: 0 });
  }

  ltr(source: Register): this {
    return this.op([0x0f, 0x00], 3, source, { size: 0 });
  }

  invlpg(target: Memory): this {
    return this.op([0x0f, 0x01], 7, target, { size: 0 });
  }

  fxsave(target: Memory): this {
    return this.op([0x0f, 0xae], 0, target, { size: this.bits === 64 ? 64 : 0 });
  }

  fxrstor(source: Memory): this {
    return this.op([0x0f, 0xae], 1, source, { size: this.bits === 64 ? 64 : 0 });
  }

  hlt(): this {
    return this.db(0xf4);
  }

  cli(): this {
    return this.db(0xfa);
  }

  sti(): this {
    return this.db(0xfb);
  }

  cld(): this {
    return this.db(0xfc);
  }

  nop(): this {
    return this.db(0x90);
  }

  pause(): this {
    return this.db(0xf3, 0x90);
  }

  wrmsr(): this {
    return this.db(0x0f, 0x30);
  }

  rdmsr(): this {
    return this.db(0x0f, 0x32);
  }

  cpuid(): this {
    return this.db(0x0f, 0xa2);
  }

  ud2(): this {
    return this.db(0x0f, 0x0b);
  }

  /** REP MOVS of elements of `size` bits. */
  repMovs(size: 8 | 16 | 32 | 64): this {
    return this.#string(0xa4, size);
  }

  /** REP STOS of elements of `size` bits. */
  repStos(size: 8 | 16 | 32 | 64): this {
    return this.#string(0xaa, size);
  }

  #string(opcode: number, size: number): this {
    this.db(0xf3);
    if (size === 16 ? this.bits !== 16 : size === 32 && this.bits === 16) this.db(0x66);
    if (size === 64) this.db(0x48);
    return this.db(opcode | (size === 8 ? 0 : 1));
  }
}

function conditionCode(condition: Condition): number {
  return ConditionCodes.findIndex((names) => (names as readonly string[]).includes(condition));
}

function fitsSigned32(value: number | bigint): boolean {
  return value >= -0x8000_0000 && value <= 0x7fff_ffff;
}

function immediateBytes(size: number): 1 | 2 | 4 {
  if (size === 0) throw new Error('the size of this operand is not known: give mem({ size })');
  return size === 8 ? 1 : size === 16 ? 2 : 4;
}

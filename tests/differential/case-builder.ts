/**
 * Makes one test case of a form: a legal encoding with random operands, and the state that it runs in.
 *
 * What single mnemonics need beyond that (valid selectors, divisors, counters, stack contents) is in special-cases.ts.
 */
import { OpcodeMap, OperandSizeRule, RowPrefix } from '@lodger/vmm/x86/instructions/table/notation.js';
import type { InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';
import { OperandMethod, SizeCode } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import type { OperandSpec } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import { pickPlace, Rsp } from './case-state.ts';
import type { CaseState, Place } from './case-state.ts';
import type { Mode, Variant } from './forms.ts';
import { FsBase, GsBase, GuestSize, HighAlias, Low } from './harness-layout.ts';
import type { Random } from './random.ts';
import { Border } from './test-segments.ts';
import type { CaseSegments } from './test-segments.ts';
import { integer } from './values.ts';
import type { ValueType } from './values.ts';

const SegmentPrefix = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;
const MandatoryPrefix: Readonly<Partial<Record<RowPrefix, number>>> = {
  [RowPrefix.P66]: 0x66,
  [RowPrefix.PF3]: 0xf3,
  [RowPrefix.PF2]: 0xf2,
};

/** A register operand that was picked. */
export interface PickedRegister {
  readonly spec: OperandSpec;
  readonly number: number;
  /** AH, CH, DH, BH. */
  readonly high: boolean;
}

export class CaseBuilder {
  readonly row: InstructionRow;
  readonly mode: Mode;
  readonly variant: Variant;
  readonly random: Random;
  readonly state: CaseState;
  /** Segments that are not flat. */
  readonly segments: CaseSegments | undefined;
  /** Address of the instruction, and of the pads where a taken branch comes out. */
  readonly address: number;
  readonly forward: number;
  readonly backward: number;

  /** Bits: 64, 32 or 16. */
  addressSize: 64 | 32 | 16;
  /** Addresses are at the second mapping. */
  high: boolean;
  /** General registers that no address may be built from: the instruction needs their values. */
  readonly reserved = new Set<number>();
  /** The memory operand, if there is one. */
  place: Place | undefined;
  readonly registers: PickedRegister[] = [];
  /** Segment override as an index into SegmentPrefix, or -1. */
  segment = -1;
  /** Immediates, set by special cases before they are picked. */
  readonly chosenImmediates: (bigint | undefined)[] = [];
  /** ModRM.reg of S, C and D operands, set by special cases before it is picked. */
  chosenReg: number | undefined;
  /** Bytes of memory that the instruction may touch around its memory operand. */
  reach = 0;
  /** VEX.L. */
  readonly vexL: number;
  /** Alignment that memory operands mostly have. */
  align: number;
  /** Memory operands may lie where they fault. */
  faults = true;
  /** The case loads segment registers or their bases. */
  savesSegments = false;
  /** This combination does not work: make another case. */
  discard = false;
  /** RSP is a stack pointer. */
  usesStack = false;
  /** Output bytes that are not compared: offset in the record and length. */
  readonly ignored: { offset: number; length: number }[] = [];

  readonly #rexW: boolean;
  readonly #useRex: boolean;
  #rex = 0;
  #vvvv = 0;
  /** Of a gather; -1: there is none. */
  #vectorIndex = -1;
  #reg = 0;
  #rm = 0;
  #mod = 3;
  #sib = -1;
  #opcodeRegister = 0;
  #displacement = 0n;
  #displacementBytes = 0;
  #ripRelative = false;
  #address32 = false;
  readonly #tail: { value: bigint; bytes: number; relativeTo?: number }[] = [];

  constructor(
    form: { row: InstructionRow; mode: Mode },
    variant: Variant,
    random: Random,
    state: CaseState,
    places: { address: number; forward: number; backward: number },
    segments?: CaseSegments,
  ) {
    this.row = form.row;
    this.mode = form.mode;
    this.variant = variant;
    this.random = random;
    this.state = state;
    this.segments = segments;
    this.savesSegments = segments !== undefined;
    this.address = places.address;
    this.forward = places.forward;
    this.backward = places.backward;
    this.vexL = !form.row.vex ? 0 : form.row.vexL >= 0 ? form.row.vexL : random.below(2);
    this.addressSize = this.mode;
    if (random.chance(10)) this.addressSize = this.mode === 32 ? 16 : 32;
    if (form.row.operands.some(({ method }) => method === OperandMethod.VectorMemory) && this.addressSize === 16) {
      this.addressSize = 32;
    }
    this.high = this.addressSize === 64 && random.chance(50);
    this.#rexW = this.#needsRexW();
    this.#useRex = this.mode === 64 && (this.#rexW || random.chance(60));
    this.align = alignmentOf(form.row);
  }

  #needsRexW(): boolean {
    if (this.mode !== 64 || this.row.vex) return false;
    const rule = this.row.operandSizeRule;
    if (rule === OperandSizeRule.Wide32OnAmd) return this.variant.operandSize === 32 && this.random.chance(30);
    return this.row.rexW || (this.variant.operandSize === 64 && rule === OperandSizeRule.Normal);
  }

  /** Width of an operand in bytes. */
  size(code: SizeCode): number {
    const operand = this.variant.operandSize / 8;
    switch (code) {
      case SizeCode.OperandSize:
        return operand;
      case SizeCode.AtMostDword:
        return Math.min(operand, 4);
      case SizeCode.AtLeastDword:
        return operand === 8 ? 8 : 4;
      case SizeCode.Native:
        return this.mode === 64 ? 8 : 4;
      case SizeCode.FarPointer:
        return Math.min(operand, 4) + 2;
      case SizeCode.Pair:
        return operand * 2;
      case SizeCode.DescriptorTable:
        return 10;
      case SizeCode.X87Environment:
        return operand === 2 ? 14 : 28;
      case SizeCode.X87State:
        return operand === 2 ? 94 : 108;
      case SizeCode.VectorLength:
        return this.vexL === 0 ? 16 : 32;
      default:
        return code;
    }
  }

  /** Width of the memory operand in bytes (at least 1). */
  get memorySize(): number {
    const spec = this.row.operands.find(({ method }) => MemoryMethods.includes(method));
    return spec === undefined ? 1 : Math.max(1, this.size(spec.memorySize));
  }

  /** Picks all explicit operands. */
  pickOperands(type: ValueType): void {
    for (const spec of this.row.operands) this.#pick(spec, type);
    if (this.row.modrm !== 0 && this.row.modrmByte < 0 && !this.row.operands.some(usesRm))
      this.#rm = this.random.below(8);
    if (this.row.digit >= 0) this.#reg = this.row.digit;
    else if (this.row.modrmByte >= 0) this.#reg = (this.row.modrmByte >> 3) & 7;
    else if (this.row.modrm !== 0 && !this.row.operands.some(usesReg)) this.#reg = this.random.below(8);
  }

  #pick(spec: OperandSpec, type: ValueType): void {
    const m = OperandMethod;
    switch (spec.method) {
      case m.ModrmGpr:
      case m.ModrmMmx:
      case m.ModrmXmm:
      case m.Memory:
        if (this.variant.rm === 'memory') this.#pickMemory(spec, type);
        else this.#rm = this.#pickRegister(spec, type, 1);
        return;
      case m.VectorMemory:
        this.#pickVectorMemory(spec);
        return;
      case m.ImmediateXmm: {
        const register = this.random.below(this.mode === 64 ? 16 : 8);
        this.registers.push({ spec, number: register, high: false });
        if (type !== 'any') this.state.fillXmm(register, type);
        this.#tail.push({ value: BigInt((register << 4) | this.random.below(16)), bytes: 1 });
        return;
      }
      case m.RmGpr:
      case m.RmMmx:
      case m.RmXmm:
        this.#rm = this.#pickRegister(spec, type, 1);
        return;
      case m.RegGpr:
      case m.RegMmx:
      case m.RegXmm:
        this.#reg = this.#pickRegister(spec, type, 4);
        return;
      case m.OpcodeGpr:
        this.#opcodeRegister = this.#pickRegister(spec, type, 1);
        return;
      case m.VexGpr:
      case m.VexXmm:
        this.#vvvv = this.random.below(this.mode === 64 ? 16 : 8);
        if (this.#vectorIndex >= 0) this.#separate();
        this.registers.push({ spec, number: this.#vvvv, high: false });
        if (spec.method === m.VexXmm && type !== 'any') this.state.fillXmm(this.#vvvv, type);
        return;
      case m.RmSt:
        this.#rm = this.random.below(8);
        return;
      case m.Segment:
      case m.Control:
      case m.Debug:
        this.#reg = this.chosenReg ?? this.random.below(8);
        return;
      case m.Immediate:
      case m.SignedImmediate:
        this.#pickImmediate(spec);
        return;
      case m.Relative:
        this.#tail.push({
          value: BigInt(this.random.chance(70) ? this.forward : this.backward),
          bytes: this.size(spec.registerSize),
          relativeTo: 1,
        });
        return;
      case m.FarPointer:
        this.#tail.push({ value: BigInt(this.forward), bytes: Math.min(this.variant.operandSize, 32) / 8 });
        this.#tail.push({ value: this.chosenImmediates[0] ?? 0n, bytes: 2 });
        return;
      case m.Offset:
        this.#pickOffset(spec, type);
        return;
    }
  }

  #pickImmediate(spec: OperandSpec): void {
    const bytes = this.size(spec.registerSize);
    const index = this.#tail.length;
    const value = this.chosenImmediates[index] ?? integer(this.random, bytes * 8);
    this.#tail.push({ value, bytes });
  }

  /** Picks a register for the field whose REX bit is `rexBit` and sets its contents where they have a type. */
  #pickRegister(spec: OperandSpec, type: ValueType, rexBit: number): number {
    const m = OperandMethod;
    const vector = [m.ModrmXmm, m.RegXmm, m.RmXmm].includes(spec.method as 18);
    const media = [m.ModrmMmx, m.RegMmx, m.RmMmx].includes(spec.method as 15);
    const extended = this.mode === 64 && (this.#useRex || this.row.vex) && !this.row.noRexB;
    const number = this.random.below(extended && !media ? 16 : 8);
    const byte = spec.registerSize === 1;
    const high = byte && !this.#useRex && !this.row.vex && number >= 4 && number < 8;
    this.registers.push({ spec, number, high });
    if (vector && type !== 'any') this.state.fillXmm(number, type);
    if (media && type !== 'any') this.state.fillMmx(number, type);
    if (number >= 8) this.#rex |= rexBit;
    else if (media && extended && this.random.chance(5)) this.#rex |= rexBit;
    return number & 7;
  }

  // Memory operands

  /** Memory at a vector of indices: elements are near each other; sometimes one is where it faults. */
  #pickVectorMemory(spec: OperandSpec): void {
    const { random, state } = this;
    const count = this.mode === 64 ? 16 : 8;
    const destination = this.registers[0]!.number;
    do this.#vectorIndex = random.below(count);
    while (this.#vectorIndex === destination && !random.chance(3));
    this.#pickSegment();
    const size = spec.memorySize;
    const reach = 31 * 8 + 8;
    this.place = this.pickPlace(size, reach, false);
    const scale = random.below(4);
    const bytes = spec.notation.startsWith('vm32') ? 4 : 8;
    const wild = random.chance(15) ? random.below(8) : -1;
    for (let at = 0; at < 32; at += bytes) {
      let index = BigInt(random.between(-30, 30));
      if (at / bytes === wild) index = BigInt(random.between(-0x300, 0x300)) * (8n >> BigInt(scale));
      state.setVectorElement(this.#vectorIndex, at, bytes as 4 | 8, index);
    }
    this.#address32 = this.addressSize !== this.mode;
    const target = BigInt.asUintN(this.addressSize, this.place.address - this.#segmentBase);
    this.#requireHarmless(target);
    const base = this.#free(Array.from({ length: count }, (_, i) => i).filter((number) => number !== Rsp))!;
    const displacement = random.chance(40) ? BigInt(random.below(256) - 128) : 0n;
    this.#setAddressRegister(base, target - displacement);
    const mod = displacement === 0n && (base & 7) !== 5 ? 0 : 1;
    this.#setMod(mod, 4, displacement, mod);
    this.#setSib(base, this.#vectorIndex, scale);
  }

  /** Destination, index and mask of a gather are mostly different registers. */
  #separate(): void {
    const taken = [this.registers[0]!.number, this.#vectorIndex];
    while (taken.includes(this.#vvvv) && !this.random.chance(3)) {
      this.#vvvv = this.random.below(this.mode === 64 ? 16 : 8);
    }
  }

  #pickMemory(spec: OperandSpec, type: ValueType): void {
    const size = Math.max(1, this.size(spec.memorySize));
    this.#pickSegment();
    this.place ??= this.pickPlace(size, this.reach);
    this.#address32 = this.addressSize !== this.mode;
    this.#fillPlace(size, type);
    if (this.addressSize === 16) this.#form16();
    else this.#form32();
  }

  #fillPlace(size: number, type: ValueType): void {
    const { random, state } = this;
    if (this.place === undefined || type === 'any') return;
    if (type.startsWith('i') && size <= 8 && random.chance(20)) {
      const register = this.registers.find(({ spec }) => spec.method === OperandMethod.RegGpr)?.number;
      state.pokeValue(this.place.address, size, state.gpr[register ?? random.below(16)] ?? 0n);
    } else {
      state.fillMemory(this.place.address, size, type);
    }
  }

  /** Sometimes a segment override; FS and GS have bases in 64-bit code, the others are flat or ignored. */
  #pickSegment(): void {
    if (this.segment >= 0 || !this.random.chance(12)) return;
    if (this.mode !== 64) {
      this.segment = this.random.pick(this.segments === undefined ? [0, 2, 3] : [0, 1, 2, 3, 4]);
      return;
    }
    this.segment = this.random.pick([0, 2, 3, 4, 4, 5, 5]);
    if (this.segment === 4 && this.addressSize === 32) this.segment = 3;
    if (this.segment === 5 && !this.high) this.segment = 4;
    if (this.segment === 4 && this.addressSize === 32) this.segment = 3;
  }

  get #segmentBase(): bigint {
    if (this.segments !== undefined) return this.segment === 1 ? BigInt(this.segments.codeBase) : this.segments.base;
    if (this.mode !== 64) return 0n;
    return this.segment === 4 ? FsBase : this.segment === 5 ? GsBase : 0n;
  }

  /** A place for an operand of `size` bytes. */
  pickPlace(size: number, reach: number, faults = this.faults): Place {
    return (
      (faults ? this.#segmentBorder(size) : undefined) ??
      pickPlace(this.random, { size, align: this.align, reach, high: this.high, faults })
    );
  }

  /** Sometimes a place where segments end or offsets wrap around. All bytes that may be written are in a window. */
  #segmentBorder(size: number): Place | undefined {
    const { random, segments } = this;
    if (segments === undefined || !random.chance(30)) return undefined;
    const at = (address: bigint): Place => ({ address: BigInt.asUintN(32, address), plain: false });
    if (size > 0x40) {
      const start = random.pick([Border.Up - size, Border.Down]);
      return at(BigInt(start + random.between(-1, 1)));
    }
    const distance = BigInt(random.between(-1, size));
    const wrap = segments.base + (random.chance(50) ? 0n : 0x1_0000n);
    const border = random.pick([Border.Up, Border.Down, Border.Up, Border.Down, undefined]);
    if (border !== undefined) return at(BigInt(border) - distance);
    // Elsewhere other cases may have changed memory; operands in parts that wrap around are a known deviation
    const inWindow = BigInt.asUintN(32, wrap) < 0x5000n;
    return inWindow && (size <= 8 || size === 16) ? at(wrap - distance) : undefined;
  }

  /** Where an offset was cut off: not memory whose contents other cases may have changed. */
  #requireHarmless(offset: bigint): void {
    if (this.segments === undefined) return;
    const linear = Number(BigInt.asUintN(32, offset + this.#segmentBase));
    if (linear >= Low.Slots && linear < GuestSize) this.discard = true;
    const size = this.memorySize;
    const wraps = offset + BigInt(size) > 1n << BigInt(this.addressSize);
    // What wraps around at 4 GiB is #GP on AMD processors, and not on the Intel one that expectations of AVX come from
    if (wraps && (this.state.upper || (size > 8 && size !== 16))) this.discard = true;
  }

  #free(numbers: readonly number[]): number | undefined {
    const choices = numbers.filter((number) => !this.reserved.has(number));
    return choices.length === 0 ? undefined : this.random.pick(choices);
  }

  /** ModRM and SIB forms of 32- and 64-bit addressing (SDM Vol. 2A Tables 2-2 and 2-3). */
  #form32(): void {
    const { random } = this;
    const bits = this.addressSize;
    const target = BigInt.asUintN(bits, this.place!.address - this.#segmentBase);
    this.#requireHarmless(target);
    const extended = this.#useRex || this.row.vex;
    const all = Array.from({ length: this.mode === 64 && extended ? 16 : 8 }, (_, index) => index);
    const kind = random.below(10);
    if (kind === 0 && this.#formAbsolute(target)) return;
    if (kind === 1 && this.#formIndexOnly(target, all)) return;
    const base = random.chance(6) ? Rsp : this.#free(all.filter((number) => number !== Rsp));
    const index = random.chance(45) ? this.#free(all.filter((number) => number !== Rsp)) : undefined;
    this.#formBase(target, base ?? Rsp, index);
  }

  /** A displacement alone: RIP-relative or absolute. False when it does not reach. */
  #formAbsolute(target: bigint): boolean {
    if (this.mode !== 64) {
      this.#setMod(0, 5, target, 4);
      return true;
    }
    if (this.high) return false;
    if (this.random.chance(65)) {
      this.#setMod(0, 5, target, 4);
      this.#ripRelative = true;
      return true;
    }
    if (BigInt.asIntN(32, target) !== BigInt.asIntN(this.addressSize, target)) return false;
    this.#setMod(0, 4, target, 4);
    this.#sib = 0x25 | (this.random.below(4) << 6);
    return true;
  }

  /** Scaled index and displacement without a base. */
  #formIndexOnly(target: bigint, all: readonly number[]): boolean {
    const index = this.#free(all.filter((number) => number !== Rsp));
    if (index === undefined || this.high) return false;
    const scale = this.random.below(4);
    const value = BigInt(this.random.between(-2000, 2000));
    const displacement = target - (value << BigInt(scale));
    if (BigInt.asIntN(32, displacement) !== BigInt.asIntN(this.addressSize, displacement)) return false;
    this.#setAddressRegister(index, value);
    this.#setMod(0, 4, displacement, 4);
    this.#setSib(5, index, scale);
    return true;
  }

  #formBase(target: bigint, base: number, index: number | undefined): void {
    const { random } = this;
    const scale = random.below(4);
    const low = random.chance(40) ? random.below(256) - 128 : (random.u32() | 0) >> random.pick([0, 0, 8, 16]);
    let displacement = random.chance(30) ? 0n : BigInt(low);
    if (base === Rsp) {
      // The stack pointer keeps its value where it is needed; only a displacement leads to the operand then.
      const distance = BigInt.asIntN(this.addressSize, target - (this.state.gpr[Rsp] ?? 0n));
      if (this.usesStack && BigInt.asIntN(32, distance) === distance) {
        this.#finishForm(Rsp, undefined, 0, distance);
        return;
      }
      if (this.usesStack) return this.#formBase(target, this.#free([0, 1, 2, 3, 6, 7]) ?? 3, index);
    }
    if (index !== undefined && index === base) {
      const value = BigInt(random.between(-2000, 2000));
      const rest = target - value * ((1n << BigInt(scale)) + 1n);
      if (BigInt.asIntN(32, rest) !== BigInt.asIntN(this.addressSize, rest)) index = undefined;
      else {
        displacement = BigInt.asIntN(32, rest);
        this.#setAddressRegister(base, value);
        this.#finishForm(base, index, scale, displacement);
        return;
      }
    }
    let value = target - displacement;
    if (index !== undefined) {
      if (random.chance(70)) this.#setAddressRegister(index, BigInt(random.between(-2000, 2000)));
      value -= (this.state.gpr[index] ?? 0n) << BigInt(scale);
    }
    this.#setAddressRegister(base, value);
    this.#finishForm(base, index, scale, displacement);
  }

  #finishForm(base: number, index: number | undefined, scale: number, displacement: bigint): void {
    const low = base & 7;
    const short = displacement >= -128n && displacement <= 127n;
    const none = displacement === 0n && low !== 5 && !this.random.chance(10);
    const mod = none ? 0 : short && !this.random.chance(15) ? 1 : 2;
    const sib = index !== undefined || low === 4 || (this.mode === 64 && this.random.chance(5));
    this.#setMod(mod, sib ? 4 : low, displacement, mod === 0 ? 0 : mod === 1 ? 1 : 4);
    if (sib) this.#setSib(base, index ?? 4, scale);
    else if (base >= 8) this.#rex |= 1;
  }

  #form16(): void {
    const { random } = this;
    const target = BigInt.asUintN(16, this.place!.address - this.#segmentBase);
    this.#requireHarmless(target);
    const [base, index, rm] = random.pick([
      [3, 6, 0], [3, 7, 1], [5, 6, 2], [5, 7, 3], [6, -1, 4], [7, -1, 5], [5, -1, 6], [3, -1, 7], [-1, -1, 6],
    ] as const); // prettier-ignore
    if (base < 0 || this.reserved.has(base) || this.reserved.has(index)) {
      this.#setMod(0, 6, target, 2);
      return;
    }
    const displacement = random.chance(40)
      ? 0n
      : BigInt(random.chance(50) ? random.below(256) - 128 : random.below(0x10000));
    let value = target - displacement;
    if (index >= 0) value -= this.state.gpr[index] ?? 0n;
    this.#setAddressRegister(base, value);
    const short = displacement >= -128n && displacement <= 127n;
    const mod = displacement === 0n && rm !== 6 ? 0 : short ? 1 : 2;
    this.#setMod(mod, rm, displacement, mod);
  }

  /** Bits above the address size are random: they do not take part. */
  #setAddressRegister(register: number, value: bigint): void {
    const bits = this.addressSize;
    const above = bits === 64 ? 0n : (this.random.u64() >> BigInt(bits)) << BigInt(bits);
    this.state.setGpr(register, BigInt.asUintN(bits, value) | above);
    this.reserved.add(register);
  }

  #setMod(mod: number, rm: number, displacement: bigint, bytes: number): void {
    this.#mod = mod;
    this.#rm = rm;
    this.#displacement = displacement;
    this.#displacementBytes = bytes;
  }

  #setSib(base: number, index: number, scale: number): void {
    this.#sib = (scale << 6) | ((index & 7) << 3) | (base & 7);
    if (base >= 8) this.#rex |= 1;
    if (index >= 8) this.#rex |= 2;
  }

  /** MOV with an absolute offset in the instruction. */
  #pickOffset(spec: OperandSpec, type: ValueType): void {
    const size = this.size(spec.memorySize);
    this.#pickSegment();
    this.place ??= this.pickPlace(size, 0);
    this.#fillPlace(size, type);
    this.#address32 = this.addressSize !== this.mode;
    const offset = BigInt.asUintN(this.addressSize, this.place.address - this.#segmentBase);
    this.#requireHarmless(offset);
    this.#tail.push({ value: offset, bytes: this.addressSize / 8 });
  }

  // Implicit addresses and values, for special cases

  /** Points `register` at a linear address through the segment in force (or ES) and keeps it out of other addresses. */
  pointAt(register: number, address: bigint, overridable: boolean): void {
    const base = overridable ? this.#segmentBase : (this.segments?.base ?? 0n);
    this.#requireHarmless(BigInt.asUintN(this.addressSize, address - base));
    this.#setAddressRegister(register, address - base);
    this.#address32 = this.addressSize !== this.mode;
  }

  /** Picks a segment override for an implicit operand. */
  pickImplicitSegment(): void {
    this.#pickSegment();
  }

  /** An address-size prefix although no memory operand is there (counters). */
  useAddressPrefix(): void {
    this.#address32 = this.addressSize !== this.mode;
  }

  /** Makes RSP a stack pointer with `reach` bytes of the window on both sides. */
  useStack(): void {
    const { random } = this;
    const address = pickPlace(random, { size: 8, align: 8, reach: 0x150, high: false, faults: false }).address;
    const high = this.mode === 64 && random.chance(50);
    if (this.segments === undefined) this.state.setGpr(Rsp, high ? address + HighAlias : address);
    else this.#useSegmentedStack(address);
    this.usesStack = true;
    this.reserved.add(Rsp);
  }

  /** The stack is sometimes near a border; bits above those of the stack pointer are random. */
  #useSegmentedStack(plain: bigint): void {
    const { random, segments } = this;
    const border = random.pick([Border.Up, Border.Down]);
    const address = random.chance(40) ? BigInt(border + random.between(-10, 10)) : plain;
    const offset = random.chance(4) ? BigInt(random.between(-10, 10)) : address - segments!.base;
    this.state.setGpr(Rsp, random.u32());
    this.state.setGprLow(Rsp, segments!.stackBits, offset);
    this.#requireHarmless(BigInt.asUintN(segments!.stackBits, offset));
  }

  /** Linear address. */
  get stackPointer(): bigint {
    const value = this.state.gpr[Rsp] ?? 0n;
    const { segments } = this;
    if (segments) return BigInt.asUintN(32, BigInt.asUintN(segments.stackBits, value) + segments.base);
    return this.mode === 64 ? value : BigInt.asUintN(32, value);
  }

  /** Value of the register or memory operand in ModRM.rm, `bytes` wide. */
  rmValue(bytes: number): bigint {
    if (this.place !== undefined) return this.state.peekValue(this.place.address, bytes);
    const picked = this.registers.find(({ spec }) => spec.method === OperandMethod.ModrmGpr);
    if (picked === undefined) return 0n;
    const value = this.state.gpr[picked.high ? picked.number - 4 : picked.number] ?? 0n;
    return BigInt.asUintN(bytes * 8, picked.high ? value >> 8n : value);
  }

  /** The immediate in place `index`, as encoded. */
  immediate(index: number): bigint {
    return this.#tail[index]?.value ?? 0n;
  }

  // Encoding

  encode(): Uint8Array {
    const bytes: number[] = [...this.#prefixes(), ...this.#opcode()];
    if (this.row.modrm !== 0) bytes.push(...this.#modrm());
    const displacementAt = bytes.length;
    for (let i = 0; i < this.#displacementBytes; i++) bytes.push(0);
    const length = bytes.length + this.#tail.reduce((sum, part) => sum + part.bytes, 0);
    const next = BigInt(this.address + length);
    const displacement = this.#ripRelative ? this.#displacement - next : this.#displacement;
    writeBytes(bytes, displacementAt, displacement, this.#displacementBytes);
    for (const part of this.#tail) {
      writeBytes(bytes, bytes.length, part.relativeTo === undefined ? part.value : part.value - next, part.bytes);
    }
    return Uint8Array.from(bytes);
  }

  #prefixes(): number[] {
    const { random, row, variant } = this;
    const prefixes: number[] = [];
    const mandatory = MandatoryPrefix[row.prefix];
    if (mandatory !== undefined && !row.vex) prefixes.push(mandatory);
    const dataPrefix = this.mode === 16 ? 32 : 16;
    const sized = row.operandSizeRule !== OperandSizeRule.Byte && row.prefix !== RowPrefix.None;
    if (sized && !row.vex && variant.operandSize === dataPrefix && mandatory !== 0x66) prefixes.push(0x66);
    if (variant.rep !== 0) prefixes.push(variant.rep);
    if (variant.lock) prefixes.push(0xf0);
    if (this.segment >= 0) prefixes.push(SegmentPrefix[this.segment] ?? 0);
    if (this.#address32) prefixes.push(0x67);
    for (let i = prefixes.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [prefixes[i], prefixes[j]] = [prefixes[j] ?? 0, prefixes[i] ?? 0];
    }
    return prefixes;
  }

  #opcode(): number[] {
    const { row } = this;
    if (row.vex) return this.#vexOpcode();
    const bytes: number[] = [];
    const rex = this.#rex | (this.#rexW ? 8 : 0);
    if (this.#useRex || rex !== 0) bytes.push(0x40 | rex);
    if (row.map !== OpcodeMap.OneByte) bytes.push(0x0f);
    if (row.map === OpcodeMap.ThreeByte38) bytes.push(0x38);
    if (row.map === OpcodeMap.ThreeByte3A) bytes.push(0x3a);
    bytes.push(row.opcode | (row.opcodeRegister ? this.#opcodeRegister : 0));
    return bytes;
  }

  /** SDM Vol. 2A §2.3.5 "The VEX Prefix". */
  #vexOpcode(): number[] {
    const { row } = this;
    const wide = row.vexW > 0 || (row.vexW < 0 && this.variant.operandSize === 64) ? 0x80 : 0;
    const pp = { [RowPrefix.P66]: 1, [RowPrefix.PF3]: 2, [RowPrefix.PF2]: 3 }[row.prefix as 1 | 2 | 3] ?? 0;
    const inverted = (~this.#rex & 7) << 5;
    return [0xc4, inverted | row.map, wide | ((~this.#vvvv & 15) << 3) | (this.vexL << 2) | pp, row.opcode];
  }

  #modrm(): number[] {
    const mod = this.row.anyMod ? this.random.below(4) : this.#mod;
    const bytes = [(mod << 6) | (this.#reg << 3) | this.#rm];
    if (this.row.modrmByte >= 0) bytes[0] = this.row.modrmByte | (this.row.modrmRegister ? this.#rm : 0);
    if (mod !== 3 && this.#sib >= 0) bytes.push(this.#sib);
    return bytes;
  }
}

const MemoryMethods: readonly number[] = [
  OperandMethod.ModrmGpr, OperandMethod.ModrmMmx, OperandMethod.ModrmXmm, OperandMethod.Memory, OperandMethod.Offset,
  OperandMethod.VectorMemory,
]; // prettier-ignore
const RmMethods: readonly number[] = [
  ...MemoryMethods, OperandMethod.RmGpr, OperandMethod.RmMmx, OperandMethod.RmXmm, OperandMethod.RmSt,
]; // prettier-ignore
const RegMethods: readonly number[] = [
  OperandMethod.RegGpr, OperandMethod.RegMmx, OperandMethod.RegXmm, OperandMethod.Segment, OperandMethod.Control,
  OperandMethod.Debug,
]; // prettier-ignore
const usesRm = (spec: OperandSpec): boolean => RmMethods.includes(spec.method);
const usesReg = (spec: OperandSpec): boolean => RegMethods.includes(spec.method);

/** VEX-encoded instructions whose memory operands must be aligned. */
const AlignedVex = /^VMOV(APS|APD|DQA|NT)/;

/** SSE memory operands of 16 bytes must be aligned, but for the rows that say otherwise: mostly aligned then. */
function alignmentOf(row: InstructionRow): number {
  if (['FXSAVE', 'FXRSTOR', 'CMPXCHG16B'].includes(row.mnemonic)) return 16;
  if (row.vex) return AlignedVex.test(row.mnemonic) ? 32 : 1;
  return row.operands.some(({ memorySize, method }) => memorySize === 16 && MemoryMethods.includes(method)) ? 16 : 1;
}

function writeBytes(bytes: number[], at: number, value: bigint, count: number): void {
  const bits = BigInt.asUintN(64, value);
  for (let i = 0; i < count; i++) bytes[at + i] = Number((bits >> BigInt(8 * i)) & 0xffn);
}

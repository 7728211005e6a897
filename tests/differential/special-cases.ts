/**
 * What single mnemonics need so that their cases are legal, terminate and are interesting: counters, divisors, selectors,
 * stack contents, branch targets, memory images.
 */
import { OperandMethod } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import type { CaseBuilder } from './case-builder.ts';
import { Flag, Fx, Rcx, recordOffset, Rsp } from './case-state.ts';
import { Selector, Window1 } from './harness-layout.ts';
import { integer } from './values.ts';

interface SpecialCase {
  /** Before operands are picked. */
  before?(b: CaseBuilder): void;
  /** After they were picked. */
  after?(b: CaseBuilder): void;
}

const [Rax, Rdx, Rbx, Rbp, Rsi, Rdi] = [0, 2, 3, 5, 6, 7] as const;

const reserve =
  (...registers: number[]) =>
  (b: CaseBuilder): void =>
    registers.forEach((register) => b.reserved.add(register));

/** Where an ordinary implicit operand lies. */
function plainPlace(b: CaseBuilder, size: number, reach: number, faults = true): bigint {
  return b.pickPlace(size, reach, faults).address;
}

// Strings

const StringReach = 72;

/** Makes most elements around two places equal, so that compares run on. */
function makeRuns(b: CaseBuilder, places: readonly bigint[]): void {
  const value = b.random.u64();
  for (const place of places) {
    for (let i = -9; i < 9; i++) b.state.pokeValue(place + BigInt(i * 8), 8, value);
    if (b.random.chance(60)) b.state.pokeValue(place + BigInt(b.random.between(-40, 40)), 1, b.random.u32());
  }
}

function stringCase(b: CaseBuilder, source: boolean, destination: boolean, compares: boolean): void {
  const { random, state, row } = b;
  const size = row.operandSizeRule === 1 ? 1 : b.variant.operandSize / 8;
  const reach = b.variant.rep === 0 ? 0 : StringReach;
  if (random.chance(60)) state.rflags &= ~Flag.DF;
  if (source) b.pickImplicitSegment();
  const from = plainPlace(b, size, reach);
  const overlaps = source && destination && random.chance(25);
  const to = overlaps ? from + BigInt(random.between(-20, 20)) : plainPlace(b, size, reach);
  if (compares) makeRuns(b, [from, to]);
  if (compares && random.chance(70)) state.setGpr(Rax, state.peekValue(source ? from : to, 8));
  if (source) b.pointAt(Rsi, from, true);
  if (destination) b.pointAt(Rdi, to, false);
  if (b.variant.rep !== 0) state.setGprLow(Rcx, b.addressSize, random.pick([0, 1, 2, 3, 4, 5, 6, 7, 8]));
}

const strings = (source: boolean, destination: boolean, compares = false): SpecialCase => ({
  before: (b) => stringCase(b, source, destination, compares),
});

// Bit tests with a register offset reach outside of their operand

const bitTest: SpecialCase = {
  before(b) {
    b.reach = 130;
    const index = b.row.operands[1]?.method === OperandMethod.RegGpr;
    if (!index || b.variant.rm !== 'memory') return;
    for (let register = 0; register < 16; register++) {
      const offset = b.random.between(-1000, 1000);
      b.state.setGprLow(register, b.variant.operandSize, offset);
    }
  },
  after(b) {
    // The offset register must not be one of the address: it would hold an address then.
    const offset = b.registers.find(({ spec }) => spec.method === OperandMethod.RegGpr)?.number;
    if (offset !== undefined && b.variant.rm === 'memory' && b.reserved.has(offset)) b.discard = true;
  },
};

// Division

function divide(b: CaseBuilder, signed: boolean): void {
  const { random, state } = b;
  if (random.chance(25)) return;
  const bits = b.variant.operandSize;
  if (bits === 8) {
    const value = BigInt(random.below(0x100));
    state.setGprLow(Rax, 16, signed ? BigInt.asIntN(8, value) : value);
    return;
  }
  const low = BigInt.asIntN(bits, state.gpr[Rax] ?? 0n);
  state.setGprLow(Rdx, bits, random.chance(20) ? random.below(6) : signed && low < 0n ? -1n : 0n);
}

// Compare and exchange

const compareExchange: SpecialCase = {
  before: reserve(Rax),
  after(b) {
    if (!b.random.chance(50)) return;
    const bits = b.row.operandSizeRule === 1 ? 8 : b.variant.operandSize;
    b.state.setGprLow(Rax, bits, b.rmValue(bits / 8));
  },
};

const compareExchangePair: SpecialCase = {
  before: reserve(Rax, Rdx, Rbx, Rcx),
  after(b) {
    if (!b.random.chance(50) || b.place === undefined) return;
    const half = b.row.rexW ? 8 : 4;
    b.state.setGpr(Rax, b.state.peekValue(b.place.address, half));
    b.state.setGpr(Rdx, b.state.peekValue(b.place.address + BigInt(half), half));
  },
};

// Stack

const stack: SpecialCase = { before: (b) => b.useStack() };

/** RFLAGS images that ring 3 may load; never TF. */
function flagsImage(b: CaseBuilder): number {
  const ac = b.random.chance(5) ? Flag.AC : 0;
  return (b.random.u32() & ~(Flag.TF | Flag.AC | Flag.RF)) | ac;
}

const popFlags: SpecialCase = {
  before(b) {
    b.useStack();
    b.state.pokeValue(b.stackPointer, 8, flagsImage(b));
  },
};

const enter: SpecialCase = {
  before(b) {
    b.useStack();
    b.chosenImmediates[0] = BigInt(b.random.below(0x60));
    b.chosenImmediates[1] = BigInt(b.random.pick([0, 0, 1, 2, 3, 5, 33, 0x80]));
    b.state.setGpr(Rbp, (b.state.gpr[Rsp] ?? 0n) + BigInt(b.random.between(0, 0x60)));
    b.reserved.add(Rbp);
  },
};

const leave: SpecialCase = {
  before(b) {
    b.useStack();
    b.state.setGpr(Rbp, (b.state.gpr[Rsp] ?? 0n) + BigInt(b.random.between(-0x60, 0x60)));
  },
};

// Branches

const target = (b: CaseBuilder): number => b.random.pick([b.forward, b.forward, b.forward, b.backward]);

const nearIndirect: SpecialCase = {
  before(b) {
    b.useStack();
  },
  after(b) {
    const to = branchTarget(b);
    if (b.place !== undefined) b.state.pokeValue(b.place.address, b.variant.operandSize / 8, to);
    const register = b.registers[0]?.number;
    if (register === Rsp && b.place === undefined) b.discard = true;
    else if (b.place === undefined && register !== undefined) b.state.setGprLow(register, b.variant.operandSize, to);
  },
};

/** Mostly a landing pad; sometimes a place that cannot be executed. */
function branchTarget(b: CaseBuilder): bigint {
  if (!b.random.chance(8)) return BigInt(target(b));
  const linear = b.random.pick([BigInt(Window1.start), 0x5000n, 0x7000n, 1n << 47n, 0x123n, 0x8000_0000_0000_0000n]);
  return linear - BigInt(b.segments?.codeBase ?? 0);
}

const nearReturn: SpecialCase = {
  before(b) {
    b.useStack();
    b.chosenImmediates[0] = BigInt(b.random.below(0x80));
    b.state.pokeValue(b.stackPointer, b.variant.operandSize / 8, branchTarget(b));
  },
};

/** Selectors whose descriptors are the same on the silicon's host as in the guest. */
const selectors = [
  0, 0, 1, 2, 3, Selector.KernelCode, Selector.KernelData, Selector.UserData, Selector.UserData, Selector.UserCode64,
  Selector.UserCode64 & ~3, (Selector.UserData & ~3) | 1,
] as const; // prettier-ignore
const codeSelectors = [
  Selector.UserCode64, Selector.UserCode64, Selector.UserCode64, Selector.UserCode64 & ~3, 0, 3, Selector.KernelCode,
  Selector.UserData,
] as const; // prettier-ignore

const farIndirect: SpecialCase = {
  before(b) {
    b.useStack();
  },
  after(b) {
    const offsetSize = Math.min(b.variant.operandSize, 32) / 8;
    b.state.pokeValue(b.place!.address, offsetSize, target(b));
    b.state.pokeValue(b.place!.address + BigInt(offsetSize), 2, b.random.pick(codeSelectors));
  },
};

const farReturn: SpecialCase = {
  before(b) {
    b.useStack();
    b.chosenImmediates[0] = BigInt(b.random.below(0x80));
    const size = b.variant.operandSize / 8;
    b.state.pokeValue(b.stackPointer, size, target(b));
    b.state.pokeValue(b.stackPointer + BigInt(size), size, b.random.pick(codeSelectors));
  },
};

const interruptReturn: SpecialCase = {
  before(b) {
    b.useStack();
    const size = b.variant.operandSize / 8;
    const frame = [
      target(b),
      b.random.pick(codeSelectors),
      flagsImage(b) & ~Flag.NT,
      integer(b.random, size * 8),
      b.random.pick([Selector.UserData, Selector.UserData, Selector.UserData, Selector.UserCode64, 0]),
    ];
    frame.forEach((value, index) => b.state.pokeValue(b.stackPointer + BigInt(index * size), size, value));
  },
};

const counted: SpecialCase = {
  before(b) {
    b.useAddressPrefix();
    b.state.setGprLow(Rcx, b.addressSize, b.random.pick([0, 1, 1, 2, -1]));
  },
};

// Segments

const loadSegment: SpecialCase = {
  before(b) {
    b.savesSegments = true;
    b.chosenReg = b.random.pick([0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 7]);
  },
  after(b) {
    const selector = b.random.pick(selectors);
    if (b.place !== undefined) b.state.pokeValue(b.place.address, 2, selector);
    else b.state.setGprLow(b.registers[0]?.number ?? 0, 16, selector);
  },
};

const popSegment: SpecialCase = {
  before(b) {
    b.savesSegments = true;
    b.useStack();
    b.state.pokeValue(b.stackPointer, 2, b.random.pick(selectors));
  },
};

const loadFarPointer: SpecialCase = {
  before(b) {
    b.savesSegments = true;
  },
  after(b) {
    const size = Math.min(b.variant.operandSize, 32) / 8;
    b.state.pokeValue(b.place!.address + BigInt(size), 2, b.random.pick(selectors));
  },
};

const selectorOperand: SpecialCase = {
  after(b) {
    const selector = b.random.pick([...selectors, Selector.UserCode32]);
    if (b.place !== undefined) b.state.pokeValue(b.place.address, 2, selector);
    const source = b.registers.find(({ spec }) => spec.method === OperandMethod.ModrmGpr)?.number;
    if (source !== undefined) b.state.setGprLow(source, 16, selector);
  },
};

const writeBase: SpecialCase = {
  before(b) {
    b.savesSegments = true;
  },
  after(b) {
    const register = b.registers[0]?.number ?? 0;
    const value = b.state.gpr[register] ?? 0n;
    if (b.random.chance(85)) b.state.setGpr(register, value & 0x7fff_ffff_ffffn);
  },
};

// Floating-point state

const loadMxcsr: SpecialCase = {
  after(b) {
    if (b.random.chance(85)) b.state.pokeValue(b.place!.address, 4, b.random.u32() & 0xffbf);
  },
};

function poke16(b: CaseBuilder, offset: number, value: number): void {
  b.state.pokeValue(b.place!.address + BigInt(offset), 2, value);
}

const restoreFx: SpecialCase = {
  after(b) {
    poke16(b, Fx.Control, (b.random.u32() & 0x1f00) | 0x7f);
    poke16(b, Fx.Status, b.random.u32() & 0x7f00);
    if (b.random.chance(90)) b.state.pokeValue(b.place!.address + BigInt(Fx.Mxcsr), 4, b.random.u32() & 0xffbf);
  },
};

/** Output bytes of a stored image that hold instruction and operand pointers. */
function ignoreImage(b: CaseBuilder, offset: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const at = recordOffset(b.place!.address + BigInt(offset + i));
    if (at !== undefined) b.ignored.push({ offset: at, length: 1 });
  }
}

const saveFx: SpecialCase = {
  after(b) {
    ignoreImage(b, Fx.Opcode, Fx.Mxcsr - Fx.Opcode);
    ignoreImage(b, Fx.MxcsrMask, 4);
    for (let i = 0; i < 8; i++) ignoreImage(b, Fx.St + i * 16 + 10, 6);
    ignoreImage(b, Fx.Reserved, 96);
  },
};

const storeEnvironment: SpecialCase = {
  after(b) {
    if (b.variant.operandSize === 16) ignoreImage(b, 6, 8);
    else ignoreImage(b, 12, 16);
  },
};

const loadEnvironment: SpecialCase = {
  after(b) {
    const word = b.variant.operandSize === 16 ? 2 : 4;
    poke16(b, 0, (b.random.u32() & 0x1f00) | 0x40 | (b.random.chance(80) ? 0x3f : b.random.below(64)));
    poke16(b, word, b.random.u32() & (b.random.chance(80) ? 0x7f00 : 0xffff));
  },
};

const packedDecimal: SpecialCase = {
  after(b) {
    const digits = Array.from({ length: 9 }, () => b.random.below(10) * 16 + b.random.below(10));
    const zeros = b.random.chance(30) ? b.random.below(10) : 0;
    digits.fill(0, 9 - zeros);
    b.state.poke(b.place!.address, [...digits, b.random.pick([0, 0x80])]);
  },
};

/** Results near zero and small exponents, where FSCALE and F2XM1 do their work. */
const smallExponents: SpecialCase = {
  before(b) {
    if (b.random.chance(40)) return;
    const exponent = 0x3fff + b.random.between(-70, 14);
    const sign = b.random.pick([0, 0x8000]);
    b.state.view.setBigUint64(Fx.St + 16, b.random.u64() | (1n << 63n), true);
    b.state.view.setUint16(Fx.St + 24, exponent | sign, true);
  },
};

/** Strings of few different letters with zeros among them, and lengths around the ends. */
const compareStrings: SpecialCase = {
  before(b) {
    b.state.setGprLow(Rax, 64, b.random.pick([b.random.between(-20, 20), b.random.between(0, 9), b.random.u32()]));
    b.state.setGprLow(Rdx, 64, b.random.pick([b.random.between(-20, 20), b.random.between(0, 9), b.random.u32()]));
    b.reserved.add(Rax).add(Rdx);
  },
  after(b) {
    const alphabet = b.random.pick([
      [0, 97, 98, 99, 100],
      [97, 98, 99],
      [0, 0xff, 0x80, 0x7f, 1],
    ]);
    const text = () => Array.from({ length: 16 }, () => b.random.pick(alphabet));
    for (const { number } of b.registers) {
      text().forEach((letter, i) => b.state.view.setUint8(Fx.Xmm + number * 16 + i, letter));
    }
    if (b.place !== undefined) b.state.poke(b.place.address, text());
  },
};

const maskedMove: SpecialCase = {
  before(b) {
    b.pickImplicitSegment();
    b.pointAt(Rdi, plainPlace(b, 16, 0, false), true);
  },
};

/** Which of two NaNs a sum of products gives is the processor's own: there is one NaN only. */
const singleNan = (bits: 32 | 64): SpecialCase => ({
  after(b) {
    const replace = (view: DataView | undefined, start: number, length: number): void => {
      for (let at = start; view && at < start + length; at += bits / 8) {
        if (bits === 32 && (view.getUint32(at, true) & 0x7fff_ffff) > 0x7f80_0000)
          view.setUint32(at, 0xffc0_0000, true);
        const wide = bits === 64 ? view.getBigUint64(at, true) : 0n;
        if ((wide & ((1n << 63n) - 1n)) > 0x7ffn << 52n) view.setBigUint64(at, 0xfff8n << 48n, true);
      }
    };
    for (const { number } of b.registers) {
      replace(b.state.view, Fx.Xmm + number * 16, 16);
      replace(b.state.upper, number * 16, 16);
    }
    const offset = b.place && recordOffset(b.place.address);
    const end = b.place && recordOffset(b.place.address + 31n);
    if (offset !== undefined && end === offset + 31) replace(b.state.view, offset, 32);
    else if (b.place) b.discard = true;
  },
});

const softwareInterrupt: SpecialCase = {
  before(b) {
    b.chosenImmediates[0] = BigInt(b.random.pick([3, 4, 5, 6, 13, 14, 0x20, 0x2f, 0x81, 0xff]));
  },
};

const bound: SpecialCase = {
  after(b) {
    const bits = b.variant.operandSize;
    const index = BigInt.asIntN(bits, b.state.gpr[b.registers[0]?.number ?? 0] ?? 0n);
    const edge = () => index + BigInt(b.random.between(-2, 2));
    const [low, high] = b.random.chance(60) ? [index - BigInt(b.random.below(9)), index + 3n] : [edge(), edge()];
    b.state.pokeValue(b.place!.address, bits / 8, low);
    b.state.pokeValue(b.place!.address + BigInt(bits / 8), bits / 8, high);
  },
};

const farDirect: SpecialCase = {
  before(b) {
    b.useStack();
    const own = b.segments?.selectors[1] ?? (b.mode === 32 ? Selector.UserCode32 : Selector.UserCode16);
    b.chosenImmediates[0] = BigInt(b.random.pick([own, own, own, 0, 3, Selector.KernelCode, Selector.UserData]));
  },
};

export const specialCases: Readonly<Record<string, SpecialCase>> = {
  VDPPS: singleNan(32),
  VDPPD: singleNan(64),
  MOVS: strings(true, true),
  CMPS: strings(true, true, true),
  SCAS: strings(false, true, true),
  STOS: strings(false, true),
  LODS: strings(true, false),
  INS: strings(false, true),
  OUTS: strings(true, false),
  XLAT: {
    before(b) {
      b.pickImplicitSegment();
      const al = (b.state.gpr[Rax] ?? 0n) & 0xffn;
      b.pointAt(Rbx, plainPlace(b, 1, 0) - al, true);
    },
  },
  BT: bitTest,
  BTS: bitTest,
  BTR: bitTest,
  BTC: bitTest,
  DIV: { before: reserve(Rax, Rdx), after: (b) => divide(b, false) },
  IDIV: { before: reserve(Rax, Rdx), after: (b) => divide(b, true) },
  CMPXCHG: compareExchange,
  CMPXCHG8B: compareExchangePair,
  CMPXCHG16B: compareExchangePair,
  PUSH: stack,
  POP: {
    before(b) {
      const operand = b.row.operands[0];
      if (operand?.method === OperandMethod.FixedSegment) popSegment.before?.(b);
      else b.useStack();
    },
  },
  PUSHA: stack,
  POPA: stack,
  PUSHF: stack,
  POPF: popFlags,
  ENTER: enter,
  LEAVE: leave,
  CALL: nearIndirect,
  JMP: nearIndirect,
  RET: nearReturn,
  CALLF: { before: farDirect.before!, after: (b) => b.place !== undefined && farIndirect.after?.(b) },
  JMPF: { before: farDirect.before!, after: (b) => b.place !== undefined && farIndirect.after?.(b) },
  RETF: farReturn,
  IRET: interruptReturn,
  LOOP: counted,
  LOOPE: counted,
  LOOPNE: counted,
  JCXZ: counted,
  INT: softwareInterrupt,
  BOUND: bound,
  MOV: {
    before(b) {
      if (b.row.operands[0]?.method === OperandMethod.Segment) loadSegment.before?.(b);
      const methods = b.row.operands.map(({ method }) => method);
      if (methods[1] === OperandMethod.Segment) b.chosenReg = b.random.below(6);
      if (methods.includes(OperandMethod.Control)) b.chosenReg = b.random.pick([0, 2, 3, 4, b.random.below(8)]);
    },
    after(b) {
      if (b.row.operands[0]?.method === OperandMethod.Segment) loadSegment.after?.(b);
    },
  },
  MOVSXD: {
    before(b) {
      // With operand size 16 processors differ in how much they read.
      if (b.variant.operandSize === 16) b.faults = false;
    },
  },
  LSS: loadFarPointer,
  LFS: loadFarPointer,
  LGS: loadFarPointer,
  LES: loadFarPointer,
  LDS: loadFarPointer,
  LAR: selectorOperand,
  LSL: selectorOperand,
  VERR: selectorOperand,
  VERW: selectorOperand,
  WRFSBASE: writeBase,
  WRGSBASE: writeBase,
  LDMXCSR: loadMxcsr,
  FXSAVE: saveFx,
  FXRSTOR: restoreFx,
  FNSTENV: storeEnvironment,
  FNSAVE: storeEnvironment,
  FLDENV: loadEnvironment,
  FRSTOR: loadEnvironment,
  FBLD: packedDecimal,
  FSCALE: smallExponents,
  PCMPESTRI: compareStrings,
  PCMPESTRM: compareStrings,
  PCMPISTRI: compareStrings,
  PCMPISTRM: compareStrings,
  MASKMOVQ: maskedMove,
  MASKMOVDQU: maskedMove,
};

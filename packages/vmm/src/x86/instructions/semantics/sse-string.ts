/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM Vol. 1 §14.11 "Efficient PCMPxSTRx Use" and Vol. 2B §4.1 "Imm8
 * Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM").
 *
 * The first operand is the set, the ranges or the pattern; result bits stand for elements of the second. Memory operands
 * need no alignment. Sets of elements are bit masks in an i32.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic, Semantics } from './context.ts';
import { fromLow, immediate, requireSse, sharedFunction, zero128 } from './simd-support.ts';
import { lanes } from './sse-shuffle.ts';

/** The control byte. */
const Control = {
  Words: 0x01,
  Signed: 0x02,
  Aggregation: 0x0c,
  EqualAny: 0x00,
  Ranges: 0x04,
  EqualEach: 0x08,
  EqualOrdered: 0x0c,
  Negative: 0x10,
  Masked: 0x20,
  /** Index of the last match; a mask of elements instead of bits. */
  Output: 0x40,
} as const;

/** Elements of one size. */
interface Elements {
  readonly count: 8 | 16;
  readonly all: number;
  splat(x: I32): V128;
  eq(a: V128, b: V128): V128;
  geU(a: V128, b: V128): V128;
  geS(a: V128, b: V128): V128;
  bits(x: V128): I32;
  /** Element `index` in memory, zero-extended. */
  load(at: I32, index: I32): I32;
}

const bytes: Elements = {
  count: 16,
  all: 0xffff,
  splat: (x) => x.splat8(),
  eq: (a, b) => a.eq8(b),
  geU: (a, b) => a.geU8(b),
  geS: (a, b) => a.geS8(b),
  bits: (x) => x.bitmask8(),
  load: (at, index) => at.add(index).load8u(Cpu.Scratch0),
};
const words: Elements = {
  count: 8,
  all: 0xff,
  splat: (x) => x.splat16(),
  eq: (a, b) => a.eq16(b),
  geU: (a, b) => a.geU16(b),
  geS: (a, b) => a.geS16(b),
  bits: (x) => x.bitmask16(),
  load: (at, index) => at.add(index.shl(1)).load16u(Cpu.Scratch0),
};

/** The lowest `length` bits. */
const lowest = (length: I32): I32 => i32(1).shl(length).sub(1);

interface Comparison {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly elements: Elements;
  readonly text: Local<V128>;
  /** Number of valid elements of the first operand, and which of the second are valid. */
  readonly length: Local<I32>;
  readonly valid: Local<I32>;
  readonly control: Local<I32>;
  readonly result: Local<I32>;
}

/** Runs `body` for each valid element (or pair) of the first operand, which is in Cpu.Scratch0. */
function forEachElement({ f, length }: Comparison, step: number, body: (index: Local<I32>) => void): void {
  const index = f.let(i32(0));
  f.block((end) => {
    f.loop((again) => {
      f.brIf(end, index.geU(length));
      body(index);
      f.set(index, index.add(step));
      f.br(again);
    });
  });
}

function equalAny(c: Comparison): void {
  const { f, cpu, elements, text, valid, result } = c;
  forEachElement(c, 1, (index) => {
    const same = elements.eq(text, elements.splat(elements.load(cpu, index)));
    f.set(result, result.or(elements.bits(same)));
  });
  f.set(result, result.and(valid));
}

/** Pairs of lower and upper bound; an odd last bound does not count. */
function ranges(c: Comparison): void {
  const { f, cpu, elements, text, valid, control, result } = c;
  f.set(c.length, c.length.and(~1));
  forEachElement(c, 2, (index) => {
    const lower = f.let(elements.splat(elements.load(cpu, index)));
    const upper = f.let(elements.splat(elements.load(cpu, index.add(1))));
    const unsigned = elements.geU(text, lower).and(elements.geU(upper, text));
    const signed = elements.geS(text, lower).and(elements.geS(upper, text));
    const inside = control.and(Control.Signed).choose<I32>(elements.bits(signed), elements.bits(unsigned));
    f.set(result, result.or(inside));
  });
  f.set(result, result.and(valid));
}

/** Equal where both are valid; also past the end of both. */
function equalEach({ f, elements, text, length, valid, result }: Comparison, first: V128): void {
  const firstValid = f.let(lowest(length));
  const same = elements.bits(elements.eq(first, text)).and(firstValid).and(valid);
  f.set(result, same.or(firstValid.or(valid).xor(elements.all)));
}

/** Where the pattern starts in the text, possibly cut off by the text register's end. */
function equalOrdered(c: Comparison): void {
  const { f, cpu, elements, text, valid, result } = c;
  f.set(result, i32(elements.all));
  forEachElement(c, 1, (index) => {
    const same = elements.bits(elements.eq(text, elements.splat(elements.load(cpu, index)))).and(valid);
    // Past the register's end everything matches.
    f.set(result, result.and(same.or(elements.all << elements.count).shrU(index)));
  });
}

/** Polarity: IntRes1 to IntRes2. */
function applyPolarity({ f, elements, valid, control, result }: Comparison): void {
  f.if(control.and(Control.Negative), () => {
    f.set(result, result.xor(control.and(Control.Masked).select<I32>(valid, i32(elements.all))));
  });
}

/** Number of elements before the first zero. */
function implicitLength(x: V128, elements: Elements): I32 {
  return elements
    .bits(elements.eq(x, zero128))
    .or(elements.all + 1)
    .ctz();
}

/** |length|, at most the number of elements. */
function explicitLength(f: FunctionBuilder, length: I64, elements: Elements): I32 {
  const size = f.let(length.ltS(0).select<I64>(i64(0).sub(length), length));
  return size.ltU(elements.count).select<I64>(size, i64(elements.count)).toI32();
}

interface Operands {
  readonly first: Local<V128>;
  readonly second: Local<V128>;
  readonly lengths: readonly [I64, I64] | undefined;
  readonly control: Local<I32>;
}

/** Leaves IntRes2 and the flags of one element size: result | image << 16. */
function returnComparison(f: FunctionBuilder, elements: Elements, { first, second, lengths, control }: Operands): void {
  const cpu = f.param('i32', 0);
  const lengthOf = (x: V128, length: I64 | undefined) =>
    f.let(length ? explicitLength(f, length, elements) : implicitLength(x, elements));
  const length = lengthOf(first, lengths?.[0]);
  const secondLength = lengthOf(second, lengths?.[1]);
  const valid = f.let(lowest(secondLength));
  const firstShort = f.let(length.ltU(elements.count));
  const c: Comparison = { f, cpu, elements, text: second, length, valid, control, result: f.let(i32(0)) };
  f.storeV128(cpu, Cpu.Scratch0, first);
  const aggregation = f.let(control.and(Control.Aggregation));
  f.if(aggregation.eq(Control.EqualAny), () => equalAny(c));
  f.if(aggregation.eq(Control.Ranges), () => ranges(c));
  f.if(aggregation.eq(Control.EqualEach), () => equalEach(c, first));
  f.if(aggregation.eq(Control.EqualOrdered), () => equalOrdered(c));
  f.set(c.result, c.result.and(elements.all));
  applyPolarity(c);
  const carry = c.result.ne(0);
  const zero = secondLength.ltU(elements.count).shl(6);
  const overflow = c.result.and(1).shl(11);
  f.return(c.result.or(carry.or(zero).or(firstShort.shl(7)).or(overflow).shl(16)));
}

function buildComparison(f: FunctionBuilder, explicit: boolean): void {
  const control = f.param('i32', 3);
  const operands = {
    first: f.param('v128', 1),
    second: f.param('v128', 2),
    lengths: explicit ? ([f.param('i64', 4), f.param('i64', 5)] as const) : undefined,
    control,
  };
  f.if(control.and(Control.Words), () => returnComparison(f, words, operands));
  returnComparison(f, bytes, operands);
}

/** (cpu, first, second, control[, length, length]) -> IntRes2 | RFLAGS image << 16 */
const compareImplicit = sharedFunction<I32>('pcmpistr', ['i32', 'v128', 'v128', 'i32'], 'i32', (f) =>
  buildComparison(f, false),
);
const compareExplicit = sharedFunction<I32>('pcmpestr', ['i32', 'v128', 'v128', 'i32', 'i64', 'i64'], 'i32', (f) =>
  buildComparison(f, true),
);

const Rax = 0;
const Rcx = 1;
const Rdx = 2;

/** Index of the first or last match in ECX; the number of elements when there is none. */
function writeIndex(s: Semantics, found: Local<I32>, control: Local<I32>): void {
  const count = control.and(Control.Words).select(i32(8), i32(16));
  const last = i32(31).sub(found.clz());
  const index = control.and(Control.Output).select<I32>(last, found.ctz());
  s.setGpr(Rcx, 32, found.eqz().select<I32>(count, index).toI64u());
}

/** IntRes2, or all ones in its elements, in XMM0. */
function writeMask(s: Semantics, found: Local<I32>, control: Local<I32>): void {
  const bits8 = lanes(1, [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
  const bits16 = lanes(2, [1, 2, 4, 8, 16, 32, 64, 128]);
  const spread = found.splat8().withLane64(1, found.shrU(8).splat8().lane64(0));
  const ofBytes = spread.and(bits8).eq8(bits8);
  const ofWords = found.splat16().and(bits16).eq16(bits16);
  const expanded = control.and(Control.Words).choose<V128>(ofWords, ofBytes);
  const value = control.and(Control.Output).choose<V128>(expanded, fromLow(found.toI64u()));
  s.setXmm(0, value);
}

function stringComparison(explicit: boolean, write: typeof writeIndex): Semantic {
  return (s) => {
    requireSse(s);
    const second = s.op1.readV128();
    const first = s.op0.readV128();
    const control = immediate(s, s.op2);
    const width = s.form.rexW ? 64 : 32;
    const answer = s.let(
      explicit
        ? compareExplicit(s, s.cpu, first, second, control, s.gpr(Rax, width), s.gpr(Rdx, width))
        : compareImplicit(s, s.cpu, first, second, control),
    );
    const found = s.let(answer.and(0xffff));
    write(s, found, control);
    s.flags.load(answer.shrU(16));
  };
}

export const sseStringSemantics: Record<string, Semantic> = {
  PCMPESTRI: stringComparison(true, writeIndex),
  PCMPESTRM: stringComparison(true, writeMask),
  PCMPISTRI: stringComparison(false, writeIndex),
  PCMPISTRM: stringComparison(false, writeMask),
};

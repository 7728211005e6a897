/**
 * AVX and AVX2: masked moves and gathers. Elements whose mask has its sign bit clear are not accessed (SDM Vol. 2C
 * "VMASKMOV", "VPMASKMOV", "VPGATHERDD/VPGATHERQD", "VGATHERDPS/VGATHERDPD").
 *
 * A gather that faults has loaded the elements before; their masks are cleared, so that it goes on where it was.
 */
import { type I32, type I64, type Local, type V128, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Operand, type Semantic, type Semantics, type V256, Vector } from './context.ts';
import { zero128 } from './simd-support.ts';
import { readHalves, requireAvx, writeHalves } from './vex.ts';

type ElementSize = 32 | 64;

const LinearBits = 48;

/** 32 bytes each, one after the other, for values that are worked on element by element. */
const Scratch = { Values: Cpu.Scratch1, Masks: Cpu.Scratch1 + 32 } as const;

function keep(s: Semantics, at: number, { low, high }: V256): void {
  s.f.storeV128(s.cpu, at, low);
  s.f.storeV128(s.cpu, at + 16, high);
}

const kept = (s: Semantics, at: number): V256 => ({
  low: s.let(s.cpu.loadV128(at)),
  high: s.let(s.cpu.loadV128(at + 16)),
});

/** The sign bits of all elements. */
function signs(s: Semantics, { low, high }: V256, size: ElementSize): Local<I32> {
  const of = (x: V128): I32 => (size === 32 ? x.bitmask32() : x.bitmask64());
  return s.let(of(low).or(of(high).shl(128 / size)));
}

/** Runs `body` for the chosen elements, lowest first. */
function forEachChosen(s: Semantics, chosen: I32, body: (index: Local<I32>) => void): void {
  const left = s.let(chosen);
  s.f.block((end) => {
    s.f.loop((again) => {
      s.f.brIf(end, left.eqz());
      body(s.let(left.ctz()));
      s.f.set(left, left.and(left.sub(1)));
      s.f.br(again);
    });
  });
}

const byteShift = (size: ElementSize): number => (size === 32 ? 2 : 3);

function loadElement(s: Semantics, linear: I64, index: I32, size: ElementSize): void {
  const value = s.load(linear, size, s.op1.kind === 'vector-memory' ? s.op1.stack : (s.operands[2] as Operand).stack);
  const at = s.cpu.add(index.shl(byteShift(size)));
  if (size === 32) s.f.store32(at, Scratch.Values, value.toI32());
  else s.f.store64(at, Scratch.Values, value);
}

/** In 64-bit code an element that is not canonical faults before those in front of it are accessed. */
function requireCanonical(s: Semantics, memory: Operand, chosen: Local<I32>, size: ElementSize): void {
  if (s.form.codeSize !== 64) return;
  const count = i32(32).sub(chosen.clz());
  const last = s.let(
    memory
      .effective()
      .add(count.shl(byteShift(size)).toI64u())
      .sub(1),
  );
  const bad = s.let(
    chosen.ne(0).and(
      last
        .shl(64 - LinearBits)
        .shrS(64 - LinearBits)
        .ne(last),
    ),
  );
  const inStack = typeof memory.stack === 'boolean' ? i32(memory.stack ? 1 : 0) : memory.stack;
  s.f.unlikely(bad, () => {
    s.raiseIf(inStack, Vector.StackFault, 0);
    s.raise(Vector.GeneralProtection, 0);
  });
}

const maskedLoad =
  (size: ElementSize): Semantic =>
  (s) => {
    const [destination, mask, memory] = s.operands as readonly [Operand, Operand, Operand];
    const chosen = signs(s, readHalves(s, mask), size);
    requireCanonical(s, memory, chosen, size);
    memory.effective();
    keep(s, Scratch.Values, { low: s.let<V128>(zero128), high: s.let<V128>(zero128) });
    forEachChosen(s, chosen, (index) => {
      loadElement(s, memory.part(index.shl(byteShift(size)).toI64u(), size / 8, false, false), index, size);
    });
    const { low, high } = kept(s, Scratch.Values);
    writeHalves(s, destination, low, high);
  };

/** All chosen elements can be written before one is. */
const maskedStore =
  (size: ElementSize): Semantic =>
  (s) => {
    const [memory, mask, source] = s.operands as readonly [Operand, Operand, Operand];
    const chosen = signs(s, readHalves(s, mask), size);
    requireCanonical(s, memory, chosen, size);
    memory.effective();
    keep(s, Scratch.Values, readHalves(s, source));
    const linear = (index: I32): Local<I64> => memory.part(index.shl(byteShift(size)).toI64u(), size / 8, true, false);
    forEachChosen(s, chosen, (index) => {
      s.storePointer(linear(index), size / 8, memory.stack);
    });
    forEachChosen(s, chosen, (index) => {
      const at = s.cpu.add(index.shl(byteShift(size)));
      const value = size === 32 ? at.load64_32u(Scratch.Values) : at.load64(Scratch.Values);
      s.store(linear(index), size, value, memory.stack);
    });
  };

const masked =
  (size: ElementSize): Semantic =>
  (s) => {
    requireAvx(s);
    (s.op0.kind === 'memory' ? maskedStore : maskedLoad)(size)(s);
  };

/** Masks as the elements' signs. */
const signMasks = (x: V128, size: ElementSize): V128 => (size === 32 ? x.shrS32(31) : x.shrS64(63));

/** The linear address of an element; indices are signed. */
function elementAddress(s: Semantics, indices: { at: I32; scale: I64 }, index: I32, sizes: Sizes): Local<I64> {
  const at = indices.at.add(index.shl(byteShift(sizes.index)));
  const offset = (sizes.index === 32 ? at.load64_32s() : at.load64()).shl(indices.scale);
  const memory = s.op1;
  const bytes = sizes.element / 8;
  if (s.form.codeSize !== 64) return memory.part(s.let(offset), bytes, false);
  const address = memory.effective().add(offset).zeroExtend(s.form.addressWidth);
  return s.segmented(s.form.segment, s.let(address), bytes, false);
}

interface Sizes {
  readonly index: ElementSize;
  readonly element: ElementSize;
}

/**
 * Destination, memory by indices, mask: which is all zeros at the end. Until then both registers keep as many bits as the
 * instruction's length.
 */
const gather =
  (sizes: Sizes): Semantic =>
  (s) => {
    requireAvx(s);
    const [destination, memory, mask] = s.operands as readonly [Operand, Operand, Operand];
    const { element } = sizes;
    const wide = s.form.vexL;
    const count = (wide ? 256 : 128) / Math.max(sizes.index, element);
    memory.effective();
    const { low, high, scale } = memory.indices();
    const indices = { at: s.let(s.cpu.add(Cpu.Scratch0)), scale };
    keep(s, Cpu.Scratch0, { low, high });
    const whole = (operand: Operand): V256 => (wide ? operand.readV256() : readHalves(s, operand));
    const before = whole(mask);
    const wanted = {
      low: s.let(signMasks(before.low, element)),
      high: s.let(signMasks(before.high, element)),
    };
    // Also when the first element faults
    mask.writeV256(wanted.low, wanted.high);
    keep(s, Scratch.Masks, wanted);
    keep(s, Scratch.Values, whole(destination));
    const chosen = signs(s, wanted, element).and((1 << count) - 1);
    forEachChosen(s, chosen, (index) => {
      loadElement(s, elementAddress(s, indices, index, sizes), index, element);
      const at = s.cpu.add(index.shl(byteShift(element)));
      if (element === 32) s.f.store32(at, Scratch.Masks, 0);
      else s.f.store64(at, Scratch.Masks, 0);
      const [values, masks] = [kept(s, Scratch.Values), kept(s, Scratch.Masks)];
      destination.writeV256(values.low, values.high);
      mask.writeV256(masks.low, masks.high);
    });
    const values = kept(s, Scratch.Values);
    const half = count * element === 64;
    writeHalves(s, destination, half ? zero128.withLane64(0, values.low.lane64(0)) : values.low, values.high);
    mask.writeV256(zero128, zero128);
  };

export const avxMemorySemantics: Record<string, Semantic> = {
  VMASKMOVPS: masked(32),
  VMASKMOVPD: masked(64),
  VPMASKMOVD: masked(32),
  VPMASKMOVQ: masked(64),
  VPGATHERDD: gather({ index: 32, element: 32 }),
  VPGATHERDQ: gather({ index: 32, element: 64 }),
  VPGATHERQD: gather({ index: 64, element: 32 }),
  VPGATHERQQ: gather({ index: 64, element: 64 }),
  VGATHERDPS: gather({ index: 32, element: 32 }),
  VGATHERDPD: gather({ index: 32, element: 64 }),
  VGATHERQPS: gather({ index: 64, element: 32 }),
  VGATHERQPD: gather({ index: 64, element: 64 }),
};

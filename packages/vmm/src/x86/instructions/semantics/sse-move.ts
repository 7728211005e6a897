/** Moves between XMM and MMX registers, general registers and memory; sign masks; masked and non-temporal stores. */
import { type I32, type I64, type V128, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import {
  enterMmx,
  fromLow,
  readMmx,
  readXmm,
  requireAlignment,
  requireMmx,
  requireSse,
  storePartly,
  writeMmx,
} from './simd-support.ts';

const aligned: Semantic = (s) => {
  requireSse(s);
  requireAlignment(s.op0);
  s.op0.writeV128(readXmm(s.op1));
};

const unaligned: Semantic = (s) => {
  requireSse(s);
  s.op0.writeV128(s.op1.readV128());
};

/** MOVSS, MOVSD: between registers the upper part stays, from memory it is cleared. */
const scalar =
  (width: 32 | 64): Semantic =>
  (s) => {
    requireSse(s);
    const value = s.op1.read(width);
    if (s.op1.kind === 'memory') s.op0.writeLowZeroing(value, width);
    else s.op0.write(value, width);
  };

/** MOVLPS, MOVLPD. */
const low: Semantic = (s) => {
  requireSse(s);
  s.op0.write(s.op1.read(64), 64);
};

function setHigh(s: Semantics, value: I64): void {
  const named = s.let(value);
  s.op0.writeV128(s.op0.readV128().withLane64(1, named));
}

/** MOVHPS, MOVHPD. */
const high: Semantic = (s) => {
  requireSse(s);
  if (s.op0.kind === 'memory') s.op0.write(s.op1.readV128().lane64(1), 64);
  else setHigh(s, s.op1.read(64));
};

const highToLow: Semantic = (s) => {
  requireSse(s);
  s.op0.write(s.op1.readV128().lane64(1), 64);
};

const lowToHigh: Semantic = (s) => {
  requireSse(s);
  setHigh(s, s.op1.read(64));
};

const integerWidth = (operand: Operand): 32 | 64 => (operand.bits === 64 ? 64 : 32);

/** MOVD and, with REX.W, MOVQ between vector registers and general registers or memory. */
const movd: Semantic = (s) => {
  const { op0, op1 } = s;
  if (op0.kind === 'xmm') {
    requireSse(s);
    const width = integerWidth(op1);
    op0.writeLowZeroing(op1.readUnsigned(width), width);
  } else if (op1.kind === 'xmm') {
    requireSse(s);
    op0.write(op1.read(64), integerWidth(op0));
  } else if (op0.kind === 'mmx') {
    requireMmx(s);
    writeMmx(s, op0, op1.readUnsigned(integerWidth(op1)));
  } else {
    requireMmx(s);
    op0.write(readMmx(op1), integerWidth(op0));
    enterMmx(s);
  }
};

const movq: Semantic = (s) => {
  const { op0, op1 } = s;
  if (op0.kind === 'mmx' || op1.kind === 'mmx') {
    storeMmx(s);
    return;
  }
  requireSse(s);
  const value = op1.read(64);
  if (op0.kind === 'memory') op0.write(value, 64);
  else op0.writeLowZeroing(value, 64);
};

/** MOVQ of MMX registers, MOVNTQ. */
function storeMmx(s: Semantics): void {
  requireMmx(s);
  const value = readMmx(s.op1);
  if (s.op0.kind === 'mmx') {
    writeMmx(s, s.op0, value);
  } else {
    s.op0.write(value, 64);
    enterMmx(s);
  }
}

const mmxToXmm: Semantic = (s) => {
  requireSse(s);
  requireMmx(s);
  const value = readMmx(s.op1);
  enterMmx(s);
  s.op0.writeLowZeroing(value, 64);
};

const xmmToMmx: Semantic = (s) => {
  requireSse(s);
  requireMmx(s);
  writeMmx(s, s.op0, s.op1.read(64));
};

/** Sign bits of lanes into a general register. */
const signMask =
  (bitmask: (x: V128) => I32): Semantic =>
  (s) => {
    if (s.op1.kind === 'mmx') {
      requireMmx(s);
      const mask = s.let(bitmask(fromLow(readMmx(s.op1))));
      enterMmx(s);
      s.op0.write(mask.toI64u(), 32);
      return;
    }
    requireSse(s);
    s.op0.write(bitmask(s.op1.readV128()).toI64u(), 32);
  };

const Rdi = 7;

/** Stores the bytes of `value` whose mask byte has its sign set at rDI. The others must be writable as well. */
function storeMasked(s: Semantics, value: V128, mask: V128, bytes: number): void {
  const { f } = s;
  const bits = s.let(mask.bitmask8());
  const offset = s.gprUnsigned(Rdi, s.form.addressWidth);
  const { pointer, commit } = storePartly(s, s.segmented(s.form.segment, offset, bytes, true), bytes);
  f.storeV128(s.cpu, Cpu.Scratch0, value);
  const index = s.let(i32(0));
  f.loop((again) => {
    f.if(bits.shrU(index).and(1), () => {
      f.store8(pointer.add(index), 0, s.cpu.add(index).load8u(Cpu.Scratch0));
    });
    f.set(index, index.add(1));
    f.brIf(again, index.ltU(bytes));
  });
  commit();
}

const maskedStore: Semantic = (s) => {
  requireSse(s);
  storeMasked(s, s.op0.readV128(), s.op1.readV128(), 16);
};

const maskedStoreMmx: Semantic = (s) => {
  requireMmx(s);
  const [data, mask] = [s.let(fromLow(readMmx(s.op0))), s.let(fromLow(readMmx(s.op1)))];
  // Even a store that faults has entered MMX state
  enterMmx(s);
  storeMasked(s, data, mask, 8);
};

export const sseMoveSemantics: Record<string, Semantic> = {
  MOVAPS: aligned,
  MOVAPD: aligned,
  MOVDQA: aligned,
  MOVNTPS: aligned,
  MOVNTPD: aligned,
  MOVNTDQ: aligned,
  MOVNTDQA: aligned,
  MOVUPS: unaligned,
  MOVUPD: unaligned,
  MOVDQU: unaligned,
  LDDQU: unaligned,
  MOVSS: scalar(32),
  MOVSD: scalar(64),
  MOVLPS: low,
  MOVLPD: low,
  MOVHPS: high,
  MOVHPD: high,
  MOVHLPS: highToLow,
  MOVLHPS: lowToHigh,
  MOVD: movd,
  MOVQ: movq,
  MOVNTQ: storeMmx,
  MOVQ2DQ: mmxToXmm,
  MOVDQ2Q: xmmToMmx,
  MOVMSKPS: signMask((x) => x.bitmask32()),
  MOVMSKPD: signMask((x) => x.bitmask64()),
  PMOVMSKB: signMask((x) => x.bitmask8()),
  MASKMOVQ: maskedStoreMmx,
  MASKMOVDQU: maskedStore,
};

/**
 * FXSAVE, FXRSTOR, LDMXCSR and STMXCSR, and what XSAVE has in common with them (AMD APM Vol. 2 §11.4 "Saving and Restoring
 * x87, MMX and SSE State").
 *
 * The instruction and data pointers of x87 are saved as zeros while no unmasked exception is pending, as on AMD processors
 * with CPUID Fn8000_0008_EBX[RstrFpErrPtrs].
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, x87Offset, xmmOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';
import { Mxcsr, type Shared, requireSse, sharedFunction, storePartly } from './simd-support.ts';
import { Control, Status, updateSummary } from './x87-state.ts';

/** Offsets in the legacy region of an image. */
export const Image = {
  Control: 0,
  Status: 2,
  /** u8, abridged; the byte after it is zero. */
  Tags: 4,
  Opcode: 6,
  Ip: 8,
  /** Of the 32-bit format, as is Ds: the upper halves of the pointers. */
  Cs: 12,
  Dp: 16,
  Ds: 20,
  Mxcsr: 24,
  MxcsrMask: 28,
  /** Eight of 16 bytes, in stack order. */
  St: 32,
  Xmm: 160,
  LegacyEnd: 416,
  FxsaveEnd: 512,
} as const;

export const Cr0 = { Emulation: 1 << 2, TaskSwitched: 1 << 3 } as const;
export const Cr4 = { OsFxsr: 1 << 9, OsXsave: 1 << 18 } as const;

/** Bits of a linear address; pointers of 64-bit images are sign-extended from the highest. */
const PointerBits = 57;

/** `body` for ST(0) to ST(7) with pointers to the register in an image and in the state block. */
function forEachRegister(
  f: FunctionBuilder,
  cpu: I32,
  image: I32,
  body: (inImage: Local<I32>, inState: Local<I32>) => void,
): void {
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const index = f.let(i32(0));
  f.loop((again) => {
    const inImage = f.let(image.add(index.shl(4)));
    const inState = f.let(cpu.add(top.add(index).and(7).shl(4)));
    body(inImage, inState);
    f.set(index, index.add(1));
    f.brIf(again, index.ltU(8));
  });
}

/** (cpu, image, 64-bit pointers) */
export const saveX87 = sharedFunction<I32>('fxsave.x87', ['i32', 'i32', 'i32'], 'i32', (f) => {
  const [cpu, to, wide] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const status = f.let(cpu.load32(Cpu.FpuStatus).or(cpu.load32(Cpu.FpuTop).shl(11)));
  f.store16(to, Image.Control, cpu.load32(Cpu.FpuControl));
  f.store16(to, Image.Status, status);
  f.store32(to, Image.Tags, cpu.load32(Cpu.FpuTags));
  f.store64(to, Image.Ip, 0);
  f.store64(to, Image.Dp, 0);
  f.if(status.and(Status.ErrorSummary), () => {
    f.store16(to, Image.Opcode, cpu.load32(Cpu.FpuLastOpcode));
    f.store64(to, Image.Ip, cpu.load64(Cpu.FpuLastIp));
    f.store64(to, Image.Dp, cpu.load64(Cpu.FpuLastDp));
    f.if(wide.eqz(), () => {
      f.store32(to, Image.Cs, cpu.load32(Cpu.FpuLastCs));
      f.store32(to, Image.Ds, cpu.load32(Cpu.FpuLastDs));
    });
  });
  forEachRegister(f, cpu, to, (inImage, inState) => {
    f.store64(inImage, Image.St, inState.load64(x87Offset(0)));
    f.store64(inImage, Image.St + 8, inState.load64_16u(x87Offset(0) + 8));
  });
  f.return(i32(0));
});

/** (cpu, image, 64-bit pointers) */
export const restoreX87 = sharedFunction<I32>('fxrstor.x87', ['i32', 'i32', 'i32'], 'i32', (f) => {
  const [cpu, from, wide] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const status = f.let(from.load16u(Image.Status));
  f.store32(cpu, Cpu.FpuControl, from.load16u(Image.Control).and(Control.Writable).or(Control.AlwaysSet));
  f.store32(cpu, Cpu.FpuTop, status.shrU(11).and(7));
  f.store32(cpu, Cpu.FpuStatus, status.and(Status.Exceptions | Status.StackFault | Status.Conditions));
  updateSummary(f, cpu);
  f.store32(cpu, Cpu.FpuTags, from.load8u(Image.Tags));
  f.store32(cpu, Cpu.FpuLastOpcode, from.load16u(Image.Opcode).and(0x7ff));
  f.if(
    wide,
    () => {
      const canonical = (pointer: I64): I64 => pointer.shl(64 - PointerBits).shrS(64 - PointerBits);
      f.store64(cpu, Cpu.FpuLastIp, canonical(from.load64(Image.Ip)));
      f.store64(cpu, Cpu.FpuLastDp, canonical(from.load64(Image.Dp)));
      f.store32(cpu, Cpu.FpuLastCs, 0);
      f.store32(cpu, Cpu.FpuLastDs, 0);
    },
    () => {
      f.store64(cpu, Cpu.FpuLastIp, from.load64_32u(Image.Ip));
      f.store64(cpu, Cpu.FpuLastDp, from.load64_32u(Image.Dp));
      f.store32(cpu, Cpu.FpuLastCs, from.load16u(Image.Cs));
      f.store32(cpu, Cpu.FpuLastDs, from.load16u(Image.Ds));
    },
  );
  forEachRegister(f, cpu, from, (inImage, inState) => {
    f.store64(inState, x87Offset(0), inImage.load64(Image.St));
    f.store64(inState, x87Offset(0) + 8, inImage.load64_16u(Image.St + 8));
  });
  f.return(i32(0));
});

/** XMM8 and up exist in 64-bit mode only. */
export const xmmBytes = (s: Semantics): number => (s.form.codeSize === 64 ? 16 : 8) * 16;
const wide = (s: Semantics): I32 => i32(s.form.rexW && s.form.codeSize === 64 ? 1 : 0);

export function call(s: Semantics, helper: (shared: Shared, cpu: I32, image: I32, wide: I32) => I32, image: I32): void {
  s.f.drop(helper(s, s.cpu, image, wide(s)));
}

export function saveMxcsr(s: Semantics, to: I32): void {
  s.f.store32(to, Image.Mxcsr, s.state32(Cpu.Mxcsr));
  s.f.store32(to, Image.MxcsrMask, Mxcsr.Writable);
}

export function saveXmm(s: Semantics, to: I32): void {
  s.f.memoryCopy(to.add(Image.Xmm), s.cpu.add(xmmOffset(0)), i32(xmmBytes(s)));
}

export function restoreXmm(s: Semantics, from: I32): void {
  s.f.memoryCopy(s.cpu.add(xmmOffset(0)), from.add(Image.Xmm), i32(xmmBytes(s)));
}

export function requireMxcsr(s: Semantics, value: I32): void {
  s.raiseIf(value.and(~Mxcsr.Writable), Vector.GeneralProtection, 0);
}

/** Bytes of the legacy region that an instruction of this mode writes. */
export const legacyBytes = (s: Semantics): number => Image.Xmm + xmmBytes(s);

/** Faults as a write of one byte would. */
export function probeWrite(s: Semantics, linear: I64): void {
  s.storePointer(linear, 1, s.op0.stack);
}

function requireFxsave(s: Semantics, write: boolean): void {
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0.Emulation), Vector.InvalidOpcode);
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0.TaskSwitched), Vector.DeviceNotAvailable);
  // Alignment is looked at after the first bytes' segment and canonical form
  const first = s.op0.part(0, 4, write);
  const last = s.let(first.add(3));
  const canonical = last.shl(16).shrS(16).eq(last);
  s.f.if(canonical, () => s.op0.requireAligned(16));
}

/** Without CR4.OSFXSR, XMM registers and MXCSR have no part in FXSAVE and FXRSTOR. */
const withSse = (s: Semantics): I32 => s.state32(Cpu.Cr4).and(Cr4.OsFxsr);

const fxsave: Semantic = (s) => {
  requireFxsave(s, true);
  const linear = s.op0.linear(true);
  // The processor looks at the last byte first.
  probeWrite(s, s.let(linear.add(Image.FxsaveEnd - 1)));
  const { pointer, commit } = storePartly(s, linear, legacyBytes(s), s.op0.stack);
  call(s, saveX87, pointer);
  s.f.if(withSse(s), () => {
    saveMxcsr(s, pointer);
    saveXmm(s, pointer);
  });
  commit();
};

const fxrstor: Semantic = (s) => {
  requireFxsave(s, false);
  const linear = s.op0.linear();
  s.load(s.let(linear.add(Image.FxsaveEnd - 1)), 8, s.op0.stack);
  const from = s.loadPointer(linear, legacyBytes(s), s.op0.stack);
  const sse = s.let(withSse(s));
  const mxcsr = s.let(from.load32(Image.Mxcsr));
  s.f.if(sse, () => requireMxcsr(s, mxcsr));
  call(s, restoreX87, from);
  s.f.if(sse, () => {
    s.setState32(Cpu.Mxcsr, mxcsr);
    restoreXmm(s, from);
  });
};

const ldmxcsr: Semantic = (s) => {
  requireSse(s);
  const value = s.let(s.op0.readUnsigned(32).toI32());
  requireMxcsr(s, value);
  s.setState32(Cpu.Mxcsr, value);
};

const stmxcsr: Semantic = (s) => {
  requireSse(s);
  s.op0.write(s.state32(Cpu.Mxcsr).toI64u(), 32);
};

export const fxsaveSemantics: Record<string, Semantic> = {
  FXSAVE: fxsave,
  FXRSTOR: fxrstor,
  LDMXCSR: ldmxcsr,
  STMXCSR: stmxcsr,
};

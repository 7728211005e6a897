/**
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR, LDMXCSR and STMXCSR (AMD APM Vol. 2 §11.4 "Saving and Restoring x87, MMX and
 * SSE State", §11.5 "XSAVE/XRSTOR Instructions").
 *
 * State components are x87 (with MMX) and SSE. The instruction and data pointers of x87 are saved as zeros while no
 * unmasked exception is pending, as on AMD processors with CPUID Fn8000_0008_EBX[RstrFpErrPtrs]. Compacted images do not
 * exist (XSAVEC is not advertised): their header raises #GP.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, x87Offset, xmmOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';
import { Mxcsr, type Shared, requireSse, sharedFunction, storePartly } from './simd-support.ts';
import { Control, Status, updateSummary } from './x87-state.ts';

/** Offsets in the legacy region and the header of an image. */
const Image = {
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
  ComponentBitmap: 512,
  /** XCOMP_BV and eight reserved bytes. */
  Compaction: 520,
  HeaderEnd: 576,
} as const;

const Component = { X87: 1, Sse: 2 } as const;

const Cr0 = { Emulation: 1 << 2, TaskSwitched: 1 << 3 } as const;
const Cr4 = { OsFxsr: 1 << 9, OsXsave: 1 << 18 } as const;

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
const saveX87 = sharedFunction<I32>('fxsave.x87', ['i32', 'i32', 'i32'], 'i32', (f) => {
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
const restoreX87 = sharedFunction<I32>('fxrstor.x87', ['i32', 'i32', 'i32'], 'i32', (f) => {
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

/** (cpu): what FNINIT gives, with registers and pointers cleared. */
const initializeX87 = sharedFunction<I32>('xrstor.init', ['i32'], 'i32', (f) => {
  const cpu = f.param('i32', 0);
  f.memoryFill(cpu.add(x87Offset(0)), i32(0), i32(8 * 16));
  f.store32(cpu, Cpu.FpuControl, Control.Initial);
  for (const field of [Cpu.FpuStatus, Cpu.FpuTags, Cpu.FpuTop, Cpu.FpuLastOpcode, Cpu.FpuLastCs, Cpu.FpuLastDs]) {
    f.store32(cpu, field, 0);
  }
  f.store64(cpu, Cpu.FpuLastIp, 0);
  f.store64(cpu, Cpu.FpuLastDp, 0);
  f.return(i32(0));
});

/** (cpu) -> components that are not in their initial configuration (XINUSE). */
const componentsInUse = sharedFunction<I32>('xinuse', ['i32'], 'i32', (f) => {
  const cpu = f.param('i32', 0);
  const anyOf = (first: number, count: number): I32 => {
    const values = Array.from({ length: count }, (_, i) => cpu.loadV128(first + i * 16));
    return values.reduce((a, b) => a.or(b)).anyTrue();
  };
  const words = cpu.load32(Cpu.FpuStatus).or(cpu.load32(Cpu.FpuTags)).or(cpu.load32(Cpu.FpuTop));
  const settings = cpu.load32(Cpu.FpuControl).xor(Control.Initial).or(words);
  const x87 = settings.ne(0).or(anyOf(x87Offset(0), 8));
  f.return(anyOf(xmmOffset(0), 16).shl(1).or(x87));
});

/** XMM8 and up exist in 64-bit mode only. */
const xmmBytes = (s: Semantics): number => (s.form.codeSize === 64 ? 16 : 8) * 16;
const wide = (s: Semantics): I32 => i32(s.form.rexW && s.form.codeSize === 64 ? 1 : 0);

function call(s: Semantics, helper: (shared: Shared, cpu: I32, image: I32, wide: I32) => I32, image: I32): void {
  s.f.drop(helper(s, s.cpu, image, wide(s)));
}

function saveMxcsr(s: Semantics, to: I32): void {
  s.f.store32(to, Image.Mxcsr, s.state32(Cpu.Mxcsr));
  s.f.store32(to, Image.MxcsrMask, Mxcsr.Writable);
}

function saveXmm(s: Semantics, to: I32): void {
  s.f.memoryCopy(to.add(Image.Xmm), s.cpu.add(xmmOffset(0)), i32(xmmBytes(s)));
}

function restoreXmm(s: Semantics, from: I32): void {
  s.f.memoryCopy(s.cpu.add(xmmOffset(0)), from.add(Image.Xmm), i32(xmmBytes(s)));
}

function requireMxcsr(s: Semantics, value: I32): void {
  s.raiseIf(value.and(~Mxcsr.Writable), Vector.GeneralProtection, 0);
}

/** Bytes of the legacy region that an instruction of this mode writes. */
const legacyBytes = (s: Semantics): number => Image.Xmm + xmmBytes(s);

/** Faults as a write of one byte would. */
function probeWrite(s: Semantics, linear: I64): void {
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

/** Checks of XSAVE and XRSTOR; answers the requested components: EDX:EAX and XCR0. */
function requestedComponents(s: Semantics): Local<I32> {
  s.raiseIf(s.state32(Cpu.Cr4).and(Cr4.OsXsave).eqz(), Vector.InvalidOpcode);
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0.TaskSwitched), Vector.DeviceNotAvailable);
  s.op0.requireAligned(64);
  return s.let(s.gpr(0, 32).toI32().and(s.state32(Cpu.Xcr0)));
}

/** XSAVE; `optimized`: components in their initial configuration are not written. */
const xsave =
  (optimized: boolean): Semantic =>
  (s) => {
    const { f } = s;
    const requested = requestedComponents(s);
    const inUse = s.let(componentsInUse(s, s.cpu));
    const linear = s.op0.linear(true);
    const header = s.let(linear.add(Image.ComponentBitmap));
    probeWrite(s, linear);
    probeWrite(s, s.let(linear.add(Image.HeaderEnd - 1)));
    const before = s.load(header, 64, s.op0.stack);
    const { pointer, commit } = storePartly(s, linear, legacyBytes(s), s.op0.stack);
    const kept = before.and(requested.toI64u().xor(-1));
    s.store(header, 64, s.let(kept.or(requested.and(inUse).toI64u())));
    const written = optimized ? s.let(requested.and(inUse)) : requested;
    f.if(written.and(Component.X87), () => call(s, saveX87, pointer));
    f.if(requested.and(Component.Sse), () => saveMxcsr(s, pointer));
    f.if(written.and(Component.Sse), () => saveXmm(s, pointer));
    commit();
  };

const xrstor: Semantic = (s) => {
  const { f } = s;
  const requested = requestedComponents(s);
  const linear = s.op0.linear();
  const { stack } = s.op0;
  s.load(linear, 8, stack);
  const present = s.load(s.let(linear.add(Image.ComponentBitmap)), 64, stack);
  const compaction = s.load(s.let(linear.add(Image.Compaction)), 64, stack);
  const reserved = s.load(s.let(linear.add(Image.Compaction + 8)), 64, stack);
  const unsupported = present.and(s.state64(Cpu.Xcr0).xor(-1));
  s.raiseIf(unsupported.or(compaction).or(reserved).ne(0), Vector.GeneralProtection, 0);
  const from = s.loadPointer(linear, legacyBytes(s), s.op0.stack);
  // MXCSR is loaded also when its component is to be initialised.
  const mxcsr = s.let(from.load32(Image.Mxcsr));
  f.if(requested.and(Component.Sse), () => {
    requireMxcsr(s, mxcsr);
    s.setState32(Cpu.Mxcsr, mxcsr);
  });
  const loaded = s.let(requested.and(present.toI32()));
  const initialized = s.let(requested.and(present.toI32().xor(-1)));
  f.if(loaded.and(Component.X87), () => call(s, restoreX87, from));
  f.if(initialized.and(Component.X87), () => f.drop(initializeX87(s, s.cpu)));
  f.if(loaded.and(Component.Sse), () => restoreXmm(s, from));
  f.if(initialized.and(Component.Sse), () => {
    f.memoryFill(s.cpu.add(xmmOffset(0)), i32(0), i32(xmmBytes(s)));
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
  XSAVE: xsave(false),
  XSAVEOPT: xsave(true),
  XRSTOR: xrstor,
  LDMXCSR: ldmxcsr,
  STMXCSR: stmxcsr,
};

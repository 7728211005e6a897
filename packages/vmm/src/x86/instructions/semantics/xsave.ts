/**
 * XSAVE, XSAVEOPT and XRSTOR (AMD APM Vol. 2 §11.5 "XSAVE/XRSTOR Instructions"; SDM Vol. 1 Chapter 13 "Managing State Using
 * the XSAVE Feature Set").
 *
 * State components are x87 (with MMX), SSE and AVX. Compacted images do not exist (XSAVEC is not advertised): their header
 * raises #GP.
 */
import { type I32, type I64, type Local, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, x87Offset, xmmOffset, ymmHighOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';
import {
  Cr0,
  Cr4,
  Image,
  call,
  legacyBytes,
  probeWrite,
  requireMxcsr,
  restoreX87,
  restoreXmm,
  saveMxcsr,
  saveX87,
  saveXmm,
  xmmBytes,
} from './fxsave.ts';
import { sharedFunction, storePartly } from './simd-support.ts';
import { Control } from './x87-state.ts';

/** Offsets of the header and of what follows it (standard format). */
const Header = {
  ComponentBitmap: 512,
  /** XCOMP_BV and eight reserved bytes. */
  Compaction: 520,
  End: 576,
} as const;
/** The AVX component: upper halves, 16 bytes each. */
const YmmHigh = Header.End;

const Component = { X87: 1, Sse: 2, Avx: 4 } as const;

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
  const avx = anyOf(ymmHighOffset(0), 16).shl(2);
  f.return(anyOf(xmmOffset(0), 16).shl(1).or(x87).or(avx));
});

/** Checks of XSAVE and XRSTOR; answers the requested components: EDX:EAX and XCR0. */
function requestedComponents(s: Semantics): Local<I32> {
  s.raiseIf(s.state32(Cpu.Cr4).and(Cr4.OsXsave).eqz(), Vector.InvalidOpcode);
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0.TaskSwitched), Vector.DeviceNotAvailable);
  s.op0.requireAligned(64);
  return s.let(s.gpr(0, 32).toI32().and(s.state32(Cpu.Xcr0)));
}

/** The bytes of a component that an instruction of this mode reads or writes. */
function ymmPlace(s: Semantics, linear: I64): { first: Local<I64>; bytes: number } {
  return { first: s.let(linear.add(YmmHigh)), bytes: xmmBytes(s) };
}

function saveYmmHigh(s: Semantics, linear: I64): void {
  const { first, bytes } = ymmPlace(s, linear);
  const { pointer, commit } = s.storePointer(first, bytes, s.op0.stack);
  s.f.memoryCopy(pointer, s.cpu.add(ymmHighOffset(0)), i32(bytes));
  commit();
}

/** Faults as a write of the component would. */
function probeYmmHigh(s: Semantics, linear: I64): void {
  const { first, bytes } = ymmPlace(s, linear);
  probeWrite(s, first);
  probeWrite(s, s.let(first.add(bytes - 1)));
}

/** XSAVE; `optimized`: components in their initial configuration are not written. */
const xsave =
  (optimized: boolean): Semantic =>
  (s) => {
    const { f } = s;
    const requested = requestedComponents(s);
    const inUse = s.let(componentsInUse(s, s.cpu));
    const written = optimized ? s.let(requested.and(inUse)) : requested;
    const linear = s.op0.linear(true);
    const header = s.let(linear.add(Header.ComponentBitmap));
    probeWrite(s, linear);
    probeWrite(s, s.let(linear.add(Header.End - 1)));
    f.if(written.and(Component.Avx), () => probeYmmHigh(s, linear));
    const before = s.load(header, 64, s.op0.stack);
    const { pointer, commit } = storePartly(s, linear, legacyBytes(s), s.op0.stack);
    const kept = before.and(requested.toI64u().xor(-1));
    s.store(header, 64, s.let(kept.or(requested.and(inUse).toI64u())));
    f.if(written.and(Component.X87), () => call(s, saveX87, pointer));
    f.if(requested.and(Component.Sse | Component.Avx), () => saveMxcsr(s, pointer));
    f.if(written.and(Component.Sse), () => saveXmm(s, pointer));
    commit();
    f.if(written.and(Component.Avx), () => saveYmmHigh(s, linear));
  };

const xrstor: Semantic = (s) => {
  const { f } = s;
  const requested = requestedComponents(s);
  const linear = s.op0.linear();
  const { stack } = s.op0;
  s.load(linear, 8, stack);
  const present = s.load(s.let(linear.add(Header.ComponentBitmap)), 64, stack);
  const compaction = s.load(s.let(linear.add(Header.Compaction)), 64, stack);
  const reserved = s.load(s.let(linear.add(Header.Compaction + 8)), 64, stack);
  const unsupported = present.and(s.state64(Cpu.Xcr0).xor(-1));
  s.raiseIf(unsupported.or(compaction).or(reserved).ne(0), Vector.GeneralProtection, 0);
  const loaded = s.let(requested.and(present.toI32()));
  const initialized = s.let(requested.and(present.toI32().xor(-1)));
  const ymm = ymmPlace(s, linear);
  f.if(loaded.and(Component.Avx), () => {
    s.loadPointer(ymm.first, ymm.bytes, stack);
  });
  const from = s.loadPointer(linear, legacyBytes(s), s.op0.stack);
  // MXCSR is loaded also when its component is to be initialised.
  const mxcsr = s.let(from.load32(Image.Mxcsr));
  f.if(requested.and(Component.Sse | Component.Avx), () => {
    requireMxcsr(s, mxcsr);
    s.setState32(Cpu.Mxcsr, mxcsr);
  });
  f.if(loaded.and(Component.X87), () => call(s, restoreX87, from));
  f.if(initialized.and(Component.X87), () => f.drop(initializeX87(s, s.cpu)));
  f.if(loaded.and(Component.Sse), () => restoreXmm(s, from));
  f.if(initialized.and(Component.Sse), () => {
    f.memoryFill(s.cpu.add(xmmOffset(0)), i32(0), i32(xmmBytes(s)));
  });
  f.if(loaded.and(Component.Avx), () => {
    f.memoryCopy(s.cpu.add(ymmHighOffset(0)), s.loadPointer(ymm.first, ymm.bytes, stack), i32(ymm.bytes));
  });
  f.if(initialized.and(Component.Avx), () => {
    f.memoryFill(s.cpu.add(ymmHighOffset(0)), i32(0), i32(ymm.bytes));
  });
};

export const xsaveSemantics: Record<string, Semantic> = {
  XSAVE: xsave(false),
  XSAVEOPT: xsave(true),
  XRSTOR: xrstor,
};

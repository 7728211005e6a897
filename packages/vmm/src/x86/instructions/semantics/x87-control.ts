/**
 * Control instructions (SDM Vol. 1 §8.3.11 "x87 FPU Control Instructions"): control and status word, FNCLEX, FNINIT,
 * FWAIT, stack management, environment and state images.
 *
 * FNENI, FNDISI and FNSETPM do nothing, as since the 80387.
 */
import { type I32, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic, Semantics } from './context.ts';
import { EnvironmentBytes, StateBytes, loadEnvironment, loadState, storeEnvironment, storeState } from './x87-image.ts';
import { begin, deliverPending, recordPointers, requireWait, requireX87 } from './x87-execute.ts';
import { Control, Status, clearC1, shared, updateSummary } from './x87-state.ts';

/** The status word with TOP in its place. */
export function statusWord(cpu: I32): I32 {
  return cpu.load32(Cpu.FpuStatus).or(cpu.load32(Cpu.FpuTop).shl(11));
}

const loadControl: Semantic = (s) => {
  begin(s);
  const value = s.op0.readUnsigned(16).toI32();
  s.setState32(Cpu.FpuControl, value.and(Control.Writable).or(Control.AlwaysSet));
  updateSummary(s.f, s.cpu);
  s.done();
};

const storeControl: Semantic = (s) => {
  requireX87(s);
  s.op0.write(s.state32(Cpu.FpuControl).toI64u(), 16);
  s.done();
};

const storeStatus: Semantic = (s) => {
  requireX87(s);
  s.op0.write(statusWord(s.cpu).toI64u(), 16);
  s.done();
};

const clearExceptions: Semantic = (s) => {
  requireX87(s);
  s.setState32(Cpu.FpuStatus, s.state32(Cpu.FpuStatus).and(~Status.Clearable));
  s.done();
};

/** (cpu) -> 0: the state after FNINIT; the data registers keep their contents. */
const initialise = shared('init', ['i32'], (f) => {
  const cpu = f.param('i32', 0);
  f.store32(cpu, Cpu.FpuControl, Control.Initial);
  for (const offset of [Cpu.FpuStatus, Cpu.FpuTags, Cpu.FpuTop, Cpu.FpuLastOpcode, Cpu.FpuLastCs, Cpu.FpuLastDs]) {
    f.store32(cpu, offset, 0);
  }
  f.store64(cpu, Cpu.FpuLastIp, 0);
  f.store64(cpu, Cpu.FpuLastDp, 0);
  f.return(i32(0));
});

const initialiseSemantic: Semantic = (s) => {
  requireX87(s);
  s.f.drop(initialise(s.helper.bind(s), s.cpu));
  s.done();
};

const wait: Semantic = (s) => {
  requireWait(s);
  deliverPending(s);
  s.done();
};

const noOperation: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  s.done();
};

const ignored: Semantic = (s) => {
  requireX87(s);
  s.done();
};

/** FINCSTP and FDECSTP: TOP moves, tags and contents stay. */
function moveTop(by: number): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    s.setState32(Cpu.FpuTop, s.state32(Cpu.FpuTop).add(by).and(7));
    clearC1(s.f, s.cpu);
    s.done();
  };
}

function free(s: Semantics): void {
  begin(s);
  recordPointers(s);
  const bit = i32(1).shl(s.state32(Cpu.FpuTop).add(s.op0.index).and(7));
  s.setState32(Cpu.FpuTags, s.state32(Cpu.FpuTags).and(bit.xor(-1)));
  clearC1(s.f, s.cpu);
}

const freeAndPop: Semantic = (s) => {
  free(s);
  const top = s.let(s.state32(Cpu.FpuTop));
  s.setState32(Cpu.FpuTags, s.state32(Cpu.FpuTags).and(i32(1).shl(top).xor(-1)));
  s.setState32(Cpu.FpuTop, top.add(1).and(7));
  s.done();
};

const Cr0ProtectionEnable = 1;
const RflagsVirtual8086 = 1 << 17;

/** 1 when images have the protected-mode layout: selectors instead of 20-bit addresses. */
function protectedLayout(s: Semantics): I32 {
  if (s.form.codeSize === 64) return i32(1);
  const real = s.state32(Cpu.Rflags).and(RflagsVirtual8086);
  return s.state32(Cpu.Cr0).and(Cr0ProtectionEnable).and(real.eqz());
}

type Size = 16 | 32;
const imageSize = (s: Semantics): Size => (s.form.width === 16 ? 16 : 32);

const storeEnvironmentSemantic: Semantic = (s) => {
  requireX87(s);
  const size = imageSize(s);
  const { pointer, commit } = s.op0.writePointer(EnvironmentBytes[size]);
  s.f.drop(storeEnvironment[size](s.helper.bind(s), s.cpu, pointer, protectedLayout(s)));
  commit();
  // FNSTENV masks all exceptions after storing.
  s.setState32(Cpu.FpuControl, s.state32(Cpu.FpuControl).or(Status.Exceptions));
  updateSummary(s.f, s.cpu);
  s.done();
};

const loadEnvironmentSemantic: Semantic = (s) => {
  begin(s);
  const size = imageSize(s);
  const pointer = s.op0.readPointer(EnvironmentBytes[size]);
  s.f.drop(loadEnvironment[size](s.helper.bind(s), s.cpu, pointer, protectedLayout(s)));
  s.done();
};

const storeStateSemantic: Semantic = (s) => {
  requireX87(s);
  const size = imageSize(s);
  const { pointer, commit } = s.op0.writePointer(StateBytes[size]);
  s.f.drop(storeState[size](s.helper.bind(s), s.cpu, pointer, protectedLayout(s)));
  commit();
  s.f.drop(initialise(s.helper.bind(s), s.cpu));
  s.done();
};

const loadStateSemantic: Semantic = (s) => {
  begin(s);
  const size = imageSize(s);
  const pointer = s.op0.readPointer(StateBytes[size]);
  s.f.drop(loadState[size](s.helper.bind(s), s.cpu, pointer, protectedLayout(s)));
  s.done();
};

export const x87ControlSemantics: Readonly<Record<string, Semantic>> = {
  FLDCW: loadControl,
  FNSTCW: storeControl,
  FNSTSW: storeStatus,
  FNCLEX: clearExceptions,
  FNINIT: initialiseSemantic,
  FWAIT: wait,
  FNOP: noOperation,
  FNENI: ignored,
  FNDISI: ignored,
  FNSETPM: ignored,
  FINCSTP: moveTop(1),
  FDECSTP: moveTop(-1),
  FFREE: (s) => {
    free(s);
    s.done();
  },
  FFREEP: freeAndPop,
  FLDENV: loadEnvironmentSemantic,
  FNSTENV: storeEnvironmentSemantic,
  FRSTOR: loadStateSemantic,
  FNSAVE: storeStateSemantic,
};

/**
 * Delivery of exceptions and interrupts in long mode (SDM Vol. 3A "Exception and Interrupt Handling in 64-bit Mode"),
 * in wasm. Other modes are JavaScript's (rare/legacy-events.ts).
 */
import type { FunctionBuilder, FunctionRef, Label } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../encoder/values.ts';
import type { MmuFunctions } from '../softmmu/mmu.ts';
import {
  Cpu,
  HandlerResult,
  LoopExit,
  SegmentField,
  SegmentIndex,
  TlbOffset,
  gprOffset,
  segmentOffset,
} from './cpu-layout.ts';
import { LazyFlags, Rflag, composeRflags, flagsInMemory } from '../emit/lazy-flags.ts';
import { EferBit, SegmentAttribute } from './mode.ts';

export interface EventFunctions {
  /** (cpu) -> 0, or a LoopExit: delivers the exception in Cpu.Fault* at Cpu.Rip, with double and triple faults. */
  readonly deliver: FunctionRef;
  /** (cpu, vector, kind) -> 0, or a LoopExit: delivers an interrupt at Cpu.Rip. kind: EventKind */
  readonly interrupt: FunctionRef;
  /**
   * (cpu, vector, kind) -> 0, or 1 with a fault recorded: delivers at Cpu.Rip without nested faults. For INT n, whose
   * faults are its own.
   */
  readonly event: FunctionRef;
}

export const EventKind = {
  /** Pushes Rip as it is; error code from Cpu.Fault*. */
  Exception: 0,
  /** INT n, INT3, INTO: the gate's DPL is checked. */
  Software: 1,
  External: 2,
} as const;

const Rsp = gprOffset(4);
const DoubleFaultClass = 4;

export function defineEvents(
  module: ModuleBuilder,
  mmu: MmuFunctions,
  updateMode: FunctionRef,
  legacyEvent: FunctionRef,
): EventFunctions {
  const longEvent = module.declare('longEvent', ['i32', 'i32', 'i32'], ['i32']);
  defineLongEvent(module, longEvent, mmu, updateMode);
  const anyEvent = module.function('anyEvent', ['i32', 'i32', 'i32'], ['i32'], (f) => {
    const cpu = f.param('i32', 0);
    // The handler starts without the single-step trap of what it interrupts, and its accesses are not replays
    f.store32(cpu, Cpu.PendingDebug, 0);
    f.store32(cpu, Cpu.ReplayCount, 0);
    f.if(cpu.load32(Cpu.Efer).and(EferBit.LongModeActive), () => {
      f.return(f.callValue('i32', longEvent, cpu, f.param('i32', 1), f.param('i32', 2)));
    });
    f.return(f.callValue('i32', legacyEvent, cpu, f.param('i32', 1), f.param('i32', 2)));
  });
  const deliver = module.declare('deliver', ['i32'], ['i32']);
  defineDeliver(module, deliver, anyEvent);
  const interrupt = module.function('interrupt', ['i32', 'i32', 'i32'], ['i32'], (f) => {
    const cpu = f.param('i32', 0);
    f.store32(cpu, Cpu.DeliveryClass, 1);
    f.store32(cpu, Cpu.FaultHasError, 0);
    const failed = f.callValue('i32', anyEvent, cpu, f.param('i32', 1), f.param('i32', 2));
    f.if(failed.eqz(), () => {
      f.store32(cpu, Cpu.DeliveryClass, 0);
      f.return(i32(0));
    });
    f.return(f.callValue('i32', deliver, cpu));
  });
  return { deliver, interrupt, event: anyEvent };
}

/** Class of an exception for double faults (SDM Vol. 3A "Interrupt 8—Double Fault Exception (#DF)"). */
function exceptionClass(vector: I32): I32 {
  const contributory = i32((1 << 0) | (0xf << 10))
    .shrU(vector)
    .and(1)
    .and(vector.ltU(32));
  return vector.eq(14).select(i32(3), vector.eq(8).select(i32(DoubleFaultClass), contributory.add(1)));
}

function defineDeliver(module: ModuleBuilder, deliver: FunctionRef, anyEvent: FunctionRef): void {
  module.define(deliver, (f) => {
    const cpu = f.param('i32', 0);
    f.loop((again) => {
      const vector = f.let(cpu.load32(Cpu.FaultVector));
      const first = f.let(cpu.load32(Cpu.DeliveryClass));
      const second = f.let(exceptionClass(vector));
      const triple = first.eq(DoubleFaultClass);
      f.if(triple, () => {
        f.store32(cpu, Cpu.DeliveryClass, 0);
        f.return(i32(LoopExit.Shutdown));
      });
      const double = first
        .eq(2)
        .and(second.eq(2))
        .or(first.eq(3).and(second.geU(2)));
      f.if(double, () => {
        f.store32(cpu, Cpu.FaultVector, 8);
        f.store32(cpu, Cpu.FaultErrorCode, 0);
        f.store32(cpu, Cpu.FaultHasError, 1);
        f.set(vector, i32(8));
        f.set(second, i32(DoubleFaultClass));
      });
      f.store32(cpu, Cpu.DeliveryClass, second);
      const failed = f.callValue('i32', anyEvent, cpu, vector, i32(EventKind.Exception));
      f.brIf(again, failed);
    });
    f.store32(cpu, Cpu.DeliveryClass, 0);
    f.return(i32(0));
  });
}

interface Event {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly mmu: MmuFunctions;
  readonly failed: Label;
  /** 1 for events that are not INT n: the EXT bit of error codes. */
  readonly external: Local<I32>;
}

/** `longEvent(cpu, vector, kind) -> 0` or 1 with the next fault recorded. Nothing changes before all checks passed. */
function defineLongEvent(module: ModuleBuilder, ref: FunctionRef, mmu: MmuFunctions, updateMode: FunctionRef): void {
  module.define(ref, (f) => {
    const cpu = f.param('i32', 0);
    const vector = f.param('i32', 1);
    const kind = f.param('i32', 2);
    const bank = f.let(cpu.load32(Cpu.TlbBank));
    const oldCpl = f.let(cpu.load32(Cpu.Cpl));
    f.store32(cpu, Cpu.TlbBank, cpu.add(TlbOffset));
    f.block((failed) => {
      const event: Event = { f, cpu, mmu, failed, external: f.let(kind.ne(EventKind.Software)) };
      const gateError = f.let(vector.shl(3).or(2));
      const low = f.local('i64');
      const high = f.local('i64');
      const idtOffset = f.let(vector.shl(4));
      raiseWhen(event, idtOffset.add(15).gtU(cpu.load32(Cpu.IdtLimit)), 13, gateError);
      const gate = f.let(cpu.load64(Cpu.IdtBase).add(idtOffset.toI64u()));
      f.set(low, readSystem(event, gate, 8));
      f.set(high, readSystem(event, gate.add(8), 8));
      const type = f.let(low.shrU(40).toI32().and(0x1f));
      raiseWhen(event, type.and(0x1e).ne(0x0e), 13, gateError);
      const gateDpl = low.shrU(45).toI32().and(3);
      raiseWhen(event, event.external.eqz().and(oldCpl.gtU(gateDpl)), 13, gateError);
      raiseWhen(event, low.shrU(47).toI32().and(1).eqz(), 11, gateError);
      const selector = f.let(low.shrU(16).toI32().and(0xffff));
      const descriptor = readCodeDescriptor(event, selector, oldCpl);
      const attributes = f.let(descriptor.shrU(32).toI32().and(0xf0_ff00));
      const conforming = attributes.and(SegmentAttribute.DownConforming).ne(0);
      const newCpl = f.let(conforming.select(oldCpl, attributes.shrU(SegmentAttribute.DplShift).and(3)));
      const oldRsp = f.let(cpu.load64(Rsp));
      const top = stackTop(event, low.shrU(32).toI32().and(7), newCpl, oldCpl, oldRsp);
      const target = low.and(0xffff).or(low.shrU(48).shl(16)).or(high.shl(32));
      const rip = f.let(target);
      raiseWhen(event, rip.shl(16).shrS(16).ne(rip), 13, i32(0));
      pushFrame(event, top, oldRsp, vector, kind);
      // Nothing faults from here on
      const gateIsInterrupt = type.and(1).eqz();
      const cleared = ~(Rflag.Trap | Rflag.NestedTask | Rflag.Resume | Rflag.Virtual8086);
      const keep = gateIsInterrupt.select(i32(cleared & ~Rflag.Interrupt), i32(cleared));
      f.store32(cpu, Cpu.Rflags, cpu.load32(Cpu.Rflags).and(keep));
      setCodeSegment(f, cpu, selector.and(0xfffc).or(newCpl), attributes);
      f.if(newCpl.ne(oldCpl), () => setNullStack(f, cpu, newCpl));
      f.store32(cpu, Cpu.Cpl, newCpl);
      f.store64(cpu, Cpu.Rip, rip);
      f.store32(cpu, Cpu.Shadow, 0);
      f.call(updateMode, cpu);
      f.return(i32(0));
    });
    f.store32(cpu, Cpu.TlbBank, bank);
    // A table or stack that is a device cannot be waited for here
    f.if(cpu.load32(Cpu.SlowStatus).eq(HandlerResult.Exit), () => f.call(mmu.raise, cpu, i32(8), i32(0)));
    f.return(i32(1));
  });
}

function raiseWhen(event: Event, condition: I32, vector: number, errorCode: I32): void {
  const { f, cpu, mmu } = event;
  f.unlikely(condition, () => {
    f.call(mmu.raise, cpu, i32(vector), errorCode.or(event.external));
    f.br(event.failed);
  });
}

/** Reads with supervisor rights (the supervisor TLB bank is in place). */
function readSystem(event: Event, linear: I64, bytes: 4 | 8): Local<I64> {
  const { f, cpu, mmu } = event;
  const value = f.callValue('i64', mmu.read, cpu, linear, i32(bytes), i32(0));
  f.brIf(event.failed, cpu.load32(Cpu.SlowStatus));
  return value;
}

function readCodeDescriptor(event: Event, selector: Local<I32>, cpl: I32): Local<I64> {
  const { f, cpu } = event;
  const error = f.let(selector.and(0xfffc));
  raiseWhen(event, error.eqz(), 13, i32(0));
  const local = f.let(selector.and(4).ne(0));
  const ldt = segmentOffset(SegmentIndex.Ldtr);
  const base = local.select(cpu.load64(ldt + SegmentField.Base), cpu.load64(Cpu.GdtBase));
  const limit = local.select(cpu.load32(ldt + SegmentField.Limit), cpu.load32(Cpu.GdtLimit));
  raiseWhen(event, selector.or(7).gtU(limit), 13, error);
  const descriptor = readSystem(event, base.add(selector.and(0xfff8).toI64u()), 8);
  const high = f.let(descriptor.shrU(32).toI32());
  const isCode = SegmentAttribute.CodeOrData | SegmentAttribute.Code;
  raiseWhen(event, high.and(isCode).ne(isCode), 13, error);
  raiseWhen(event, high.shrU(SegmentAttribute.DplShift).and(3).gtU(cpl), 13, error);
  raiseWhen(event, high.and(SegmentAttribute.Long | SegmentAttribute.Big).ne(SegmentAttribute.Long), 13, error);
  raiseWhen(event, high.and(SegmentAttribute.Present).eqz(), 11, error);
  return descriptor;
}

/** The stack that the frame goes to, aligned (SDM Vol. 3A "Stack Switching in IA-32e Mode", "Interrupt Stack Table"). */
function stackTop(event: Event, ist: I32, newCpl: I32, oldCpl: I32, oldRsp: I64): Local<I64> {
  const { f, cpu } = event;
  const top = f.let(oldRsp);
  const table = f.let(ist);
  f.if(table.or(newCpl.ne(oldCpl)), () => {
    const tss = segmentOffset(SegmentIndex.Tr);
    const offset = f.let(table.select(table.shl(3).add(28), newCpl.shl(3).add(4)));
    const selector = cpu.load32(tss + SegmentField.Selector).and(0xfffc);
    raiseWhen(event, offset.add(7).gtU(cpu.load32(tss + SegmentField.Limit)), 10, selector);
    f.set(top, readSystem(event, cpu.load64(tss + SegmentField.Base).add(offset.toI64u()), 8));
    raiseWhen(event, top.shl(16).shrS(16).ne(top), 12, i32(0));
  });
  f.set(top, top.and(-16n));
  return top;
}

function pushFrame(event: Event, top: Local<I64>, oldRsp: I64, vector: I32, kind: I32): void {
  const { f, cpu, mmu } = event;
  const hasError = f.let(cpu.load32(Cpu.FaultHasError).and(kind.eq(EventKind.Exception)));
  const size = f.let(i32(40).add(hasError.shl(3)));
  const bottom = f.let(top.sub(size.toI64u()));
  // Access.Write | Access.Stack as a supervisor
  const frame = f.callValue('i32', mmu.pointer, cpu, bottom, size, i32(1 | 16));
  f.brIf(event.failed, cpu.load32(Cpu.SlowStatus));
  const error = f.let(cpu.load64_32u(Cpu.FaultErrorCode));
  const at = f.let(frame);
  f.if(hasError, () => {
    f.store64(at, 0, error);
    f.set(at, at.add(8));
  });
  const flags = new LazyFlags(f, flagsInMemory(f, cpu));
  const rflags = f.let(composeRflags(flags.image(), cpu));
  // Faults push RF set; #DB, #BP and #OF as traps, and interrupts, do not (SDM Vol. 3B "Instruction-Breakpoint Exception Condition")
  const isFault = kind.eq(EventKind.Exception).and(vector.ne(1)).and(vector.ne(3)).and(vector.ne(4)).and(vector.ne(2));
  f.store64(at, 0, cpu.load64(Cpu.Rip));
  f.store64(at, 8, cpu.load64_32u(segmentOffset(SegmentIndex.Cs) + SegmentField.Selector));
  f.store64(at, 16, rflags.or(isFault.select(i32(Rflag.Resume), i32(0))).toI64u());
  f.store64(at, 24, oldRsp);
  f.store64(at, 32, cpu.load64_32u(segmentOffset(SegmentIndex.Ss) + SegmentField.Selector));
  f.if(frame.eq(cpu.add(Cpu.ScratchWrite)), () => {
    f.call(mmu.commit, cpu, bottom, size);
    f.brIf(event.failed, cpu.load32(Cpu.SlowStatus));
  });
  f.store64(cpu, Rsp, bottom);
}

/** A flat 64-bit code segment with these attributes. */
export function setCodeSegment(f: FunctionBuilder, cpu: I32, selector: I32, attributes: I32): void {
  const cs = segmentOffset(SegmentIndex.Cs);
  f.store32(cpu, cs + SegmentField.Selector, selector);
  f.store32(cpu, cs + SegmentField.Attributes, attributes);
  f.store64(cpu, cs + SegmentField.Base, 0);
  f.store32(cpu, cs + SegmentField.Limit, -1);
}

/** SS = null selector with RPL `cpl` (SDM Vol. 3A "Stack Switching in IA-32e Mode"). */
function setNullStack(f: FunctionBuilder, cpu: I32, cpl: I32): void {
  const ss = segmentOffset(SegmentIndex.Ss);
  f.store32(cpu, ss + SegmentField.Selector, cpl);
  f.store32(cpu, ss + SegmentField.Attributes, i32(SegmentAttribute.Unusable).or(cpl.shl(SegmentAttribute.DplShift)));
  f.store64(cpu, ss + SegmentField.Base, i64(0));
  f.store32(cpu, ss + SegmentField.Limit, -1);
}

/**
 * Basic arithmetic instructions: FADD, FSUB, FMUL, FDIV in their reversed, popping and integer forms; FSQRT, FRNDINT,
 * FPREM, FSCALE, FXTRACT, FCHS, FABS (SDM Vol. 1 §8.3.5 "Basic Arithmetic Instructions").
 */
import { i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic, Semantics } from './context.ts';
import { add, divide, multiply, squareRoot, subtract } from './x87-arithmetic.ts';
import { roundToInteger } from './x87-convert.ts';
import { begin, readInteger, readReal, recordPointers } from './x87-execute.ts';
import { QuotientBits, extract, remainder, remainderNearest, scaleValue } from './x87-scale.ts';
import {
  BeforeResult,
  Ext,
  MemoryOperand,
  type SharedFunction,
  Slot,
  StackUnderflow,
  Status,
  clearC1,
  copyExt,
  isValid,
  markValid,
  pop,
  raiseFlags,
  shared,
  stackPointer,
  storeIndefinite,
  unmasked,
} from './x87-state.ts';

/**
 * (cpu, destination, left, right, denormal, pops) -> 0: ST(destination) = left op right with its exceptions, then pops.
 * `left` and `right` are stack registers or MemoryOperand.
 */
function stackOperation(name: string, operation: SharedFunction): SharedFunction {
  return shared(`stack.${name}`, ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], (f, helper) => {
    const cpu = f.param('i32', 0);
    const destination = f.param('i32', 1);
    const [left, right] = [f.param('i32', 2), f.param('i32', 3)];
    const pops = f.param('i32', 5);
    const top = f.let(cpu.load32(Cpu.FpuTop));
    const tags = f.let(cpu.load32(Cpu.FpuTags));
    const control = f.let(cpu.load32(Cpu.FpuControl));
    const to = f.let(stackPointer(cpu, top, destination));
    const memory = cpu.add(Slot.Memory);
    const pointer = (index: typeof left) =>
      f.let(index.eq(MemoryOperand).select(memory, stackPointer(cpu, top, index)));
    const filled = (index: typeof left) => index.eq(MemoryOperand).or(isValid(tags, top, index));
    f.if(filled(left).and(filled(right)).eqz(), () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      storeIndefinite(f, to);
      markValid(f, cpu, destination);
      f.return(pop(helper, cpu, pops));
    });
    const result = cpu.add(Slot.Result);
    const flags = f.let(operation(helper, result, pointer(left), pointer(right), control, f.param('i32', 4)));
    f.if(flags.and(QuotientBits), () => {
      f.store32(cpu, Cpu.FpuStatus, cpu.load32(Cpu.FpuStatus).and(~(Status.C0 | Status.C3)));
      f.set(flags, flags.xor(QuotientBits));
    });
    f.drop(raiseFlags(helper, cpu, flags));
    f.if(unmasked(flags, control, BeforeResult), () => f.return(i32(0)));
    copyExt(f, to, result);
    f.if(pops.eqz(), () => f.return(i32(0)));
    f.return(pop(helper, cpu, pops));
  });
}

const stackAdd = stackOperation('add', add);
const stackSubtract = stackOperation('subtract', subtract);
const stackMultiply = stackOperation('multiply', multiply);
const stackDivide = stackOperation('divide', divide);

type Shape = (s: Semantics, operation: SharedFunction, reversed: boolean) => void;

function apply(
  s: Semantics,
  operation: SharedFunction,
  reversed: boolean,
  [destination, source]: readonly [number, number],
  denormal: number | ReturnType<typeof i32> = 0,
  pops = 0,
): void {
  const [left, right] = reversed ? [source, destination] : [destination, source];
  s.f.drop(operation(s.helper.bind(s), s.cpu, destination, left, right, denormal, pops));
  s.done();
}

/** op ST(i), ST(j), or op m32/m64. */
const real: Shape = (s, operation, reversed) => {
  begin(s);
  if (s.op0.kind === 'memory') {
    apply(s, operation, reversed, [0, MemoryOperand], readReal(s, s.op0));
    return;
  }
  recordPointers(s);
  apply(s, operation, reversed, [s.op0.index, s.op1.index]);
};

const popping: Shape = (s, operation, reversed) => {
  begin(s);
  recordPointers(s);
  apply(s, operation, reversed, [s.op0.index, s.op1.index], 0, 1);
};

const integer: Shape = (s, operation, reversed) => {
  begin(s);
  apply(s, operation, reversed, [0, MemoryOperand], readInteger(s, s.op0));
};

const arithmetic = (shape: Shape, operation: SharedFunction, reversed = false): Semantic => {
  return (s) => shape(s, operation, reversed);
};

/** (cpu) -> 0: ST(0) = operation(ST(0)); `operation` is (to, a, control) -> exceptions. */
export function topOperation(name: string, operation: SharedFunction): SharedFunction {
  return shared(`top.${name}`, ['i32'], (f, helper) => {
    const cpu = f.param('i32', 0);
    const top = f.let(cpu.load32(Cpu.FpuTop));
    const control = f.let(cpu.load32(Cpu.FpuControl));
    const pointer = f.let(stackPointer(cpu, top, 0));
    f.if(isValid(cpu.load32(Cpu.FpuTags), top, 0).eqz(), () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      storeIndefinite(f, pointer);
      markValid(f, cpu, 0);
      f.return(i32(0));
    });
    const result = cpu.add(Slot.Result);
    const flags = f.let(operation(helper, result, pointer, control));
    f.drop(raiseFlags(helper, cpu, flags));
    f.if(unmasked(flags, control, BeforeResult).eqz(), () => copyExt(f, pointer, result));
    f.return(i32(0));
  });
}

/** An instruction without explicit operands that is one shared function of the state. */
export function stackSemantic(operation: SharedFunction): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    s.f.drop(operation(s.helper.bind(s), s.cpu));
    s.done();
  };
}

/** ST(0) = ST(0) op ST(1). */
function topBinary(operation: SharedFunction): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    apply(s, operation, false, [0, 1]);
  };
}

/** As {@link topBinary}. C2 is clear unless the reduction is incomplete. */
function partialRemainder(operation: SharedFunction): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    s.setState32(Cpu.FpuStatus, s.state32(Cpu.FpuStatus).and(~Status.C2));
    apply(s, operation, false, [0, 1]);
  };
}

/** FCHS and FABS: the sign alone; no exception but the stack's, whatever the value. */
function signOperation(name: string, change: (signExponent: ReturnType<typeof i32>) => ReturnType<typeof i32>) {
  return shared(`sign.${name}`, ['i32'], (f, helper) => {
    const cpu = f.param('i32', 0);
    const top = f.let(cpu.load32(Cpu.FpuTop));
    const pointer = f.let(stackPointer(cpu, top, 0));
    f.if(isValid(cpu.load32(Cpu.FpuTags), top, 0).eqz(), () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      storeIndefinite(f, pointer);
      markValid(f, cpu, 0);
      f.return(i32(0));
    });
    f.store16(pointer, Ext.SignExponent, change(pointer.load16u(Ext.SignExponent)));
    clearC1(f, cpu);
    f.return(i32(0));
  });
}

export const x87BasicSemantics: Readonly<Record<string, Semantic>> = {
  FADD: arithmetic(real, stackAdd),
  FSUB: arithmetic(real, stackSubtract),
  FSUBR: arithmetic(real, stackSubtract, true),
  FMUL: arithmetic(real, stackMultiply),
  FDIV: arithmetic(real, stackDivide),
  FDIVR: arithmetic(real, stackDivide, true),
  FADDP: arithmetic(popping, stackAdd),
  FSUBP: arithmetic(popping, stackSubtract),
  FSUBRP: arithmetic(popping, stackSubtract, true),
  FMULP: arithmetic(popping, stackMultiply),
  FDIVP: arithmetic(popping, stackDivide),
  FDIVRP: arithmetic(popping, stackDivide, true),
  FIADD: arithmetic(integer, stackAdd),
  FISUB: arithmetic(integer, stackSubtract),
  FISUBR: arithmetic(integer, stackSubtract, true),
  FIMUL: arithmetic(integer, stackMultiply),
  FIDIV: arithmetic(integer, stackDivide),
  FIDIVR: arithmetic(integer, stackDivide, true),
  FSQRT: stackSemantic(topOperation('sqrt', squareRoot)),
  FRNDINT: stackSemantic(topOperation('rint', roundToInteger)),
  FCHS: stackSemantic(signOperation('change', (value) => value.xor(0x8000))),
  FABS: stackSemantic(signOperation('abs', (value) => value.and(0x7fff))),
  FSCALE: topBinary(stackOperation('scale', scaleValue)),
  FPREM: partialRemainder(stackOperation('prem', remainder)),
  FPREM1: partialRemainder(stackOperation('prem1', remainderNearest)),
  FXTRACT: stackSemantic(extract),
};

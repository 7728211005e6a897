/**
 * Comparison and classification: FCOM, FUCOM, FICOM, FTST, FCOMI, FUCOMI with their popping forms, FXAM and FCMOVcc
 * (SDM Vol. 1 §8.3.6 "Comparison and Classification Instructions", §8.1.4 "Branching and Conditional Moves on Condition
 * Codes").
 */
import { type I32, type Local, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic, Semantics } from './context.ts';
import { begin, readInteger, readReal, recordPointers } from './x87-execute.ts';
import { isDenormal, isInfinity, isNan, isUnsupported, isZero } from './x87-operands.ts';
import {
  BeforeResult,
  Ext,
  MemoryOperand,
  Slot,
  StackUnderflow,
  Status,
  copyExt,
  isValid,
  markValid,
  pop,
  raiseFlags,
  shared,
  stackPointer,
  storeExt,
  storeIndefinite,
  unmasked,
  unpack,
} from './x87-state.ts';

const Relation = {
  Greater: 0,
  Less: Status.C0,
  Equal: Status.C3,
  Unordered: Status.C0 | Status.C2 | Status.C3,
} as const;

/** (a, b, quiet, denormal) -> exceptions and the relation in the condition bits. Quiet NaNs are no exception when `quiet`. */
const compareValues = shared('compare', ['i32', 'i32', 'i32', 'i32'], (f) => {
  const a = unpack(f, f.param('i32', 0));
  const b = unpack(f, f.param('i32', 1));
  const quiet = f.param('i32', 2);
  const denormal = f.param('i32', 3);
  f.if(isUnsupported(a).or(isUnsupported(b)), () => f.return(i32(Relation.Unordered | Status.Invalid)));
  f.if(isNan(a).or(isNan(b)), () => {
    const signaling = (value: typeof a) => isNan(value).and(value.significand.and(Ext.QuietBit).eqz());
    const silent = quiet.and(signaling(a).or(signaling(b)).eqz());
    f.return(silent.select(i32(Relation.Unordered), i32(Relation.Unordered | Status.Invalid)));
  });
  f.set(denormal, denormal.or(isDenormal(a).or(isDenormal(b)).shl(1)));
  f.if(isZero(a).and(isZero(b)), () => f.return(denormal.or(Relation.Equal)));
  f.if(a.sign.ne(b.sign), () => f.return(denormal.or(a.sign.select(i32(Relation.Less), i32(Relation.Greater)))));
  // A pseudo-denormal has the exponent of the smallest normal numbers.
  const rank = (value: typeof a) => f.let(value.exponent.or(value.exponent.eqz().and(value.significand.ltS(0))));
  const [aRank, bRank] = [rank(a), rank(b)];
  f.if(aRank.eq(bRank).and(a.significand.eq(b.significand)), () => f.return(denormal.or(Relation.Equal)));
  const sameRank = aRank.eq(bRank);
  const below = sameRank.select(a.significand.ltU(b.significand), aRank.ltU(bRank));
  f.return(denormal.or(below.xor(a.sign).select(i32(Relation.Less), i32(Relation.Greater))));
});

/**
 * (cpu, right, quiet, denormal, pops, integer flags) -> the relation in the condition bits. Compares ST(0) with ST(right)
 * or the memory operand. Unless it goes to the integer flags, the status word gets the relation. An unmasked exception
 * keeps the stack from being popped, but the relation is delivered.
 */
const compareStack = shared('stack.compare', ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], (f, helper) => {
  const cpu = f.param('i32', 0);
  const right = f.param('i32', 1);
  const [quiet, denormal, pops] = [f.param('i32', 2), f.param('i32', 3), f.param('i32', 4)];
  const toIntegerFlags = f.param('i32', 5);
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const control = f.let(cpu.load32(Cpu.FpuControl));
  const fromMemory = f.let(right.eq(MemoryOperand));
  const flags = f.let(i32(Relation.Unordered | StackUnderflow));
  f.if(isValid(tags, top, 0).and(fromMemory.or(isValid(tags, top, right))), () => {
    const other = fromMemory.select(cpu.add(Slot.Memory), stackPointer(cpu, top, right));
    f.set(flags, compareValues(helper, stackPointer(cpu, top, 0), other, quiet, denormal));
  });
  const relation = f.let(flags.and(Status.Conditions));
  const stackFault = flags.and(Status.StackFault);
  const before = f.let(stackFault.select(i32(0), cpu.load32(Cpu.FpuStatus).and(Status.C1)));
  f.drop(raiseFlags(helper, cpu, flags.and(~Status.Conditions)));
  f.if(
    toIntegerFlags,
    () => f.store32(cpu, Cpu.FpuStatus, cpu.load32(Cpu.FpuStatus).or(before)),
    () => f.store32(cpu, Cpu.FpuStatus, cpu.load32(Cpu.FpuStatus).and(~Status.Conditions).or(relation)),
  );
  f.if(unmasked(flags, control, BeforeResult).eqz(), () => f.drop(pop(helper, cpu, pops)));
  f.return(relation);
});

interface Comparison {
  readonly quiet: boolean;
  readonly pops: 0 | 1 | 2;
}

function compareWith(
  s: Semantics,
  comparison: Comparison,
  right: number,
  denormal: I32 | number,
  flags: boolean,
): Local<I32> {
  const { quiet, pops } = comparison;
  return s.let(compareStack(s.helper.bind(s), s.cpu, right, Number(quiet), denormal, pops, Number(flags)));
}

function compareReal(quiet: boolean, pops: 0 | 1 | 2): Semantic {
  return (s) => {
    begin(s);
    const operand = s.operands[0];
    if (operand?.kind === 'memory') {
      compareWith(s, { quiet, pops }, MemoryOperand, readReal(s, operand), false);
    } else {
      recordPointers(s);
      // FCOMPP and FUCOMPP name no operand: they compare with ST(1).
      compareWith(s, { quiet, pops }, s.operands[1]?.index ?? 1, 0, false);
    }
    s.done();
  };
}

function compareInteger(pops: 0 | 1): Semantic {
  return (s) => {
    begin(s);
    compareWith(s, { quiet: false, pops }, MemoryOperand, readInteger(s, s.op0), false);
    s.done();
  };
}

/** FCOMI and its relatives: ZF, PF, CF; OF, SF and AF become 0. */
function compareToFlags(quiet: boolean, pops: 0 | 1): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    const relation = compareWith(s, { quiet, pops }, s.op1.index, 0, true);
    // C3, C2 and C0 sit eight bits above ZF, PF and CF.
    s.flags.load(relation.shrU(8));
    s.done();
  };
}

const test: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  storeExt(s.f, s.cpu.add(Slot.Memory), 0, 0);
  compareWith(s, { quiet: false, pops: 0 }, MemoryOperand, 0, false);
  s.done();
};

/** Classes of FXAM, as C3, C2, C0. */
const Class = {
  Unsupported: 0,
  Nan: Status.C0,
  Normal: Status.C2,
  Infinity: Status.C2 | Status.C0,
  Zero: Status.C3,
  Empty: Status.C3 | Status.C0,
  Denormal: Status.C3 | Status.C2,
} as const;

/** (cpu) -> 0: FXAM. C1 is the sign, of an empty register too. */
const examineTop = shared('xam', ['i32'], (f) => {
  const cpu = f.param('i32', 0);
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const a = unpack(f, stackPointer(cpu, top, 0));
  const found = f.let(i32(Class.Normal));
  const classify = (condition: I32, value: number): void => f.if(condition, () => f.set(found, i32(value)));
  classify(isDenormal(a), Class.Denormal);
  classify(isZero(a), Class.Zero);
  classify(isInfinity(a), Class.Infinity);
  classify(isNan(a), Class.Nan);
  classify(isUnsupported(a), Class.Unsupported);
  classify(isValid(cpu.load32(Cpu.FpuTags), top, 0).eqz(), Class.Empty);
  const status = cpu.load32(Cpu.FpuStatus).and(~Status.Conditions);
  f.store32(cpu, Cpu.FpuStatus, status.or(found).or(a.sign.shl(9)));
  f.return(i32(0));
});

const examine: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  s.f.drop(examineTop(s.helper.bind(s), s.cpu));
  s.done();
};

/** (cpu, source, condition) -> 0: ST(0) = ST(source) when the condition holds; both must be filled in any case. */
const moveStack = shared('cmov', ['i32', 'i32', 'i32'], (f, helper) => {
  const [cpu, source, condition] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const to = f.let(stackPointer(cpu, top, 0));
  f.if(
    isValid(tags, top, 0)
      .and(isValid(tags, top, source))
      .eqz(),
    () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      storeIndefinite(f, to);
      markValid(f, cpu, 0);
      f.return(i32(0));
    },
  );
  f.if(condition, () => copyExt(f, to, stackPointer(cpu, top, source)));
  f.return(i32(0));
});

/** `code` is that of Jcc. */
function conditionalMove(code: number): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    s.f.drop(moveStack(s.helper.bind(s), s.cpu, s.op1.index, s.flags.condition(code)));
    s.done();
  };
}

export const x87CompareSemantics: Readonly<Record<string, Semantic>> = {
  FCOM: compareReal(false, 0),
  FCOMP: compareReal(false, 1),
  FCOMPP: compareReal(false, 2),
  FUCOM: compareReal(true, 0),
  FUCOMP: compareReal(true, 1),
  FUCOMPP: compareReal(true, 2),
  FICOM: compareInteger(0),
  FICOMP: compareInteger(1),
  FCOMI: compareToFlags(false, 0),
  FCOMIP: compareToFlags(false, 1),
  FUCOMI: compareToFlags(true, 0),
  FUCOMIP: compareToFlags(true, 1),
  FTST: test,
  FXAM: examine,
  FCMOVB: conditionalMove(2),
  FCMOVNB: conditionalMove(3),
  FCMOVE: conditionalMove(4),
  FCMOVNE: conditionalMove(5),
  FCMOVBE: conditionalMove(6),
  FCMOVNBE: conditionalMove(7),
  FCMOVU: conditionalMove(10),
  FCMOVNU: conditionalMove(11),
};

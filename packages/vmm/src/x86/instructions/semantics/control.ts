/** Jumps, calls, returns and software interrupts (SDM Vol. 2, Operation sections). */
import { type I32, type I64, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, SegmentField, SegmentIndex, segmentOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Rflag } from '../../../engine/wasm/emit/lazy-flags.ts';
import { SegmentAttribute } from '../../../engine/wasm/interpreter/mode.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';

const Rcx = 1;
const Rsp = 4;
/** L0 G0 to L3 G3 of DR7. */
const BreakpointEnables = 0xff;

const jcc: Semantic = (s) => s.f.if(s.flags.condition(s.form.condition), () => branch(s));

/**
 * A branch to an address that is not canonical or beyond the code segment's limit faults itself (AMD APM Vol. 3 "JMP
 * (Near)", "CALL (Near)", "RET (Near)"). Faults of a call's push come before.
 */
function requireTarget(s: Semantics, target: I64, pushes = false): void {
  const { codeSize, width } = s.form;
  if (codeSize === 64 && width !== 64) return;
  const limit = s.cpu.load64_32u(segmentOffset(SegmentIndex.Cs) + SegmentField.Limit);
  const outside = codeSize === 64 ? target.shl(16).shrS(16).ne(target) : target.gtU(limit);
  s.f.unlikely(outside, () => {
    if (pushes) probePush(s);
    s.raise(Vector.GeneralProtection);
  });
}

function probePush(s: Semantics): void {
  const { width, stackWidth } = s.form;
  const bytes = width / 8;
  const top = s.gprUnsigned(Rsp, stackWidth).sub(bytes).zeroExtend(stackWidth);
  s.storePointer(s.segmented(SegmentIndex.Ss, s.let(top), bytes, true), bytes, true);
}

/** Relative branches of 64-bit code are not checked: the fault comes at the target. */
function requireRelativeTarget(s: Semantics, pushes = false): void {
  if (s.form.codeSize !== 64) requireTarget(s, s.branchTarget(), pushes);
}

function branch(s: Semantics): void {
  requireRelativeTarget(s);
  s.branch();
}

/** A near target, zero-extended to the operand size. */
function nearTarget(s: Semantics, pushes: boolean): I64 {
  const target = s.op0.readUnsigned(s.form.width);
  requireTarget(s, target, pushes);
  return target;
}

const jmp: Semantic = (s) => {
  if (s.op0.kind === 'relative') branch(s);
  else s.jump(nearTarget(s, false));
};

const call: Semantic = (s) => {
  if (s.op0.kind === 'relative') {
    requireRelativeTarget(s, true);
    s.push(s.form.width, s.nextRip());
    s.branch();
    return;
  }
  const target = nearTarget(s, true);
  s.push(s.form.width, s.nextRip());
  s.jump(target);
};

const ret: Semantic = (s) => {
  const { width } = s.form;
  const target = s.let(s.peek(width, 0).zeroExtend(width));
  requireTarget(s, target);
  const released =
    s.operands.length > 0
      ? s.op0
          .read(64)
          .and(0xffff)
          .add(width / 8)
      : width / 8;
  s.dropStack(released);
  s.jump(target);
};

/** LOOP, LOOPE, LOOPNE: the counter has the address size. */
const loop =
  (zero: boolean | undefined): Semantic =>
  (s) => {
    const width = s.form.addressWidth;
    const count = s.let(s.gprUnsigned(Rcx, width).sub(1).zeroExtend(width));
    const more = count.eqz().eqz();
    const condition = s.let(zero === undefined ? more : more.and(zero ? s.flags.zero() : s.flags.zero().eqz()));
    s.f.if(condition, () => requireRelativeTarget(s));
    s.setGpr(Rcx, width, count);
    s.f.if(condition, () => s.branch());
  };

const jcxz: Semantic = (s) => s.f.if(s.gprUnsigned(Rcx, s.form.addressWidth).eqz(), () => branch(s));

/** Far transfers go to JavaScript with the selector and offset (rare/far-transfer.ts). */
const far =
  (name: 'farJump' | 'farCall'): Semantic =>
  (s) => {
    const { width } = s.form;
    if (s.op0.kind === 'far') {
      const packed = s.op0.read(64);
      s.setState64(Cpu.RareArgument2, packed.and(0xffff_ffffn));
      s.setState64(Cpu.RareArgument, packed.shrU(32).and(0xffff));
    } else {
      const offsetWidth = width === 16 ? 16 : 32;
      const offset = s.load(s.op0.part(0, offsetWidth / 8, false), offsetWidth, s.op0.stack);
      const selector = s.load(s.op0.part(offsetWidth / 8, 2, false), 16, s.op0.stack);
      s.setState64(Cpu.RareArgument2, offset.zeroExtend(offsetWidth));
      s.setState64(Cpu.RareArgument, selector.and(0xffff));
    }
    // REX.W makes wide slots of what is pushed; the offset in memory keeps its 32 bits on AMD processors
    s.setState64(Cpu.RareResult, name === 'farCall' && s.form.rexW ? 64 : width);
    s.rare(name);
  };

const retf: Semantic = (s) => {
  s.setState64(Cpu.RareArgument, s.operands.length > 0 ? s.op0.read(64).and(0xffff) : 0);
  s.setState64(Cpu.RareArgument2, s.form.width);
  s.rare('farReturn');
};

/** IRETQ to 64-bit code of any privilege with plain segments; everything else is JavaScript's. */
const iret: Semantic = (s) => {
  const { f } = s;
  s.setState32(Cpu.NmiMasked, 0);
  if (s.form.codeSize === 64 && s.form.width === 64) {
    f.block((slow) => {
      const cpl = s.let(s.state32(Cpu.Cpl));
      // User privilege does not read descriptor tables
      f.brIf(slow, cpl.eq(3));
      const frame = s.loadPointer(s.gpr(Rsp, 64), 40, true);
      const rip = s.let(frame.load64(0));
      const cs = s.let(frame.load32(8).and(0xffff));
      const rflags = s.let(frame.load32(16));
      const newRsp = s.let(frame.load64(24));
      const ss = s.let(frame.load32(32).and(0xffff));
      const rpl = s.let(cs.and(3));
      f.brIf(slow, s.state32(Cpu.Rflags).and(Rflag.NestedTask));
      f.brIf(slow, rpl.ltU(cpl).or(rip.shl(16).shrS(16).ne(rip)));
      // Code segment
      const code = descriptorHigh(s, cs, slow);
      const wanted =
        SegmentAttribute.CodeOrData | SegmentAttribute.Code | SegmentAttribute.Present | SegmentAttribute.Long;
      const checked = wanted | SegmentAttribute.Big | SegmentAttribute.DownConforming | SegmentAttribute.Accessed;
      f.brIf(slow, code.and(checked).ne(wanted | SegmentAttribute.Accessed));
      f.brIf(slow, code.shrU(SegmentAttribute.DplShift).and(3).ne(rpl));
      // Stack segment: null below CPL 3, or writable data of the new privilege
      const stack = s.let(i32(SegmentAttribute.Unusable).or(rpl.shl(SegmentAttribute.DplShift)));
      f.if(
        ss.and(0xfffc).eqz(),
        () => f.brIf(slow, rpl.eq(3).or(ss.and(3).ne(rpl))),
        () => {
          f.set(stack, descriptorHigh(s, ss, slow));
          const data =
            SegmentAttribute.CodeOrData |
            SegmentAttribute.WritableReadable |
            SegmentAttribute.Present |
            SegmentAttribute.Accessed;
          f.brIf(slow, stack.and(data | SegmentAttribute.Code | SegmentAttribute.DownConforming).ne(data));
          f.brIf(slow, stack.shrU(SegmentAttribute.DplShift).and(3).ne(rpl).or(ss.and(3).ne(rpl)));
        },
      );
      // Leaving to outer privilege invalidates data segments that it may not use: JavaScript looks
      f.brIf(slow, rpl.ne(cpl).and(dataSegmentsNeedCheck(s)));
      setSegment(s, SegmentIndex.Cs, cs, code);
      setSegment(s, SegmentIndex.Ss, ss, stack);
      const always = Rflag.Trap | Rflag.Direction | Rflag.NestedTask | Rflag.AlignmentCheck | Rflag.Identification;
      const old = s.let(s.state32(Cpu.Rflags));
      // RF only counts with breakpoints; without, nothing would clear it after the next instruction
      const breakpoints = s.state32(Cpu.Dr7).and(BreakpointEnables).ne(0);
      const writable = s.let(
        i32(always)
          .or(breakpoints.select(i32(Rflag.Resume), i32(0)))
          .or(cpl.eqz().select(i32(Rflag.IoPrivilege | Rflag.VirtualInterrupt | Rflag.VirtualInterruptPending), i32(0)))
          .or(cpl.leU(old.shrU(12).and(3)).select(i32(Rflag.Interrupt), i32(0))),
      );
      s.setState32(Cpu.Rflags, old.and(writable.xor(-1)).or(rflags.and(writable)));
      s.flags.load(rflags);
      s.setGpr(Rsp, 64, newRsp);
      s.setState32(Cpu.Cpl, rpl);
      s.setState64(Cpu.Rip, rip);
      s.updateMode();
      s.resync();
    });
  }
  s.setState64(Cpu.RareArgument, s.form.width);
  s.rare('iret');
};

/** High half of a GDT descriptor, when the selector is a global one inside the table; else to `slow`. */
function descriptorHigh(s: Semantics, selector: I32, slow: { depth: number }): I32 {
  const { f } = s;
  f.brIf(slow, selector.and(4).or(selector.and(0xfffc).eqz()));
  f.brIf(slow, selector.or(7).gtU(s.state32(Cpu.GdtLimit)));
  const linear = s.let(s.state64(Cpu.GdtBase).add(selector.and(0xfff8).add(4).toI64u()));
  const host = s.bulkPointer(linear, false);
  f.brIf(slow, host.eqz());
  return s.let(host.load32().and(0xf0_ff00));
}

function dataSegmentsNeedCheck(s: Semantics): I32 {
  // Null selectors and DPL 3 segments stay
  const bad = (segment: number): I32 => {
    const attributes = s.state32(segmentOffset(segment) + SegmentField.Attributes);
    const selector = s.state32(segmentOffset(segment) + SegmentField.Selector);
    return selector.and(0xfffc).ne(0).and(attributes.shrU(SegmentAttribute.DplShift).and(3).ne(3));
  };
  return bad(SegmentIndex.Es).or(bad(SegmentIndex.Ds)).or(bad(SegmentIndex.Fs)).or(bad(SegmentIndex.Gs));
}

function setSegment(s: Semantics, segment: number, selector: I32, attributes: I32): void {
  const at = segmentOffset(segment);
  s.setState32(at + SegmentField.Selector, selector);
  s.setState32(at + SegmentField.Attributes, attributes);
  s.setState64(at + SegmentField.Base, 0);
  s.setState32(at + SegmentField.Limit, -1);
}

const softwareInterrupt =
  (vector: number | undefined): Semantic =>
  (s) => {
    if (vector === undefined) s.setState64(Cpu.RareArgument, s.op0.read(64).and(0xff));
    else s.setState64(Cpu.RareArgument, vector);
    s.setState64(Cpu.RareArgument2, s.nextRip());
    s.setState64(Cpu.RareResult, vector === undefined ? 1 : 0);
    s.rare('softwareInterrupt');
  };

/** INT1 is a privileged-looking trap without a DPL check: #DB after the instruction. */
const int1: Semantic = (s) => {
  s.setState64(Cpu.RareArgument2, s.nextRip());
  s.rare('int1');
};

const into: Semantic = (s) => s.f.if(s.flags.overflow(), () => softwareInterrupt(Vector.Overflow)(s));

const bound: Semantic = (s) => {
  const { width } = s.form;
  const index = s.op0.read();
  const lower = s.load(s.op1.part(0, width / 8, false), width, s.op1.stack);
  const upper = s.load(s.op1.part(width / 8, width / 8, false), width, s.op1.stack);
  s.raiseIf(index.ltS(lower).or(index.gtS(upper)), Vector.BoundRange);
};

const undefinedInstruction: Semantic = (s) => s.raise(Vector.InvalidOpcode);

const conditionNames = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];

export const controlSemantics: Readonly<Record<string, Semantic>> = {
  ...Object.fromEntries(conditionNames.map((name) => [`J${name}`, jcc])),
  LOOPNE: loop(false),
  LOOPE: loop(true),
  LOOP: loop(undefined),
  JCXZ: jcxz,
  JMP: jmp,
  JMPF: far('farJump'),
  CALL: call,
  CALLF: far('farCall'),
  RET: ret,
  RETF: retf,
  IRET: iret,
  INT3: softwareInterrupt(Vector.Breakpoint),
  INT: softwareInterrupt(undefined),
  INTO: into,
  INT1: int1,
  BOUND: bound,
  UD2: undefinedInstruction,
  UD1: undefinedInstruction,
  UD0: undefinedInstruction,
};

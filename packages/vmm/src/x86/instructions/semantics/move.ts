/** Data movement, stack and flags (SDM Vol. 2, Operation sections). */
import { type I64, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import {
  Cpu,
  HandlerResult,
  InterruptShadow,
  SegmentField,
  SegmentIndex,
  segmentOffset,
} from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Rflag, composeRflags } from '../../../engine/wasm/emit/lazy-flags.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';

const Rax = 0;
const Rbx = 3;
const Rsp = 4;
const Rbp = 5;

/** MOV of general registers, memory, segment, control and debug registers. */
const mov: Semantic = (s) => {
  const kinds = [s.op0.kind, s.op1.kind];
  if (kinds.includes('control') || kinds.includes('debug')) moveSpecial(s);
  else if (s.op0.kind === 'segment') {
    s.setState64(Cpu.RareArgument, s.op1.readUnsigned(16));
    s.setState64(Cpu.RareArgument2, s.op0.index);
    s.rare('loadSegment');
    if (s.op0.index === SegmentIndex.Ss) shadowNext(s, InterruptShadow.MovSs);
    s.leave(i32(HandlerResult.ResyncNext));
  } else if (s.op1.kind === 'segment') {
    s.op0.write(s.state32(segmentOffset(s.op1.index) + SegmentField.Selector).toI64u());
  } else s.op0.write(s.op1.read(s.form.width));
};

function moveSpecial(s: Semantics): void {
  const toRegister = s.op0.kind === 'gpr';
  const special = toRegister ? s.op1 : s.op0;
  const name = special.kind === 'control' ? 'Control' : 'Debug';
  s.setState64(Cpu.RareArgument2, special.index);
  if (toRegister) {
    s.rare(`read${name}`);
    s.op0.write(s.state64(Cpu.RareResult));
  } else {
    s.setState64(Cpu.RareArgument, s.op1.readUnsigned());
    s.rare(`write${name}`);
    s.leave(i32(HandlerResult.ResyncNext));
  }
}

const movzx: Semantic = (s) => s.op0.write(s.op1.readUnsigned());
const movsx: Semantic = (s) => s.op0.write(s.op1.read());
/** With 16-bit operands MOVSXD moves 16 bits. */
const movsxd: Semantic = (s) => s.op0.write(s.op1.read(s.form.width === 16 ? 16 : 32));

/** The source is read, and a 32-bit destination's upper half cleared, whatever the condition. */
const cmov: Semantic = (s) => {
  const source = s.op1.read();
  const old = s.op0.read();
  s.op0.write(s.flags.condition(s.form.condition).select(source as I64, old as I64));
};

const setcc: Semantic = (s) => s.op0.write(s.flags.condition(s.form.condition).toI64u());

const xchg: Semantic = (s) => {
  const a = s.op0.readModify();
  const b = s.op1.read();
  s.op0.write(b);
  s.op1.write(a);
};

/** Reverses the bytes of the low `width` bits. */
function byteSwap(s: Semantics, value: I64): I64 {
  const x = s.let(value);
  if (s.form.width === 16) return x.shrU(8).and(0xff).or(x.shl(8).and(0xff00));
  const bytes = s.let(x.shrU(8).and(0x00ff00ff00ff00ffn).or(x.and(0x00ff00ff00ff00ffn).shl(8)));
  const words = s.let(bytes.shrU(16).and(0x0000ffff0000ffffn).or(bytes.and(0x0000ffff0000ffffn).shl(16)));
  return s.form.width === 32 ? words : words.rotl(32);
}

/** BSWAP of a 16-bit register is undefined: AMD and Intel clear it. */
const bswap: Semantic = (s) => {
  if (s.form.width === 16) s.op0.write(i64(0));
  else s.op0.write(byteSwap(s, s.op0.read()));
};

const movbe: Semantic = (s) => s.op0.write(byteSwap(s, s.op1.read()));
const movnti: Semantic = (s) => s.op0.write(s.op1.read());
const lea: Semantic = (s) => s.op0.write(s.op1.effective().signExtend(s.form.width), s.form.width);

const xlat: Semantic = (s) => {
  const width = s.form.addressWidth;
  const offset = s.gprUnsigned(Rbx, width).add(s.gprUnsigned(Rax, 8)).zeroExtend(width);
  s.setGpr(Rax, 8, s.load(s.segmented(s.form.segment, s.let(offset), 1, false), 8));
};

const push: Semantic = (s) => {
  const { width } = s.form;
  if (s.op0.kind === 'segment') {
    s.push(width, s.state32(segmentOffset(s.op0.index) + SegmentField.Selector).toI64u());
  } else s.push(width, s.op0.read(width));
};

/** RSP is moved before a memory operand's address is computed, and before a write to RSP itself. */
const pop: Semantic = (s) => {
  const { width } = s.form;
  const bytes = width / 8;
  if (s.op0.kind === 'segment') {
    s.setState64(Cpu.RareArgument, s.peek(width, 0).and(0xffff));
    s.setState64(Cpu.RareArgument2, s.op0.index);
    s.rare('loadSegment');
    s.dropStack(bytes);
    if (s.op0.index === SegmentIndex.Ss) shadowNext(s, InterruptShadow.MovSs);
    s.leave(i32(HandlerResult.ResyncNext));
    return;
  }
  const value = s.peek(width, 0);
  if (s.op0.kind === 'memory' && s.form.codeSize !== 64) {
    s.store(s.op0.part(0, bytes, true), width, value, s.op0.stack);
    s.dropStack(bytes);
  } else if (s.op0.kind === 'memory') {
    const old = s.let(s.gpr(Rsp, 64));
    s.dropStack(bytes);
    // An address through RSP uses the new value; a fault must find the old one
    s.op0.linear();
    s.setGpr(Rsp, 64, old);
    s.op0.write(value, width);
    s.dropStack(bytes);
  } else {
    s.dropStack(bytes);
    s.op0.write(value, width);
  }
};

const pusha: Semantic = (s) => {
  const { width } = s.form;
  const old = s.let(s.gpr(Rsp, 64));
  const stack = s.form.stackWidth;
  const bytes = width / 8;
  const bottom = s.let(
    s
      .gprUnsigned(Rsp, stack)
      .sub(8 * bytes)
      .zeroExtend(stack),
  );
  for (let i = 0; i < 8; i++) {
    const slot = s.let(bottom.add((7 - i) * bytes).zeroExtend(stack));
    s.store(s.segmented(SegmentIndex.Ss, slot, bytes, true), width, i === Rsp ? old : s.gpr(i, width));
  }
  s.setGpr(Rsp, stack, bottom);
};

const popa: Semantic = (s) => {
  const { width } = s.form;
  const bytes = width / 8;
  // A fault finds the registers that were loaded before
  for (let i = 7; i >= 0; i--) {
    const value = s.peek(width, (7 - i) * bytes);
    if (i !== Rsp) s.setGpr(i, width, value);
  }
  s.dropStack(8 * bytes);
};

const pushf: Semantic = (s) => {
  requireIoPrivilegeInVirtual8086(s);
  const image = composeRflags(s.flags.image(), s.cpu).and(~(Rflag.Resume | Rflag.Virtual8086));
  s.push(s.form.width, s.let(image).toI64u());
};

/** In virtual-8086 mode with IOPL below 3: #GP(0). */
function requireIoPrivilegeInVirtual8086(s: Semantics): void {
  if (s.form.codeSize === 64) return;
  const rflags = s.state32(Cpu.Rflags);
  s.raiseIf(
    rflags.and(Rflag.Virtual8086).ne(0).and(rflags.and(Rflag.IoPrivilege).ne(Rflag.IoPrivilege)),
    Vector.GeneralProtection,
  );
}

const AlwaysWritable = Rflag.Trap | Rflag.Direction | Rflag.NestedTask | Rflag.AlignmentCheck | Rflag.Identification;

const popf: Semantic = (s) => {
  requireIoPrivilegeInVirtual8086(s);
  const { width } = s.form;
  const image = s.let(s.peek(width, 0).toI32());
  const old = s.let(s.state32(Cpu.Rflags));
  const cpl = s.let(s.state32(Cpu.Cpl));
  const mayInterrupt = cpl.leU(old.shrU(12).and(3));
  const writable = s.let(
    i32(AlwaysWritable)
      .or(cpl.eqz().select(i32(Rflag.IoPrivilege), i32(0)))
      .or(mayInterrupt.select(i32(Rflag.Interrupt), i32(0)))
      .and(width === 16 ? 0xffff : -1),
  );
  s.dropStack(width / 8);
  const cleared = i32(-1 ^ (width === 16 ? 0 : Rflag.Resume));
  s.setState32(Cpu.Rflags, old.and(writable.xor(-1)).and(cleared).or(image.and(writable)));
  s.flags.load(image);
  const wantsAttention = s.state32(Cpu.InterruptWindow).or(image.and(Rflag.Trap));
  s.f.if(wantsAttention, () => s.leave(i32(HandlerResult.ResyncNext)));
};

const leave: Semantic = (s) => {
  const { width, stackWidth } = s.form;
  const frame = s.let(s.gprUnsigned(Rbp, stackWidth));
  const value = s.load(s.segmented(SegmentIndex.Ss, frame, width / 8, false), width);
  s.setGpr(Rsp, stackWidth, frame.add(width / 8));
  s.setGpr(Rbp, width, value);
};

/** Far pointer loads: LES, LDS, LSS, LFS, LGS. */
const loadFar =
  (segment: number): Semantic =>
  (s) => {
    const { width } = s.form;
    // One pointer access for offset and selector; the offset has at most 32 bits on AMD processors
    const offsetWidth = width === 16 ? 16 : 32;
    const offset = s.load(s.op1.part(0, offsetWidth / 8, false), offsetWidth, s.op1.stack);
    const selector = s.load(s.op1.part(offsetWidth / 8, 2, false), 16, s.op1.stack);
    s.setState64(Cpu.RareArgument, selector.and(0xffff));
    s.setState64(Cpu.RareArgument2, segment);
    s.rare('loadSegment');
    s.op0.write(offset.zeroExtend(offsetWidth));
    s.leave(i32(HandlerResult.ResyncNext));
  };

const SahfMask = Rflag.Carry | Rflag.Parity | Rflag.Adjust | Rflag.Zero | Rflag.Sign;

const sahf: Semantic = (s) => {
  const ah = s.gprUnsigned(Rax, 16).shrU(8).toI32().and(SahfMask);
  s.flags.load(s.let(ah.or(s.flags.overflow().shl(11))));
};

const lahf: Semantic = (s) => {
  const flags = s.flags.image().and(SahfMask).or(Rflag.Fixed);
  s.setGpr(Rax, 16, s.gprUnsigned(Rax, 8).or(flags.shl(8).toI64u()));
};

const setDirection =
  (set: boolean): Semantic =>
  (s) => {
    const old = s.state32(Cpu.Rflags);
    s.setState32(Cpu.Rflags, set ? old.or(Rflag.Direction) : old.and(~Rflag.Direction));
  };

/** Interrupts stay off until after the next instruction, and so do debug traps after a load of SS. */
export function shadowNext(s: Semantics, kind: number): void {
  s.setState32(Cpu.Shadow, kind);
  s.setState64(Cpu.ShadowRip, s.nextRip());
}

const conditionNames = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];
const forConditions = (prefix: string, semantic: Semantic): Record<string, Semantic> =>
  Object.fromEntries(conditionNames.map((name) => [`${prefix}${name}`, semantic]));

export const moveSemantics: Readonly<Record<string, Semantic>> = {
  MOV: mov,
  MOVZX: movzx,
  MOVSX: movsx,
  MOVSXD: movsxd,
  ...forConditions('CMOV', cmov),
  ...forConditions('SET', setcc),
  XCHG: xchg,
  BSWAP: bswap,
  MOVBE: movbe,
  MOVNTI: movnti,
  LEA: lea,
  XLAT: xlat,
  PUSH: push,
  POP: pop,
  PUSHA: pusha,
  POPA: popa,
  PUSHF: pushf,
  POPF: popf,
  ENTER: (s) => {
    s.setState64(Cpu.RareArgument, s.form.width);
    s.rare('enter');
  },
  LEAVE: leave,
  LES: loadFar(SegmentIndex.Es),
  LDS: loadFar(SegmentIndex.Ds),
  LSS: loadFar(SegmentIndex.Ss),
  LFS: loadFar(SegmentIndex.Fs),
  LGS: loadFar(SegmentIndex.Gs),
  SAHF: sahf,
  LAHF: lahf,
  CMC: (s) => s.flags.assign({ carry: s.let(s.flags.carry().eqz()) }),
  CLC: (s) => s.flags.assign({ carry: i32(0) }),
  STC: (s) => s.flags.assign({ carry: i32(1) }),
  CLD: setDirection(false),
  STD: setDirection(true),
  SALC: (s) => s.setGpr(Rax, 8, i64(0).sub(s.flags.carry().toI64u())),
};

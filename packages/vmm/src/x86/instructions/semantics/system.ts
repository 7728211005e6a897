/** System instructions: the frequent ones in wasm, the others by name in JavaScript (engine/wasm/rare/). */
import { type I32, i32 } from '../../../engine/wasm/encoder/values.ts';
import {
  Cpu,
  HandlerResult,
  InterruptShadow,
  LoopExit,
  SegmentField,
  SegmentIndex,
  segmentOffset,
} from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Rflag, composeRflags } from '../../../engine/wasm/emit/lazy-flags.ts';
import { EferBit, SegmentAttribute } from '../../../engine/wasm/interpreter/mode.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';
import { shadowNext } from './move.ts';
import { checkPort } from './string.ts';

const Rax = 0;
const Rcx = 1;
const Rdx = 2;
const R11 = 11;
const Cr4Fsgsbase = 1 << 16;
const Cr4Umip = 1 << 11;

function requireCpl0(s: Semantics): void {
  s.raiseIf(s.state32(Cpu.Cpl).ne(0), Vector.GeneralProtection);
}

/** A privileged instruction of JavaScript's. */
const privileged =
  (name: string): Semantic =>
  (s) => {
    requireCpl0(s);
    s.rare(name);
  };

const rare =
  (name: string): Semantic =>
  (s) =>
    s.rare(name);

/** After it, blocks or translations may be others: look up again. */
const privilegedThenResync =
  (name: string): Semantic =>
  (s) => {
    requireCpl0(s);
    s.rare(name);
    s.leave(i32(HandlerResult.ResyncNext));
  };

/** IN and OUT complete in JavaScript: the exit carries everything (`Cpu.Exit*`); IN's value goes to rAX there. */
const portIo =
  (write: boolean): Semantic =>
  (s) => {
    const data = s.operands[write ? 1 : 0]!;
    const position = write ? 0 : 1;
    const implied = s.operands[position]!.kind === 'gpr' && s.operands[position]!.bits === 16;
    const port = s.let(implied ? s.gprUnsigned(Rdx, 16) : s.operands[position]!.read(8).and(0xff));
    const bytes = data.bits / 8;
    checkPort(s, port, bytes);
    s.setState32(Cpu.ExitReplayed, 0);
    s.setState32(Cpu.ExitKind, write ? LoopExit.PioWrite : LoopExit.PioRead);
    s.setState64(Cpu.ExitAddress, port);
    s.setState32(Cpu.ExitSize, bytes);
    if (write) s.setState64(Cpu.ExitValue, s.gprUnsigned(Rax, data.bits as 8 | 16 | 32));
    s.leave(i32(HandlerResult.ExitAfter));
  };

const hlt: Semantic = (s) => {
  requireCpl0(s);
  s.setState32(Cpu.ExitKind, LoopExit.Halt);
  s.leave(i32(HandlerResult.ExitAfter));
};

function requireIoPrivilege(s: Semantics): void {
  const iopl = s.state32(Cpu.Rflags).shrU(12).and(3);
  s.raiseIf(s.state32(Cpu.Cpl).gtU(iopl), Vector.GeneralProtection);
}

const cli: Semantic = (s) => {
  requireIoPrivilege(s);
  s.setState32(Cpu.Rflags, s.state32(Cpu.Rflags).and(~Rflag.Interrupt));
};

/** The instruction after STI still runs without interrupts; its block ends with a check (lowering.ts). */
const sti: Semantic = (s) => {
  requireIoPrivilege(s);
  const old = s.let(s.state32(Cpu.Rflags));
  s.f.if(old.and(Rflag.Interrupt).eqz(), () => {
    shadowNext(s, InterruptShadow.Sti);
    s.setState32(Cpu.Rflags, old.or(Rflag.Interrupt));
  });
};

function setFlatSegment(s: Semantics, segment: number, selector: I32, attributes: number): void {
  const at = segmentOffset(segment);
  s.setState32(at + SegmentField.Selector, selector);
  s.setState32(at + SegmentField.Attributes, attributes);
  s.setState64(at + SegmentField.Base, 0);
  s.setState32(at + SegmentField.Limit, -1);
}

const CodeType = SegmentAttribute.Code | SegmentAttribute.WritableReadable | SegmentAttribute.Accessed;
const DataType = SegmentAttribute.WritableReadable | SegmentAttribute.Accessed;
const Common = SegmentAttribute.CodeOrData | SegmentAttribute.Present | SegmentAttribute.Granularity;
const User = 3 << SegmentAttribute.DplShift;

const syscall: Semantic = (s) => {
  const efer = s.state32(Cpu.Efer);
  s.raiseIf(efer.and(EferBit.SyscallEnable).eqz(), Vector.InvalidOpcode);
  if (s.form.codeSize !== 64) {
    s.rare('syscallLegacy');
    return;
  }
  const rflags = s.let(composeRflags(s.flags.image(), s.cpu).and(~Rflag.Resume));
  s.setGpr(Rcx, 64, s.nextRip());
  s.setGpr(R11, 64, rflags.toI64u());
  const star = s.let(s.state64(Cpu.Star).shrU(32).toI32().and(0xffff));
  setFlatSegment(s, SegmentIndex.Cs, star.and(0xfffc), Common | CodeType | SegmentAttribute.Long);
  setFlatSegment(s, SegmentIndex.Ss, star.add(8).and(0xffff), Common | DataType | SegmentAttribute.Big);
  const masked = s.let(rflags.and(s.state32(Cpu.SyscallMask).xor(-1)));
  s.setState32(Cpu.Rflags, masked.and(~0x8d5).or(Rflag.Fixed));
  s.flags.load(masked);
  // Unlike others, these two look at TF after they changed it
  s.setState32(Cpu.PendingDebug, masked.and(Rflag.Trap));
  s.setState32(Cpu.Cpl, 0);
  s.setState64(Cpu.Rip, s.state64(Cpu.Lstar));
  s.updateMode();
  s.resync();
};

/** SYSRET checks nothing of the target on AMD processors; a non-canonical RIP faults at CPL 3. */
const sysret: Semantic = (s) => {
  s.raiseIf(s.state32(Cpu.Efer).and(EferBit.SyscallEnable).eqz(), Vector.InvalidOpcode);
  requireCpl0(s);
  if (s.form.codeSize !== 64) {
    s.rare('sysretLegacy');
    return;
  }
  const star = s.let(s.state64(Cpu.Star).shrU(48).toI32());
  const long = s.form.width === 64;
  const selector = long ? star.add(16) : star;
  setFlatSegment(
    s,
    SegmentIndex.Cs,
    selector.or(3).and(0xffff),
    Common | CodeType | User | (long ? SegmentAttribute.Long : SegmentAttribute.Big),
  );
  setFlatSegment(s, SegmentIndex.Ss, star.add(8).or(3).and(0xffff), Common | DataType | User | SegmentAttribute.Big);
  const image = s.let(
    s
      .gpr(R11, 64)
      .toI32()
      .and(0x3c7fd7)
      .and(~(Rflag.Resume | Rflag.Virtual8086)),
  );
  s.setState64(Cpu.Rip, long ? s.gpr(Rcx, 64) : s.gprUnsigned(Rcx, 32));
  s.setState32(Cpu.Rflags, image.and(~0x8d5).or(Rflag.Fixed));
  s.flags.load(image);
  s.setState32(Cpu.PendingDebug, image.and(Rflag.Trap));
  s.setState32(Cpu.Cpl, 3);
  s.updateMode();
  s.resync();
};

const swapgs: Semantic = (s) => {
  requireCpl0(s);
  const base = segmentOffset(SegmentIndex.Gs) + SegmentField.Base;
  const old = s.let(s.state64(base));
  s.setState64(base, s.state64(Cpu.KernelGsBase));
  s.setState64(Cpu.KernelGsBase, old);
};

/** RDFSBASE and its kin need CR4.FSGSBASE. */
const segmentBase =
  (segment: number, write: boolean): Semantic =>
  (s) => {
    s.raiseIf(s.state32(Cpu.Cr4).and(Cr4Fsgsbase).eqz(), Vector.InvalidOpcode);
    const at = segmentOffset(segment) + SegmentField.Base;
    if (!write) {
      s.op0.write(s.state64(at));
      return;
    }
    const value = s.op0.readUnsigned();
    s.raiseIf(value.shl(16).shrS(16).ne(value), Vector.GeneralProtection);
    s.setState64(at, value);
  };

/** SLDT, STR, SMSW: user-mode instruction prevention. */
function requireUmip(s: Semantics): void {
  s.raiseIf(s.state32(Cpu.Cr4).and(Cr4Umip).ne(0).and(s.state32(Cpu.Cpl).ne(0)), Vector.GeneralProtection);
}

const storeSelector =
  (segment: number): Semantic =>
  (s) => {
    requireProtectedMode(s);
    requireUmip(s);
    s.op0.write(s.state32(segmentOffset(segment) + SegmentField.Selector).toI64u());
  };

/** #UD in real and virtual-8086 mode. */
function requireProtectedMode(s: Semantics): void {
  if (s.form.codeSize === 64) return;
  const virtual = s.state32(Cpu.Rflags).and(Rflag.Virtual8086);
  s.raiseIf(s.state32(Cpu.Cr0).and(1).eqz().or(virtual), Vector.InvalidOpcode);
}

const loadSystemSegment =
  (name: string): Semantic =>
  (s) => {
    requireProtectedMode(s);
    requireCpl0(s);
    s.setState64(Cpu.RareArgument, s.op0.readUnsigned(16));
    s.rare(name);
  };

/** SGDT, SIDT: limit, then base (8 bytes in 64-bit mode). */
const storeTable =
  (base: number, limit: number): Semantic =>
  (s) => {
    requireUmip(s);
    const linear = s.op0.linear(true);
    s.store(linear, 16, s.state32(limit).toI64u(), s.op0.stack);
    s.store(linear.add(2), s.form.codeSize === 64 ? 64 : 32, s.state64(base), s.op0.stack);
  };

const loadTable =
  (base: number, limit: number): Semantic =>
  (s) => {
    requireCpl0(s);
    const linear = s.op0.linear();
    const newLimit = s.let(s.load(linear, 16, s.op0.stack).toI32().and(0xffff));
    const long = s.form.codeSize === 64;
    const raw = s.load(linear.add(2), long ? 64 : 32, s.op0.stack);
    if (long) s.raiseIf(raw.shl(16).shrS(16).ne(raw), Vector.GeneralProtection);
    s.setState32(limit, newLimit);
    // A 16-bit operand size loads 24 bits of base
    s.setState64(base, long ? raw : raw.and(s.form.width === 16 ? 0xff_ffffn : 0xffff_ffffn));
  };

const smsw: Semantic = (s) => {
  requireUmip(s);
  s.op0.write(s.state64(Cpu.Cr0));
};

const lmsw: Semantic = (s) => {
  requireCpl0(s);
  s.setState64(Cpu.RareArgument, s.op0.readUnsigned(16));
  s.rare('lmsw');
  s.leave(i32(HandlerResult.ResyncNext));
};

const invlpg: Semantic = (s) => {
  requireCpl0(s);
  s.setState64(Cpu.RareArgument, s.op0.uncheckedLinear());
  s.rare('invlpg');
  s.leave(i32(HandlerResult.ResyncNext));
};

/** VERR, VERW, LAR, LSL: the descriptor is JavaScript's; RareResult holds ZF and the value. */
const verify =
  (name: string): Semantic =>
  (s) => {
    requireProtectedMode(s);
    s.setState64(Cpu.RareArgument, s.op0.readUnsigned(16));
    s.rare(name);
    setZero(s, s.state64(Cpu.RareResult).toI32());
  };

const loadAttribute =
  (name: string): Semantic =>
  (s) => {
    requireProtectedMode(s);
    s.setState64(Cpu.RareArgument, s.op1.readUnsigned(16));
    s.rare(name);
    const found = s.let(s.state64(Cpu.RareResult).toI32());
    s.f.if(found, () => s.op0.write(s.state64(Cpu.RareArgument2)));
    setZero(s, found);
  };

function setZero(s: Semantics, condition: I32): void {
  const zero = s.let(condition);
  s.flags.load(s.let(s.flags.image().and(~Rflag.Zero).or(zero.shl(6))));
}

const arpl: Semantic = (s) => {
  requireProtectedMode(s);
  const { op0 } = s;
  const isMemory = op0.kind === 'memory';
  const destination = isMemory ? s.load(op0.part(0, 2, false), 16, op0.stack) : op0.read(16);
  const source = s.op1.read(16);
  const lower = s.let(destination.and(3).ltU(source.and(3)));
  s.f.if(lower, () => {
    const result = destination.and(~3n).or(source.and(3));
    if (isMemory) s.store(op0.part(0, 2, true), 16, result, op0.stack);
    else op0.write(result, 16);
  });
  setZero(s, lower);
};

const rdtsc =
  (withAux: boolean): Semantic =>
  (s) => {
    const Cr4Tsd = 4;
    s.raiseIf(s.state32(Cpu.Cr4).and(Cr4Tsd).ne(0).and(s.state32(Cpu.Cpl).ne(0)), Vector.GeneralProtection);
    s.rare('rdtsc');
    const tsc = s.let(s.state64(Cpu.RareResult));
    s.setGpr(Rax, 32, tsc);
    s.setGpr(Rdx, 32, tsc.shrU(32));
    if (withAux) s.setGpr(Rcx, 32, s.state64(Cpu.TscAux));
  };

/** RDRAND, RDSEED: always succeed. */
const random: Semantic = (s) => {
  s.rare('random');
  s.op0.write(s.state64(Cpu.RareResult));
  s.flags.load(i32(Rflag.Carry));
};

/** Undefined unless advertised: SVM instructions, RSM and the like. */
const undefinedInstruction: Semantic = (s) => s.raise(Vector.InvalidOpcode);
const nothing: Semantic = () => {};

export const systemSemantics: Readonly<Record<string, Semantic>> = {
  IN: portIo(false),
  OUT: portIo(true),
  HLT: hlt,
  CLI: cli,
  STI: sti,
  CLTS: (s) => {
    requireCpl0(s);
    s.setState64(Cpu.Cr0, s.state64(Cpu.Cr0).and(~8n));
    s.rare('fpuAvailability');
  },
  INVD: privileged('nothing'),
  WBINVD: privileged('nothing'),
  WBNOINVD: privileged('nothing'),
  RSM: undefinedInstruction,
  WRMSR: privilegedThenResync('wrmsr'),
  RDMSR: privileged('rdmsr'),
  RDTSC: rdtsc(false),
  RDTSCP: rdtsc(true),
  RDPMC: (s) => s.raise(Vector.GeneralProtection),
  CPUID: rare('cpuid'),
  SYSCALL: syscall,
  SYSRET: sysret,
  SYSENTER: rare('sysenter'),
  SYSEXIT: rare('sysexit'),
  SWAPGS: swapgs,
  RDFSBASE: segmentBase(SegmentIndex.Fs, false),
  RDGSBASE: segmentBase(SegmentIndex.Gs, false),
  WRFSBASE: segmentBase(SegmentIndex.Fs, true),
  WRGSBASE: segmentBase(SegmentIndex.Gs, true),
  SLDT: storeSelector(SegmentIndex.Ldtr),
  STR: storeSelector(SegmentIndex.Tr),
  LLDT: loadSystemSegment('lldt'),
  LTR: loadSystemSegment('ltr'),
  VERR: verify('verr'),
  VERW: verify('verw'),
  LAR: loadAttribute('lar'),
  LSL: loadAttribute('lsl'),
  ARPL: arpl,
  SGDT: storeTable(Cpu.GdtBase, Cpu.GdtLimit),
  SIDT: storeTable(Cpu.IdtBase, Cpu.IdtLimit),
  LGDT: loadTable(Cpu.GdtBase, Cpu.GdtLimit),
  LIDT: loadTable(Cpu.IdtBase, Cpu.IdtLimit),
  SMSW: smsw,
  LMSW: lmsw,
  INVLPG: invlpg,
  VMCALL: rare('hypercall'),
  VMMCALL: rare('hypercall'),
  MONITOR: undefinedInstruction,
  MWAIT: undefinedInstruction,
  XGETBV: rare('xgetbv'),
  XSETBV: privilegedThenResync('xsetbv'),
  VMRUN: undefinedInstruction,
  VMLOAD: undefinedInstruction,
  VMSAVE: undefinedInstruction,
  STGI: undefinedInstruction,
  CLGI: undefinedInstruction,
  SKINIT: undefinedInstruction,
  INVLPGA: undefinedInstruction,
  RDRAND: random,
  RDSEED: random,
  RDPID: (s) => s.op0.write(s.state64(Cpu.TscAux)),
  NOP: nothing,
  PAUSE: nothing,
  ENDBR64: nothing,
  ENDBR32: nothing,
  PREFETCH: nothing,
  PREFETCHNTA: nothing,
  PREFETCHT0: nothing,
  PREFETCHT1: nothing,
  PREFETCHT2: nothing,
  PREFETCHW: nothing,
  LFENCE: nothing,
  MFENCE: nothing,
  SFENCE: nothing,
  CLFLUSH: (s) => void s.op0.read(8),
  CLFLUSHOPT: (s) => void s.op0.read(8),
  CLWB: (s) => void s.op0.read(8),
};

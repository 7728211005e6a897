/**
 * The harness guest: a long-mode image that runs a batch of test cases in ring 3 and saves what each one did.
 *
 * For each case the driver copies the windows of memory, loads FXSAVE image, flags and all sixteen registers, and jumps to
 * the case's bytes. They come back over a landing pad, which marks how they left, or through a fault handler in ring 0,
 * which notes the fault. Then everything is saved in the output record. An UD2 ends the batch: ring 0
 * writes to a port.
 */
import {
  Assembler,
  at,
  ax,
  cs,
  ds,
  eax,
  ecx,
  es,
  fs,
  gpr,
  gs,
  mem,
  r8,
  rax,
  rbx,
  rsi,
  rsp,
  ss,
} from '../guest/assembler.ts';
import type { Register } from '../guest/assembler.ts';
import {
  CaseFlags,
  Control,
  Fields,
  FsBase,
  GsBase,
  HighSize,
  InputFields,
  Low,
  OutputFields,
  Port,
  RecordSize,
  Selector,
  Window1,
  Window2,
} from './harness-layout.ts';

const NoFault = 0xffff;
/** RFLAGS.TF and RF: cleared when a fault handler returns. */
const TrapAndResumeFlags = 0x10100;

/** Exceptions that push an error code (SDM Vol. 3A Table 6-1 "Protected-Mode Exceptions and Interrupts"). */
const WithErrorCode = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

const field = (base: Register, displacement: number, size?: number) =>
  mem(size === undefined ? { base, displacement } : { base, displacement, size });

/** `avx`: cases have upper halves of vector registers too, beside their records. */
export type HarnessKind = 'legacy' | 'avx';

export interface Driver {
  readonly code: Uint8Array;
  readonly start: number;
  /** Where landing pads and fault handlers go to. */
  readonly exit: number;
  /** An UD2: the end of the batch. */
  readonly finish: number;
}

function copyWindow(a: Assembler, window: { start: number; size: number }, toRecord: boolean): void {
  a.mov(toRecord ? rsi : gpr(7, 64), window.start).mov(ecx, window.size / 8).repMovs(64); // prettier-ignore
}

/** Loads the registers of the record at RBX; RBX itself comes last. */
function loadRegisters(a: Assembler): void {
  a.push(field(rbx, Fields.Rflags, 64)).popf();
  for (let index = 0; index < 16; index++) {
    if (index !== rbx.number) a.mov(gpr(index, 64), field(rbx, Fields.Gpr + index * 8));
  }
  a.mov(rbx, field(rbx, Fields.Gpr + rbx.number * 8));
}

/** VINSERTF128 (opcode 18) and VEXTRACTF128 (19) of the upper half of each register, with [RAX + 16 * its number]. */
function upperHalves(a: Assembler, opcode: number): void {
  for (let index = 0; index < 16; index++) {
    const register = opcode === 0x18 ? ~index & 15 : 15;
    a.db(0xc4, (index < 8 ? 0x80 : 0) | 0x63, (register << 3) | 5, opcode, 0x80 | ((index & 7) << 3));
    a.dd(index * 16).db(1);
  }
}

function loadUpperHalves(a: Assembler): void {
  a.mov(rax, at(Control.HighInput));
  upperHalves(a, 0x18);
}

function saveUpperHalves(a: Assembler): void {
  a.mov(rax, at(Control.HighOutput));
  upperHalves(a, 0x19);
  a.add(at(Control.HighInput, 64), HighSize).add(at(Control.HighOutput, 64), HighSize);
}

function emitPrepare(a: Assembler, kind: HarnessKind): void {
  a.label('start').mov(rsp, Low.DriverStackTop);
  a.mov(at(Control.Input, 64), Low.Input).mov(at(Control.Output, 64), Low.Output);
  a.mov(rax, at(Control.Count)).mov(at(Control.Remaining), rax);
  if (kind === 'avx') a.mov(at(Control.HighInput, 64), Low.HighInput).mov(at(Control.HighOutput, 64), Low.HighOutput);
  a.label('restore').mov(eax, Selector.UserData).mov(ds, ax).mov(es, ax).mov(ss, ax);
  writeBase(a, 2, FsBase);
  writeBase(a, 3, GsBase);
  a.label('next').cmp(at(Control.Remaining, 64), 0).jcc('e', 'finish').sub(at(Control.Remaining, 64), 1);
  a.mov(rbx, at(Control.Input)).lea(rsi, field(rbx, Fields.Windows));
  copyWindow(a, Window1, false);
  copyWindow(a, Window2, false);
  a.mov(rax, field(rbx, InputFields.Target)).mov(at(Control.Target), rax);
  a.mov(at(Control.Vector, 64), NoFault).mov(at(Control.Marker, 64), 0);
  for (const name of ['ErrorCode', 'FaultRip', 'Cr2', 'FaultRflags', 'FaultCs'] as const) {
    a.mov(at(Control[name], 64), 0);
  }
  a.fxrstor(field(rbx, Fields.Fx));
  if (kind === 'avx') loadUpperHalves(a);
  a.test(field(rbx, InputFields.Flags, 32), CaseFlags.LoadSegments).jcc('z', 'loaded');
  [es, ss, ds, fs, gs].forEach((segment, index) => {
    a.mov(eax, field(rbx, InputFields.Selectors + index * 8)).mov(segment, ax);
  });
  a.label('loaded');
  a.test(field(rbx, InputFields.Flags, 32), CaseFlags.Far).jcc('nz', 'far');
  loadRegisters(a);
  a.jmp(at(Control.Target));
  a.label('far');
  loadRegisters(a);
  a.db(0xff, 0x2c, 0x25).dd(Control.Target); // JMP FAR m16:32
}

/** RDFSBASE (0), RDGSBASE (1), WRFSBASE (2), WRGSBASE (3) with RAX. */
function baseInstruction(a: Assembler, digit: number): void {
  a.op([0x0f, 0xae], digit, rax, { prefix: 0xf3, size: 64 });
}

function writeBase(a: Assembler, digit: number, base: bigint): void {
  a.mov(rax, base);
  baseInstruction(a, digit);
}

function emitSave(a: Assembler, kind: HarnessKind): void {
  a.label('exit').mov(at(Control.SavedRsp), rsp).mov(rsp, Low.DriverStackTop).pushf().cld();
  a.mov(at(Control.SavedRax), rax).mov(at(Control.SavedRbx), rbx).mov(rbx, at(Control.Output));
  a.fxsave(field(rbx, Fields.Fx));
  if (kind === 'avx') saveUpperHalves(a);
  a.pop(rax).mov(field(rbx, Fields.Rflags), rax);
  for (let index = 1; index < 16; index++) {
    if (index !== rbx.number && index !== rsp.number) a.mov(field(rbx, Fields.Gpr + index * 8), gpr(index, 64));
  }
  const moves: (readonly [number, number])[] = [
    [Control.SavedRax, Fields.Gpr],
    [Control.SavedRbx, Fields.Gpr + rbx.number * 8],
    [Control.SavedRsp, Fields.Gpr + rsp.number * 8],
  ];
  for (const name of ['Marker', 'Vector', 'ErrorCode', 'FaultRip', 'Cr2', 'FaultRflags', 'FaultCs'] as const) {
    moves.push([Control[name], OutputFields[name]]);
  }
  for (const [from, to] of moves) a.mov(rax, at(from)).mov(field(rbx, to), rax);
  a.lea(gpr(7, 64), field(rbx, Fields.Windows));
  copyWindow(a, Window1, true);
  copyWindow(a, Window2, true);
  a.mov(r8, at(Control.Input));
  a.add(at(Control.Input, 64), RecordSize).add(at(Control.Output, 64), RecordSize);
  a.test(field(r8, InputFields.Flags, 32), CaseFlags.Segments).jcc('z', 'next');
  [es, cs, ss, ds, fs, gs].forEach((segment, index) => {
    a.mov(eax, segment).mov(field(rbx, OutputFields.Selectors + index * 8), rax);
  });
  baseInstruction(a, 0);
  a.mov(field(rbx, OutputFields.FsBase), rax);
  baseInstruction(a, 1);
  a.mov(field(rbx, OutputFields.GsBase), rax);
  a.mov(eax, 0).mov(fs, ax).mov(gs, ax).jmp('restore');
  a.label('finish').ud2();
}

export function buildDriver(kind: HarnessKind): Driver {
  const a = new Assembler({ origin: Low.Driver, bits: 64 });
  emitPrepare(a, kind);
  emitSave(a, kind);
  return { code: a.finish(), start: a.address('start'), exit: a.address('exit'), finish: a.address('finish') };
}

export interface Handlers {
  readonly code: Uint8Array;
  /** First instruction in ring 0: enters the driver. */
  readonly entry: number;
  /** Handler of each vector. */
  readonly vectors: ReadonlyMap<number, number>;
}

/** Offsets from RSP in `fault`, after RAX was pushed: vector, error code, then the frame (SDM Vol. 3A Figure 6-9). */
const Frame = { Vector: 8, ErrorCode: 16, Rip: 24, Cs: 32, Rflags: 40, Ss: 56 } as const;

function emitFault(a: Assembler, driver: Driver): void {
  a.label('fault').push(rax);
  const saved = [
    [Frame.Vector, Control.Vector],
    [Frame.ErrorCode, Control.ErrorCode],
    [Frame.Rip, Control.FaultRip],
    [Frame.Cs, Control.FaultCs],
    [Frame.Rflags, Control.FaultRflags],
  ] as const;
  for (const [from, to] of saved) a.mov(rax, field(rsp, from)).mov(at(to), rax);
  a.db(0x0f, 0x20, 0xd0).mov(at(Control.Cr2), rax); // MOV RAX, CR2
  a.test(field(rsp, Frame.Cs, 32), 3).jcc('z', 'broken');
  a.mov(rax, field(rsp, Frame.Rip)).cmp(rax, driver.finish).jcc('e', 'batchDone');
  a.shift('shr', rax, 12)
    .cmp(rax, Low.Driver >> 12)
    .jcc('e', 'broken');
  a.mov(field(rsp, Frame.Rip, 64), driver.exit).mov(field(rsp, Frame.Cs, 64), Selector.UserCode64);
  a.mov(field(rsp, Frame.Ss, 64), Selector.UserData);
  a.and(field(rsp, Frame.Rflags, 64), ~TrapAndResumeFlags);
  a.pop(rax).lea(rsp, field(rsp, 16)).iret();
  a.label('batchDone')
    .out(Port.BatchDone, eax)
    .mov(field(rsp, Frame.Rip, 64), driver.start);
  a.lea(rsp, field(rsp, Frame.Rip)).iret();
  a.label('broken').mov(eax, 0).out(Port.Broken, eax).hlt();
}

export function buildHandlers(origin: number, driver: Driver): Handlers {
  const a = new Assembler({ origin, bits: 64 });
  a.label('entry').push(Selector.UserData).push(Low.DriverStackTop).push(0x202);
  a.push(Selector.UserCode64).push(driver.start).iret();
  const vectors = new Map<number, number>();
  for (let vector = 0; vector < 32; vector++) {
    vectors.set(vector, a.here);
    if (!WithErrorCode.includes(vector)) a.push(0);
    a.push(vector).jmp('fault');
  }
  emitFault(a, driver);
  return { code: a.finish(), entry: a.address('entry'), vectors };
}

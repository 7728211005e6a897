/**
 * Another silicon side of the oracle: the harness guest's driver as an ordinary Linux process, one for each batch.
 *
 * The back end of /dev/kvm here lets its emulator have a go at what takes #GP, and at all code that is not 64-bit; its
 * answers are wrong then. In a process the same bytes at the same addresses run on the processor itself: the kernel's
 * signals tell vector, error code and CR2. The process is a small static ELF file assembled here; the guest's memory is a
 * file that it maps.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Assembler, at, eax, edi, esi, mem, r10, r8, r9, rax, rbx, rdi, rdx, rsi, rsp } from '../guest/assembler.ts';
import { buildDriver } from './harness-guest.ts';
import type { Driver, HarnessKind } from './harness-guest.ts';
import { Control, HighAlias, Low, OutputFields, Port, RecordSize, Selector } from './harness-layout.ts';
import { PageFault } from './normalize.ts';
import { pageAccess } from './harness-image.ts';
import type { OracleTarget } from './target.ts';
import { testSegments, userDescriptor } from './test-segments.ts';

/** Linux system calls (x86-64). */
const Syscall = { Open: 2, Mmap: 9, Sigaction: 13, Sigreturn: 15, Exit: 60, Sigaltstack: 131, ModifyLdt: 154 } as const;
const Signals = { Ill: 4, Trap: 5, Bus: 7, Fpe: 8, Segv: 11 } as const;
/** SA_SIGINFO, SA_RESTORER, SA_ONSTACK, SA_NODEFER */
const SignalFlags = 0x4 | 0x0400_0000 | 0x0800_0000 | 0x4000_0000;

/** Offsets of registers in struct ucontext of x86-64. */
const Context = { Rip: 168, Rflags: 176, Cs: 184, Ss: 190, ErrorCode: 192, Vector: 200, Cr2: 216 } as const;

const isSupervisor = (address: bigint): boolean =>
  address >= 0n && address < MappedSize && pageAccess(Number(address))?.user === false;
/** Both mappings of the guest's memory. */
const MappedSize = 0x20_0000;
const LastPage = (1n << 35n) - 1n;
const Origin = 0x40_0000;
const AltStackSize = 0x10000;
const Prot = { Read: 1, Write: 2, Execute: 4 } as const;
/** MAP_SHARED, MAP_FIXED, MAP_POPULATE */
const MapFlags = 0x1 | 0x10 | 0x8000;

function syscall(a: Assembler, number: number): void {
  a.mov(eax, number).db(0x0f, 0x05);
}

/** Runs of pages with the same access. */
function mappings(): { start: number; length: number; prot: number }[] {
  const runs: { start: number; length: number; prot: number }[] = [];
  for (let page = 0; page < MappedSize; page += 0x1000) {
    const access = pageAccess(page);
    if (access === undefined || !access.user) continue;
    const prot = Prot.Read | (access.write ? Prot.Write : 0) | (access.execute ? Prot.Execute : 0);
    const last = runs.at(-1);
    if (last !== undefined && last.prot === prot && last.start + last.length === page) last.length += 0x1000;
    else runs.push({ start: page, length: 0x1000, prot });
  }
  return runs;
}

function emitSetUp(a: Assembler, driver: Driver): void {
  // argv[1]: the memory file
  a.label('start')
    .mov(rdi, mem({ base: rsp, displacement: 16 }))
    .mov(esi, 2);
  syscall(a, Syscall.Open);
  a.mov(r8, rax);
  for (const { start, length, prot } of mappings()) {
    for (const base of [BigInt(start), HighAlias + BigInt(start)]) {
      a.mov(rdi, base).mov(rsi, length).mov(rdx, prot).mov(r10, MapFlags).mov(r9, start);
      syscall(a, Syscall.Mmap);
    }
  }
  a.mov(rdi, 'altStack').mov(esi, 0);
  syscall(a, Syscall.Sigaltstack);
  for (const signal of Object.values(Signals)) {
    a.mov(edi, signal).mov(rsi, 'action').mov(rdx, 0).mov(r10, 8);
    syscall(a, Syscall.Sigaction);
  }
  testSegments.forEach((_, index) => {
    a.mov(edi, 1).mov(rsi, `ldtEntry${index}`).mov(rdx, 16);
    syscall(a, Syscall.ModifyLdt);
  });
  a.mov(rax, driver.start).jmp(rax);
}

/** void handler(int signal, siginfo_t *, ucontext_t *): notes the fault and goes on at the driver's exit. */
function emitHandler(a: Assembler, driver: Driver): void {
  const context = (displacement: number, size?: number) =>
    mem(size === undefined ? { base: rdx, displacement } : { base: rdx, displacement, size });
  a.label('handler').mov(rbx, rdx);
  const saved = [
    [Context.Vector, Control.Vector],
    [Context.ErrorCode, Control.ErrorCode],
    [Context.Rip, Control.FaultRip],
    [Context.Rflags, Control.FaultRflags],
    [Context.Cr2, Control.Cr2],
  ] as const;
  for (const [from, to] of saved) a.mov(rax, context(from)).mov(at(to), rax);
  a.movzx(eax, context(Context.Cs, 16)).mov(at(Control.FaultCs), rax);
  a.mov(edi, 0).mov(rax, context(Context.Rip)).cmp(rax, driver.finish).jcc('e', 'exit');
  a.mov(edi, 1);
  a.shift('shr', rax, 12)
    .cmp(rax, Low.Driver >> 12)
    .jcc('e', 'exit');
  a.mov(context(Context.Rip, 64), driver.exit);
  a.mov(context(Context.Cs, 16), Selector.UserCode64).mov(context(Context.Ss, 16), Selector.UserData);
  a.and(context(Context.Rflags, 64), ~0x10100).ret();
  a.label('exit');
  syscall(a, Syscall.Exit);
  a.label('restorer');
  syscall(a, Syscall.Sigreturn);
}

function emitData(a: Assembler): void {
  a.align(16).label('action').dq('handler', SignalFlags, 'restorer', 0);
  a.label('altStack').dq('stackBottom', 0, AltStackSize);
  testSegments.forEach((segment, index) => a.label(`ldtEntry${index}`).dd(...userDescriptor(segment, index)));
  a.align(4096).label('stackBottom');
  a.org(a.here + AltStackSize);
}

/** A static ELF executable with one segment that may be read, written and executed. */
function buildExecutable(kind: HarnessKind): Uint8Array {
  const headers = 0x1000;
  const a = new Assembler({ origin: Origin + headers, bits: 64 });
  const driver = buildDriver(kind);
  emitSetUp(a, driver);
  emitHandler(a, driver);
  emitData(a);
  const code = a.finish();
  const file = new Uint8Array(headers + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const header = [
    [16, 2, 2], [18, 62, 2], [20, 1, 4], [24, a.address('start'), 8], [32, 64, 8], [52, 64, 2], [54, 56, 2], [56, 1, 2],
    [64, 1, 4], [68, 7, 4], [80, Origin, 8], [96, file.length, 8], [104, file.length, 8], [112, 0x1000, 8],
  ] as const; // prettier-ignore
  for (const [offset, value, size] of header) {
    if (size === 8) view.setBigUint64(offset, BigInt(value), true);
    else if (size === 4) view.setUint32(offset, value, true);
    else view.setUint16(offset, value, true);
  }
  file.set(code, headers);
  return file;
}

/** Linux and a processor of the right kind; whether it is an AMD one is for the expectations to know. */
export const processAvailable = (): boolean => process.platform === 'linux' && process.arch === 'x64';

export class ProcessTarget implements OracleTarget {
  readonly name = 'process';
  readonly #folder: string;
  readonly #executable: string;
  readonly #memoryPath: string;
  readonly #memory: number;

  constructor(memorySize: number, kind: HarnessKind = 'legacy') {
    this.#folder = mkdtempSync(join(tmpdir(), 'lodger-oracle-'));
    this.#executable = join(this.#folder, 'harness');
    this.#memoryPath = join(this.#folder, 'memory');
    writeFileSync(this.#executable, buildExecutable(kind));
    chmodSync(this.#executable, 0o755);
    writeFileSync(this.#memoryPath, new Uint8Array(memorySize));
    this.#memory = openSync(this.#memoryPath, 'r+');
  }

  write(address: number, bytes: Uint8Array): void {
    writeSync(this.#memory, bytes, 0, bytes.length, address);
  }

  read(address: number, bytes: Uint8Array): void {
    readSync(this.#memory, bytes, 0, bytes.length, address);
  }

  start(): void {
    // Every batch has a process of its own, which sets itself up.
  }

  runUntilPortWrite(): number {
    const result = spawnSync(this.#executable, [this.#memoryPath], { timeout: 20_000 });
    if (result.status === 0) {
      this.#correctPageFaults();
      return Port.BatchDone;
    }
    if (result.status === 1) return Port.Broken;
    throw new Error(`the harness process ended with status ${result.status}, signal ${result.signal}`);
  }

  /**
   * Supervisor pages are missing in a process: their page faults are made protection violations. The last page below the
   * canonical border belongs to the kernel: its page faults are made those of a missing page.
   */
  #correctPageFaults(): void {
    const count = new Uint8Array(8);
    this.read(Control.Count, count);
    const output = new Uint8Array(new DataView(count.buffer).getUint32(0, true) * RecordSize);
    this.read(Low.Output, output);
    const view = new DataView(output.buffer);
    for (let at = 0; at < output.length; at += RecordSize) {
      const address = view.getBigUint64(at + OutputFields.Cr2, true);
      if (view.getUint32(at + OutputFields.Vector, true) !== PageFault) continue;
      if (isSupervisor(address) || isSupervisor(address - HighAlias)) output[at + OutputFields.ErrorCode]! |= 1;
      if (address >> 12n === LastPage) output[at + OutputFields.ErrorCode]! &= ~1;
    }
    this.write(Low.Output, output);
  }

  close(): void {
    closeSync(this.#memory);
    rmSync(this.#folder, { recursive: true });
  }
}

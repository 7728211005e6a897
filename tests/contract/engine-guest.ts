/**
 * Tiny 64-bit guests for the engine contract: one program, flat memory, every interrupt vector reported to the host by a
 * port write. {@link EngineGuest.run} answers everything that the vCPU asked of the board, as lines of text.
 *
 * Only the contract (packages/vmm/src/engine) is used, so that the same guests run on every engine.
 */
import type { EngineVm, EngineVmConfig, Vcpu } from '@lodger/vmm/engine/engine.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { Segment, VcpuState } from '@lodger/vmm/engine/state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { Assembler, al } from '../guest/assembler.ts';
import { leaveHalt } from './emulated-host.ts';

/** An engine under test with the clock that its VMs use. */
export interface EngineUnderTest {
  createVm(config: Omit<EngineVmConfig, 'clock'>): EngineVm;
  readonly clock: Clock;
  /** Lets time pass: a manual clock is moved, a real one waited for. */
  advance(nanoseconds: number): void;
  /** Closes the VMs that the test created. */
  close?(): void;
}

export const At = {
  Gdt: 0x1000,
  Idt: 0x2000,
  Tss: 0x3000,
  Stubs: 0x4000,
  Stack: 0x9000,
  /** Of interrupt-stack-table entry 1. */
  EventStack: 0xa000,
  Results: 0xb000,
  /** Code that ends the guest. */
  End: 0xc000,
  Code: 0x1_0000,
  /** Real-mode code of application processors: SIPI vector 0x20. */
  ApCode: 0x2_0000,
  Data: 0x3_0000,
  Data2: 0x4_0000,
  PageTables: 0x8_0000,
  /** Mapped, but neither RAM nor a device of the engine. */
  Device: 0xd000_0000,
  LocalApic: 0xfee0_0000,
  High: 0x1_0000_0000,
} as const;

export const Port = { Done: 0xf4, Event: 0xf5 } as const;
export const MemorySize = 8 << 20;
const Code64 = 0x08;
const Data64 = 0x10;
const TssSelector = 0x18;
const StubBytes = 32;
const MaximumRuns = 3000;
/** How long an engine that waits for interrupts inside `run()` may do so at a time: the nested host is slow to enter a guest. */
const Slice = process.env['LODGER_NESTED_HOST'] ? 50e6 : 10e6;
/** How long a real timer, or a thread that just starts, may be late on a busy host. */
export const Patience = 60e9;
/** Vectors below are the processor's own exceptions. */
const FirstInterrupt = 32;
const VectorsWithErrorCode = [8, 10, 11, 12, 13, 14, 17];

/** Exits that read: the exit object is to be answered. */
export type ReadExit = Extract<VcpuExit, { kind: 'pio-read' | 'mmio-read' }>;
export interface RunOptions {
  /** Answers reads; zero without it. */
  readonly read?: (exit: ReadExit, line: string) => number | bigint;
  /** After each line. */
  readonly after?: (line: string) => void;
}
export interface Outcome {
  /** What was asked of the board: `out 80 1 ff`, `in 60 1`, `write d0000000 4 1234`, `read d0000000 4`, `event 14`. */
  readonly log: readonly string[];
  /** `done` with the value, `halt`, `shutdown`, or another exit that ends a guest. */
  readonly end: string;
}

export class EngineGuest {
  readonly vm: EngineVm;
  readonly vcpus: readonly Vcpu[];
  readonly engine: EngineUnderTest;

  constructor(engine: EngineUnderTest, vcpus = 1) {
    this.engine = engine;
    this.vm = engine.createVm({ memorySize: MemorySize, vcpus });
    this.vcpus = Array.from({ length: vcpus }, (_, id) => this.vm.createVcpu(id));
    this.#writeTables();
    this.code(At.End, (a) => done(a));
  }

  get vcpu(): Vcpu {
    return this.vcpus[0]!;
  }

  /** Loads a program and a state to run it with: 64-bit code at CPL 0, interrupts off. */
  start(build: (a: Assembler) => void): Assembler {
    const program = this.code(At.Code, build);
    this.#reset ??= structuredClone(this.vcpu.state());
    const state = structuredClone(this.#reset);
    state.mpState satisfies string;
    const { regs, sregs } = state;
    Object.assign(sregs, { cr0: 0x8001_0031n, cr3: BigInt(At.PageTables), cr4: 0x6a0n, efer: 0xd00n });
    sregs.cs = segment(Code64, 0xb, true);
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) sregs[name] = segment(Data64, 3, false);
    sregs.gdt = { base: BigInt(At.Gdt), limit: 0x2f };
    sregs.idt = { base: BigInt(At.Idt), limit: 0xfff };
    sregs.tr = {
      ...segment(TssSelector, 0xb, false),
      base: BigInt(At.Tss),
      limit: 0x67,
      s: false,
      g: false,
      db: false,
    };
    Object.assign(regs, { rip: BigInt(At.Code), rsp: BigInt(At.Stack), rflags: 2n });
    this.vcpu.setState(state);
    return program;
  }
  #reset: VcpuState | undefined;

  code(address: number, build: (a: Assembler) => void, bits: 16 | 64 = 64): Assembler {
    const a = new Assembler({ origin: address, bits });
    build(a);
    this.write(address, a.finish());
    return a;
  }

  write(address: number, data: Uint8Array): void {
    if (!this.vm.memory.write(gpa(address), data)) throw new Error(`no memory at ${address.toString(16)}`);
  }
  write64(address: number, value: bigint): void {
    this.vm.memory.writeU64(gpa(address), value);
  }
  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (!this.vm.memory.read(gpa(address), bytes)) throw new Error(`no memory at ${address.toString(16)}`);
    return bytes;
  }
  /** A 64-bit word that the guest left. */
  result(index = 0): bigint {
    return this.vm.memory.readU64(gpa(At.Results + index * 8)) ?? -1n;
  }
  update(change: (state: VcpuState) => void): void {
    const state = this.vcpu.state();
    change(state);
    this.vcpu.setState(state);
  }

  /** Sends the guest to its end, from wherever it is. */
  giveUp(): void {
    this.update(({ regs }) => void (regs.rip = BigInt(At.End)));
  }

  /** One `run()` of a vCPU. An engine in which halts happen inside comes back from a longer one with `halt` too. */
  runOnce(vcpu = this.vcpu): VcpuExit {
    if (!this.vm.haltsInRun) return vcpu.run();
    const { clock } = this.engine;
    // Twice: a busy host may have kept the first turn from beginning
    let exit = vcpu.run(clock.now() + Slice);
    if (exit.kind === 'interrupted' && !vcpu.runnable) exit = vcpu.run(clock.now() + Slice);
    return exit.kind === 'interrupted' && !vcpu.runnable ? { kind: 'halt' } : exit;
  }

  /** Runs the first vCPU until the guest ends. */
  run(options: RunOptions = {}): Outcome {
    const log: string[] = [];
    const limit = this.vm.haltsInRun ? this.engine.clock.now() + Patience : Infinity;
    for (let runs = 0; runs < MaximumRuns && this.engine.clock.now() < limit; runs++) {
      const exit = this.runOnce();
      if (exit.kind === 'interrupted') continue;
      if (exit.kind === 'pio-write' && exit.port === Port.Done) return { log, end: `done ${hex(exit.value)}` };
      const line = describe(exit);
      if (line === undefined) return { log, end: exit.kind };
      log.push(line);
      if (exit.kind === 'pio-read') exit.value = Number(options.read?.(exit, line) ?? 0);
      if (exit.kind === 'mmio-read') exit.value = BigInt(options.read?.(exit, line) ?? 0);
      options.after?.(line);
    }
    const { rip } = this.vcpu.state().regs;
    return { log, end: `hangs at ${rip.toString(16)}` };
  }

  /** The same, letting time pass while the guest waits for a timer. */
  runPastHalts(): Outcome {
    const log: string[] = [];
    const start = this.engine.clock.now();
    while (this.engine.clock.now() - start < Patience) {
      const outcome = this.run();
      log.push(...outcome.log);
      if (outcome.end !== 'halt') return { log, end: outcome.end };
      const deadline = this.vm.nextDeadline();
      if (deadline === Infinity) continue; // an engine that has its timers, and halts, inside run()
      this.engine.advance(deadline - this.engine.clock.now());
      this.vm.fireTimers();
    }
    return { log, end: 'never wakes up' };
  }

  // Tables

  /** Address of the page-table entry of a 4 KiB page in the first 2 MiB; of larger pages elsewhere. */
  entryOf(linear: number): number {
    return At.PageTables + 0x5000 + (linear >>> 12) * 8;
  }

  /**
   * One to one: the first 2 MiB in 4 KiB pages, the rest of the first GiB, 3 to 4 GiB and the first GiB after 4 GiB in
   * 2 MiB pages.
   */
  #writeTables(): void {
    const [pml4, pointers, low, high, above, pages] = [0, 1, 2, 3, 4, 5].map((i) => At.PageTables + i * 0x1000) as [
      number, number, number, number, number, number,
    ]; // prettier-ignore
    this.write(At.PageTables, new Uint8Array(0x6000));
    this.write64(pml4, BigInt(pointers) | 7n);
    for (const [index, table, start] of [
      [0, low, 0],
      [3, high, 3],
      [4, above, 4],
    ] as const) {
      this.write64(pointers + index * 8, BigInt(table) | 7n);
      for (let i = 0; i < 512; i++) this.write64(table + i * 8, (BigInt(start) << 30n) | (BigInt(i) << 21n) | 0x87n);
    }
    this.write64(low, BigInt(pages) | 7n);
    for (let i = 0; i < 512; i++) this.write64(pages + i * 8, (BigInt(i) << 12n) | 7n);
    this.write64(At.Gdt + Code64, 0x00af_9b00_0000_ffffn);
    this.write64(At.Gdt + Data64, 0x00cf_9300_0000_ffffn);
    this.write64(At.Gdt + TssSelector, 0x0000_8b00_3000_0067n);
    this.write64(At.Gdt + TssSelector + 8, 0n);
    this.write64(At.Tss + 0x24, BigInt(At.EventStack));
    for (let vector = 0; vector < 256; vector++) this.#stub(vector);
  }

  /** Reports the vector, drops the error code, returns. */
  #stub(vector: number): void {
    const address = At.Stubs + vector * StubBytes;
    this.code(address, (a) => {
      if (vector >= FirstInterrupt) leaveHalt(a);
      a.db(0x50, 0xb0, vector).out(Port.Event, al).db(0x58); // push rax; mov al, vector; out; pop rax
      if (VectorsWithErrorCode.includes(vector)) a.db(0x48, 0x83, 0xc4, 8); // add rsp, 8
      a.iret();
    });
    this.setGate(vector, address);
  }

  /** An interrupt gate, with `stack` an interrupt-stack-table entry. */
  setGate(vector: number, address: number, stack = 0): void {
    const low = BigInt(address & 0xffff) | (BigInt(address >>> 16) << 48n);
    this.write64(At.Idt + vector * 16, low | (BigInt(Code64) << 16n) | (BigInt(stack) << 32n) | 0x8e00_0000_0000n);
    this.write64(At.Idt + vector * 16 + 8, 0n);
  }
}

function segment(selector: number, type: number, long: boolean): Segment {
  return {
    base: 0n, limit: 0xffff_ffff, selector, type, present: true, dpl: 0, db: !long, s: true, l: long, g: true,
    avl: false, unusable: false,
  }; // prettier-ignore
}

export const hex = (value: number | bigint): string => value.toString(16);

/** An exit that asks something of the board, as a line; undefined for the others. */
function describe(exit: VcpuExit): string | undefined {
  switch (exit.kind) {
    case 'pio-write':
      if (exit.port === Port.Event) return `event ${exit.value}`;
      return `out ${hex(exit.port)} ${exit.size} ${hex(exit.value)}`;
    case 'pio-read':
      return `in ${hex(exit.port)} ${exit.size}`;
    case 'mmio-write':
      return `write ${hex(exit.address)} ${exit.size} ${hex(exit.value)}`;
    case 'mmio-read':
      return `read ${hex(exit.address)} ${exit.size}`;
    default:
      return undefined;
  }
}

/** Ends a guest with the value in AL. */
export const done = (a: Assembler): Assembler => a.out(Port.Done, al);

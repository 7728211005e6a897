/**
 * Tiny guests for what system code relies on: privilege, segmentation, interrupts, paging. Only the engine contract is
 * used, so that the same guests run on every engine.
 *
 * Every interrupt vector leads to a stub that reports to the host (an OUT, which leaves `run()`) and then does IRET. A
 * test looks at the frame that the processor pushed, and sends the guest on with {@link SystemGuest.resumeAt} or through
 * the stub's IRET. A guest ends with {@link finish}.
 */
import { gpa } from '@lodger/vmm/memory/address.js';
import type { Vcpu } from '@lodger/vmm/engine/engine.js';
import type { Segment, VcpuState } from '@lodger/vmm/engine/state.js';
import { type EngineMode, EngineModes, modeOfTest } from '../guest/engine-modes.ts';
import { WasmEngine, type WasmEngineVm } from '@lodger/vmm/engine/wasm/engine.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import { Assembler, type CodeBits } from '../guest/assembler.ts';
import { At, GdtLimit, MemorySize, Sel, Type, gate, standardDescriptors } from './system-layout.ts';

const Port = { Done: 0xf4, Event: 0xf5 } as const;
const StubBytes = 4;
const VectorsWithErrorCode = [8, 10, 11, 12, 13, 14, 17];
const MaximumRuns = 1000;
/** The I/O permission bit map in the TSS: all ports of the harness are allowed. */
const TssIoMap = 0x68;

export const Cr0 = { Pe: 1n, Ts: 8n, Et: 0x10n, Ne: 0x20n, Wp: 0x1_0000n, Pg: 0x8000_0000n } as const;
export const Cr4 = { De: 8n, Pse: 0x10n, Pae: 0x20n, Pge: 0x80n, Fxsr: 0x200n, Smep: 0x10_0000n } as const;
export const Efer = { Sce: 1n, Lme: 0x100n, Lma: 0x400n, Nxe: 0x800n } as const;
export const Flag = {
  Fixed: 2, Carry: 1, Zero: 0x40, Trap: 0x100, Interrupt: 0x200, Direction: 0x400, Iopl3: 0x3000, NestedTask: 0x4000,
  Resume: 0x1_0000, Virtual8086: 0x2_0000, AlignmentCheck: 0x4_0000,
} as const; // prettier-ignore

/** What the processor pushed, from the top of the handler's stack. */
export interface Frame {
  readonly kind: 'event';
  readonly vector: number;
  readonly error: number | undefined;
  readonly rip: number;
  readonly cs: number;
  readonly flags: number;
  /** Meaningful when the frame has them: a privilege change, or long mode. */
  readonly rsp: number;
  readonly ss: number;
  /** Slots above, after SS: the data segments of virtual-8086 mode. */
  readonly more: readonly number[];
}
export type Stop = Frame | { readonly kind: 'done'; readonly value: number } | { readonly kind: 'shutdown' };

/** Ends the guest: the value is AL. */
export const finish = (a: Assembler): Assembler => a.db(0xe6, Port.Done);

export class SystemGuest {
  readonly vm: WasmEngineVm;
  readonly vcpu: Vcpu;
  readonly #reset: VcpuState;
  /** Bits of the slots that the handlers' gates push. */
  frameBits: 16 | 32 | 64 = 32;

  constructor(mode: EngineMode = modeOfTest) {
    this.vm = new WasmEngine(EngineModes[mode]).createVm({
      memorySize: MemorySize,
      vcpus: 1,
      clock: new ManualClock(),
    });
    this.vcpu = this.vm.createVcpu(0);
    this.#reset = this.vcpu.state();
  }

  // Memory

  write(address: number, data: Uint8Array): void {
    if (!this.vm.memory.write(gpa(address), data)) throw new Error(`no memory at ${address.toString(16)}`);
  }
  write16(address: number, value: number): void {
    this.vm.memory.writeU16(gpa(address), value & 0xffff);
  }
  write32(address: number, value: number): void {
    this.vm.memory.writeU32(gpa(address), value >>> 0);
  }
  write64(address: number, value: bigint): void {
    this.vm.memory.writeU64(gpa(address), BigInt.asUintN(64, value));
  }
  read8(address: number): number {
    return this.vm.memory.readU8(gpa(address)) ?? -1;
  }
  read16(address: number): number {
    return this.vm.memory.readU16(gpa(address)) ?? -1;
  }
  read32(address: number): number {
    return this.vm.memory.readU32(gpa(address)) ?? -1;
  }
  read64(address: number): bigint {
    return this.vm.memory.readU64(gpa(address)) ?? -1n;
  }
  /** A 32-bit (or wider) result that the guest stored. */
  result(index: number): number {
    return this.read32(At.Results + index * 8);
  }

  /** Assembles code at `address` and loads it. */
  code(address: number, bits: CodeBits, build: (a: Assembler) => void): Assembler {
    const a = new Assembler({ origin: address, bits });
    build(a);
    this.write(address, a.finish());
    return a;
  }
  setDescriptor(selector: number, value: bigint): void {
    this.write64(At.Gdt + (selector & 0xfff8), value);
  }
  readDescriptor(selector: number): bigint {
    return this.read64(At.Gdt + (selector & 0xfff8));
  }
  setGate(vector: number, value: bigint): void {
    this.write64(At.Idt + vector * (this.frameBits === 64 ? 16 : 8), value);
  }

  // State

  get state(): VcpuState {
    return this.vcpu.state();
  }
  update(change: (state: VcpuState) => void): void {
    const state = this.vcpu.state();
    change(state);
    this.vcpu.setState(state);
  }
  resumeAt(rip: number): void {
    this.update(({ regs }) => {
      regs.rip = BigInt(rip);
    });
  }

  /** Memory cleared, standard tables, and the processor as after reset in real mode at At.Code with a stack. */
  startReal(): void {
    this.#clear();
    this.frameBits = 16;
    this.#stubs(16);
    for (let vector = 0; vector < 256; vector++) this.write32(At.Ivt + vector * 4, At.Stubs + vector * StubBytes);
    this.vcpu.setState(structuredClone(this.#reset));
    this.update(({ regs, sregs }) => {
      Object.assign(sregs.cs, { base: BigInt(At.Code), selector: At.Code >> 4 });
      regs.rip = 0n;
      regs.rsp = BigInt(At.Stack0);
    });
  }

  /** Protected mode without paging, flat segments, 32-bit handlers at CPL 0. */
  startProtected(options: { readonly cpl?: 0 | 3 } = {}): void {
    const cpl = options.cpl ?? 0;
    this.startReal();
    this.frameBits = 32;
    this.#stubs(32);
    for (let vector = 0; vector < 256; vector++) {
      this.setGate(vector, gate(Type.Interrupt32, Sel.Code32, At.Stubs + vector * StubBytes));
    }
    this.#writeTss32();
    this.update(({ regs, sregs }) => {
      sregs.cr0 = Cr0.Pe | Cr0.Et | Cr0.Ne;
      this.#tables(sregs, 8);
      sregs.cs = this.segmentOf(cpl ? Sel.UserCode32 : Sel.Code32);
      for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const) {
        sregs[name] = this.segmentOf(cpl ? Sel.UserData32 : Sel.Data32);
      }
      regs.rip = BigInt(cpl ? At.UserCode : At.Code);
      regs.rsp = BigInt(cpl ? At.Stack3 : At.Stack0);
    });
  }

  /** 64-bit mode: the first 16 MiB mapped one to one with 2 MiB user pages, handlers at CPL 0. */
  startLong(options: { readonly cpl?: 0 | 3 } = {}): void {
    this.startProtected(options);
    const cpl = options.cpl ?? 0;
    this.frameBits = 64;
    this.#stubs(64);
    for (let vector = 0; vector < 256; vector++) {
      this.setGate(vector, gate(Type.Interrupt32, Sel.Code64, At.Stubs + vector * StubBytes));
      this.write64(At.Idt + vector * 16 + 8, 0n);
    }
    this.write(At.Tss, new Uint8Array(TssIoMap));
    this.write64(At.Tss + 4, BigInt(At.Stack0));
    this.write16(At.Tss + 0x66, TssIoMap);
    this.write64(At.Gdt + Sel.Tss + 8, 0n);
    this.mapLong();
    this.update(({ regs, sregs }) => {
      sregs.cr0 = Cr0.Pe | Cr0.Et | Cr0.Ne | Cr0.Wp | Cr0.Pg;
      sregs.cr3 = BigInt(At.PageTables);
      sregs.cr4 = Cr4.Pae | Cr4.Fxsr;
      sregs.efer = Efer.Sce | Efer.Lme | Efer.Lma | Efer.Nxe;
      this.#tables(sregs, 16);
      sregs.cs = this.segmentOf(cpl ? Sel.UserCode64 : Sel.Code64);
      regs.rsp = BigInt(cpl ? At.Stack3 : At.Stack0);
    });
  }

  /** PML4, page-directory pointers and one page directory of 2 MiB pages at At.PageTables. */
  mapLong(): void {
    const [pml4, pointers, directory] = [At.PageTables, At.PageTables + 0x1000, At.PageTables + 0x2000];
    this.write64(pml4, BigInt(pointers) | 7n);
    this.write64(pointers, BigInt(directory) | 7n);
    for (let i = 0; i < MemorySize >> 21; i++) this.write64(directory + i * 8, BigInt(i << 21) | 0x87n);
  }

  /** The register cache of a GDT selector. */
  segmentOf(selector: number): Segment {
    const raw = this.readDescriptor(selector);
    const low = Number(raw & 0xffff_ffffn);
    const high = Number(raw >> 32n);
    const limit = (high & 0xf_0000) | (low & 0xffff);
    const bit = (n: number): boolean => ((high >>> n) & 1) !== 0;
    return {
      selector,
      base: BigInt(((high & 0xff00_0000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0),
      limit: bit(23) ? ((limit << 12) | 0xfff) >>> 0 : limit,
      type: ((high >>> 8) & 0xf) | (bit(12) ? 1 : 0),
      s: bit(12),
      dpl: (high >>> 13) & 3,
      present: bit(15),
      avl: bit(20),
      l: bit(21),
      db: bit(22),
      g: bit(23),
      unusable: false,
    };
  }

  #clear(): void {
    this.write(0, new Uint8Array(0xa_0000));
    this.write(At.Spare, new Uint8Array(0x40_0000));
    for (const [selector, value] of standardDescriptors) this.setDescriptor(selector, value);
  }

  /** OUT Event, AL; IRET of the handlers' size. */
  #stubs(bits: 16 | 32 | 64): void {
    const stub = [0xe6, Port.Event, ...(bits === 64 ? [0x48, 0xcf] : [0xcf, 0x90])];
    this.write(At.Stubs, Uint8Array.from(Array.from({ length: 256 }, () => stub).flat()));
  }

  #writeTss32(): void {
    this.write32(At.Tss + 4, At.Stack0);
    this.write32(At.Tss + 8, Sel.Data32);
    this.write32(At.Tss + 12, At.Stack1);
    this.write32(At.Tss + 16, Sel.Data32Ring1);
    this.write16(At.Tss + 0x66, TssIoMap);
  }

  #tables(sregs: VcpuState['sregs'], gateBytes: number): void {
    sregs.gdt = { base: BigInt(At.Gdt), limit: GdtLimit };
    sregs.idt = { base: BigInt(At.Idt), limit: 256 * gateBytes - 1 };
    this.setDescriptor(Sel.Tss, (standardDescriptors.find(([s]) => s === Sel.Tss)?.[1] ?? 0n) | (2n << 40n));
    sregs.tr = this.segmentOf(Sel.Tss);
    sregs.ldt = { ...this.segmentOf(Sel.Ldt), selector: 0, unusable: true };
  }

  // Running

  /** Runs to the next event, the end or a shutdown. */
  run(): Stop {
    for (let i = 0; i < MaximumRuns; i++) {
      const exit = this.vcpu.run();
      if (exit.kind === 'shutdown') return { kind: 'shutdown' };
      if (exit.kind === 'pio-write' && exit.port === Port.Done) return { kind: 'done', value: exit.value };
      if (exit.kind === 'pio-write' && exit.port === Port.Event) return this.#frame();
      if (exit.kind !== 'interrupted') {
        const { rip } = this.state.regs;
        throw new Error(`the guest left run() at RIP ${rip.toString(16)}: ${JSON.stringify(exit, bigintText)}`);
      }
    }
    throw new Error(`the guest hangs at RIP ${this.state.regs.rip.toString(16)}`);
  }

  #frame(): Frame {
    const { regs, sregs } = this.state;
    const bytes = this.frameBits / 8;
    const vector = Math.floor((Number(sregs.cs.base) + Number(regs.rip) - At.Stubs) / StubBytes);
    const top = Number(sregs.ss.base + (this.frameBits === 16 ? regs.rsp & 0xffffn : regs.rsp));
    const hasError = this.frameBits !== 16 && VectorsWithErrorCode.includes(vector);
    const slot = (index: number): number => {
      const at = top + (index + (hasError ? 1 : 0)) * bytes;
      return bytes === 2 ? this.read16(at) : bytes === 4 ? this.read32(at) : Number(this.read64(at));
    };
    return {
      kind: 'event',
      vector,
      error: hasError ? slot(-1) : undefined,
      rip: slot(0),
      cs: slot(1),
      flags: slot(2),
      rsp: slot(3),
      ss: slot(4),
      more: [5, 6, 7, 8].map(slot),
    };
  }
}

const bigintText = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString(16) : value);

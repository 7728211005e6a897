/** For tests: a VM whose guest executes CPUID, on this host's /dev/kvm. */
import type { CpuidResult } from '@lodger/vmm/x86/cpu-features.js';
import { RunOffset } from '../../api/run-layout.ts';
import { KvmExit } from '../../api/exits.ts';
import { UserspaceMemoryRegion } from '../../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../../api/requests.ts';
import { MpState, Regs, Sregs } from '../../api/state-layouts.ts';
import { MapFlag, Prot, mmap, munmap, viewOf } from '../../linux/libc.ts';
import { KvmSystem } from '../../system.ts';
import { type KvmCpus, configureCpus } from '../configure.ts';
import type { KvmCpuOptions } from '../options.ts';
import { closeSync } from 'node:fs';

/** Why there are no tests with /dev/kvm, or undefined. */
export function kvmUnusable(): string | undefined {
  try {
    const system = KvmSystem.open();
    try {
      closeSync(system.createVm());
    } finally {
      system.close();
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const MemorySize = 0x1_0000;
/** KVM_MP_STATE_RUNNABLE. */
const Runnable = 0;
const Code = 0x1000;
const Table = 0x2000;
/** A question and its answer: EAX and ECX, then EAX to EDX. */
const RowSize = 24;

// prettier-ignore
const program = [
  0x66, 0x8b, 0x04,             // 0:  mov eax, [si]
  0x66, 0x8b, 0x4c, 0x04,       //     mov ecx, [si+4]
  0x0f, 0xa2,                   //     cpuid
  0x66, 0x89, 0x44, 0x08,       //     mov [si+8], eax
  0x66, 0x89, 0x5c, 0x0c,       //     mov [si+12], ebx
  0x66, 0x89, 0x4c, 0x10,       //     mov [si+16], ecx
  0x66, 0x89, 0x54, 0x14,       //     mov [si+20], edx
  0x83, 0xc6, RowSize,          //     add si, 24
  0x4d,                         //     dec bp
  0x75, 0xe1,                   //     jnz 0
  0xe6, 0x80,                   //     out 0x80, al
];

export type Question = readonly [leaf: number, subleaf: number];

/** A VM with `vcpus` processors as `options` say; vCPU files are open until it is closed. */
export class CpuidGuest {
  readonly system = KvmSystem.open();
  readonly cpus: KvmCpus;
  readonly vcpus: number[] = [];
  readonly #vm: number;
  readonly #memory: bigint;

  constructor(vcpus: number, options: KvmCpuOptions) {
    this.#vm = this.system.createVm();
    this.#memory = mmap(MemorySize, Prot.ReadWrite, MapFlag.Private | MapFlag.Anonymous);
    try {
      const region = { memory_size: BigInt(MemorySize), userspace_addr: this.#memory };
      kvmIoctl(this.#vm, KvmRequest.SetUserMemoryRegion, UserspaceMemoryRegion.create(region));
      kvmIoctl(this.#vm, KvmRequest.CreateIrqchip);
      this.cpus = configureCpus(this.system, this.#vm, vcpus, options);
      for (let id = 0; id < vcpus; id++) {
        this.vcpus.push(kvmIoctl(this.#vm, KvmRequest.CreateVcpu, id));
        this.cpus.configureVcpu(this.vcpus[id]!, id);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What the guest gets when processor `id` executes CPUID. */
  ask(id: number, questions: readonly Question[]): CpuidResult[] {
    const most = Math.floor((MemorySize - Table) / RowSize);
    const answers: CpuidResult[] = [];
    for (let at = 0; at < questions.length; at += most) answers.push(...this.#run(id, questions.slice(at, at + most)));
    return answers;
  }

  #run(id: number, questions: readonly Question[]): CpuidResult[] {
    const fd = this.vcpus[id]!;
    const memory = new Uint8Array(viewOf(this.#memory, MemorySize));
    const view = new DataView(memory.buffer);
    memory.set(program, Code);
    questions.forEach(([leaf, subleaf], i) => {
      view.setUint32(Table + i * RowSize, leaf, true);
      view.setUint32(Table + i * RowSize + 4, subleaf, true);
    });
    const sregs = Sregs.create();
    kvmIoctl(fd, KvmRequest.GetSregs, sregs);
    const { cs, ...others } = Sregs.decode(sregs);
    const realMode = { ...others, cs: { ...cs, base: 0n, selector: 0 } };
    kvmIoctl(fd, KvmRequest.SetSregs, Sregs.create(realMode));
    const registers = { rip: BigInt(Code), rsi: BigInt(Table), rbp: BigInt(questions.length), rflags: 2n };
    // All but the first processor wait for a start-up IPI
    kvmIoctl(fd, KvmRequest.SetMpState, MpState.create({ mp_state: Runnable }));
    kvmIoctl(fd, KvmRequest.SetRegs, Regs.create(registers));
    this.#enter(fd);
    return questions.map((_, i) => {
      const [eax, ebx, ecx, edx] = [8, 12, 16, 20].map((at) => view.getUint32(Table + i * RowSize + at, true));
      return { eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! };
    });
  }

  /** Runs until the guest writes to a port, and lets it complete that. */
  #enter(fd: number): void {
    const size = this.system.vcpuMapSize;
    const mapping = mmap(size, Prot.ReadWrite, MapFlag.Shared, fd);
    try {
      const run = new DataView(viewOf(mapping, size));
      kvmIoctl(fd, KvmRequest.Run);
      const reason = run.getUint32(RunOffset.ExitReason, true);
      if (reason !== KvmExit.Io) throw new Error(`the guest left KVM_RUN with exit reason ${reason}`);
    } finally {
      munmap(mapping, size);
    }
  }

  close(): void {
    for (const fd of this.vcpus) closeSync(fd);
    closeSync(this.#vm);
    munmap(this.#memory, MemorySize);
    this.system.close();
  }
}

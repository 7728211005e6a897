/**
 * The silicon side of the oracle: one VM with one vCPU under /dev/kvm, without interrupt controllers.
 *
 * Left out: everything that the harness guest does not need (exits other than port writes end the run).
 */
import { closeSync, openSync } from 'node:fs';
import type { GeneralRegisters, VcpuState } from '@lodger/vmm/engine/state.js';
import type { OracleTarget } from './target.ts';
import {
  encodeMemoryRegion,
  encodeRegs,
  encodeSregs,
  encodeXcr0,
  IoDirectionOut,
  KvmExit,
  KvmRequest,
  KvmRun,
} from './kvm-layout.ts';

type Ioctl = (fd: number, request: number, argument: Uint8Array | bigint) => number;

interface Host {
  readonly ioctl: Ioctl;
  /** Maps memory: private anonymous when `fd` is -1, else the file's, shared. */
  mmap(size: number, fd: number): { address: bigint; bytes: Uint8Array };
  munmap(address: bigint, size: number): void;
}

const ProtReadWrite = 3;
const MapShared = 1;
const MapPrivateAnonymous = 0x22;

async function loadHost(): Promise<Host> {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load('libc.so.6');
  const ioctlPointer = libc.func('int ioctl(int fd, unsigned long request, void *argument)');
  const ioctlNumber = libc.func('int ioctl(int fd, unsigned long request, uint64_t argument)');
  const mmap = libc.func('void *mmap(void *address, size_t length, int prot, int flags, int fd, int64_t offset)');
  const munmap = libc.func('int munmap(void *address, size_t length)');
  return {
    ioctl(fd, request, argument) {
      const call = typeof argument === 'bigint' ? ioctlNumber : ioctlPointer;
      const result = call(fd, request, argument) as number;
      if (result < 0) throw new Error(`KVM request ${request.toString(16)} failed: errno ${koffi.errno()}`);
      return result;
    },
    mmap(size, fd) {
      const flags = fd < 0 ? MapPrivateAnonymous : MapShared;
      const pointer: unknown = mmap(null, size, ProtReadWrite, flags, fd, 0);
      const address = koffi.address(pointer);
      if (BigInt.asIntN(64, address) === -1n) throw new Error(`mmap failed: errno ${koffi.errno()}`);
      return { address, bytes: new Uint8Array(koffi.view(pointer, size)) };
    },
    munmap(address, size) {
      munmap(address, size);
    },
  };
}

/** True when /dev/kvm can be opened and koffi is installed. */
export async function kvmAvailable(): Promise<boolean> {
  try {
    closeSync(openSync('/dev/kvm', 'r+'));
    await import('koffi');
    return true;
  } catch {
    return false;
  }
}

export class KvmTarget implements OracleTarget {
  readonly name = 'silicon';
  readonly #host: Host;
  readonly #files: number[] = [];
  readonly #mappings: { address: bigint; size: number }[] = [];
  readonly #memory: Uint8Array;
  readonly #run: DataView;
  readonly #vcpu: number;

  private constructor(host: Host, memorySize: number) {
    this.#host = host;
    const system = this.#own(openSync('/dev/kvm', 'r+'));
    const vm = this.#own(host.ioctl(system, KvmRequest.CreateVm, 0n));
    const memory = this.#map(memorySize, -1);
    this.#memory = memory.bytes;
    const region = encodeMemoryRegion(0, 0n, BigInt(memorySize), memory.address);
    host.ioctl(vm, KvmRequest.SetUserMemoryRegion, region);
    this.#vcpu = this.#own(host.ioctl(vm, KvmRequest.CreateVcpu, 0n));
    const run = this.#map(host.ioctl(system, KvmRequest.GetVcpuMmapSize, 0n), this.#vcpu);
    this.#run = new DataView(run.bytes.buffer);
    this.#copyCpuid(system);
  }

  static async create(memorySize: number): Promise<KvmTarget> {
    return new KvmTarget(await loadHost(), memorySize);
  }

  #own(file: number): number {
    this.#files.push(file);
    return file;
  }

  #map(size: number, fd: number): { address: bigint; bytes: Uint8Array } {
    const mapping = this.#host.mmap(size, fd);
    this.#mappings.push({ address: mapping.address, size });
    return mapping;
  }

  /** The guest gets every feature of the host: the generator decides what is tested. */
  #copyCpuid(system: number): void {
    const entries = 256;
    const cpuid = new Uint8Array(8 + entries * 40);
    new DataView(cpuid.buffer).setUint32(0, entries, true);
    this.#host.ioctl(system, KvmRequest.GetSupportedCpuid, cpuid);
    this.#host.ioctl(this.#vcpu, KvmRequest.SetCpuid2, cpuid);
  }

  write(address: number, bytes: Uint8Array): void {
    this.#memory.set(bytes, address);
  }

  read(address: number, bytes: Uint8Array): void {
    bytes.set(this.#memory.subarray(address, address + bytes.length));
  }

  start(state: VcpuState): void {
    this.#host.ioctl(this.#vcpu, KvmRequest.SetSregs, encodeSregs(state.sregs));
    this.#host.ioctl(this.#vcpu, KvmRequest.SetXcrs, encodeXcr0(state.xcr0));
    this.#host.ioctl(this.#vcpu, KvmRequest.SetRegs, encodeRegs(state.regs));
  }

  runUntilPortWrite(): number {
    this.#host.ioctl(this.#vcpu, KvmRequest.Run, 0n);
    const reason = this.#run.getUint32(KvmRun.ExitReason, true);
    if (reason === KvmExit.Io && this.#run.getUint8(KvmRun.IoDirection) === IoDirectionOut) {
      return this.#run.getUint16(KvmRun.IoPort, true);
    }
    const detail = this.#run.getUint32(KvmRun.FailureReason, true);
    throw new Error(`the harness guest left KVM_RUN with exit reason ${reason} (detail ${detail})\n${this.#dump()}`);
  }

  /** General registers for error messages. */
  #dump(): string {
    const regs = new Uint8Array(144);
    this.#host.ioctl(this.#vcpu, KvmRequest.GetRegs, regs);
    const names: (keyof GeneralRegisters)[] = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'];
    const view = new DataView(regs.buffer);
    const low = names.map((name, index) => `${name}=${view.getBigUint64(index * 8, true).toString(16)}`);
    return `${low.join(' ')} rip=${view.getBigUint64(128, true).toString(16)}`;
  }

  close(): void {
    for (const { address, size } of this.#mappings) this.#host.munmap(address, size);
    for (const file of this.#files.reverse()) closeSync(file);
  }
}

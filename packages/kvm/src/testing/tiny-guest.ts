/**
 * A VM with one vCPU in flat 32-bit protected mode without paging and without interrupt controllers, on nothing but the
 * API: for tests of what lies below the engine.
 */
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmExit } from '../api/exits.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { RunOffset } from '../api/run-layout.ts';
import { Regs, Sregs } from '../api/state-layouts.ts';
import { viewOfBytes } from '../api/struct.ts';
import { KvmGuestMemory } from '../guest-memory.ts';
import { allocateRam, releaseRam, type SharedKvmMemory } from '../host-memory.ts';
import { close, MapFlag, mmap, munmap, Prot, viewOf } from '../linux/libc.ts';
import { MemorySlots } from '../memory-slots.ts';
import { KvmSystem } from '../system.ts';

/** Why tests that need /dev/kvm are skipped, or false. */
export function noKvm(): string | false {
  try {
    KvmSystem.open().close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

const CodeAt = 0x1000;
/** Below 4 GiB, where neither RAM nor a device is: for Intel processors without unrestricted guests. */
const RealModePages = { IdentityMap: 0xfeff_c000, Tss: 0xfeff_d000 } as const;
const ProtectedMode = 1n;
const AlwaysSet = 2n;

const flat = {
  base: 0n,
  limit: 0xffff_ffff,
  present: 1,
  dpl: 0,
  db: 1,
  s: 1,
  l: 0,
  g: 1,
  avl: 0,
  unusable: 0,
  padding: 0,
};
const code = { ...flat, selector: 8, type: 0xb };
const data = { ...flat, selector: 16, type: 0x3 };

export interface TinyGuestOptions {
  /** Runs before the vCPU is made. */
  readonly beforeVcpu?: (vm: number, memory: SharedKvmMemory) => void;
}

export class TinyGuest {
  readonly system = KvmSystem.open();
  readonly vm: number;
  readonly vcpu: number;
  readonly memory: KvmGuestMemory;
  readonly slots: MemorySlots;
  readonly run: DataView;
  readonly #runAddress: bigint;

  constructor(memorySize: number, { beforeVcpu }: TinyGuestOptions = {}) {
    this.vm = this.system.createVm();
    this.memory = new KvmGuestMemory(allocateRam(memorySize));
    this.slots = new MemorySlots(this.vm, this.memory);
    const identityMap = new Uint8Array(BigUint64Array.of(BigInt(RealModePages.IdentityMap)).buffer);
    kvmIoctl(this.vm, KvmRequest.SetIdentityMapAddr, identityMap);
    kvmIoctl(this.vm, KvmRequest.SetTssAddr, RealModePages.Tss);
    beforeVcpu?.(this.vm, this.memory.shared);
    this.vcpu = kvmIoctl(this.vm, KvmRequest.CreateVcpu, 0);
    this.#runAddress = mmap(this.system.vcpuMapSize, Prot.ReadWrite, MapFlag.Shared, this.vcpu);
    this.run = new DataView(viewOf(this.#runAddress, this.system.vcpuMapSize));
  }

  /** Lets the guest run this code from its start on. */
  load(bytes: readonly number[]): void {
    this.memory.write(gpa(CodeAt), Uint8Array.from(bytes));
    const sregs = Sregs.create();
    kvmIoctl(this.vcpu, KvmRequest.GetSregs, sregs);
    const cr0 = viewOfBytes(sregs).getBigUint64(Sregs.offset.cr0, true) | ProtectedMode;
    Sregs.update(viewOfBytes(sregs), { cs: code, ds: data, es: data, fs: data, gs: data, ss: data, cr0 });
    kvmIoctl(this.vcpu, KvmRequest.SetSregs, sregs);
    kvmIoctl(this.vcpu, KvmRequest.SetRegs, Regs.create({ rip: BigInt(CodeAt), rflags: AlwaysSet }));
  }

  /** KVM_RUN until it comes back: the exit reason. */
  step(): number {
    kvmIoctl(this.vcpu, KvmRequest.Run);
    return this.run.getUint32(RunOffset.ExitReason, true);
  }

  /** Runs code that ends in HLT; `onExit` sees the exits before that. */
  runToHalt(bytes: readonly number[], onExit: (reason: number) => void = unexpected): void {
    this.load(bytes);
    for (let reason = this.step(); reason !== KvmExit.Hlt; reason = this.step()) onExit(reason);
  }

  [Symbol.dispose](): void {
    munmap(this.#runAddress, this.system.vcpuMapSize);
    close(this.vcpu);
    close(this.vm);
    this.slots.release();
    releaseRam(this.memory.shared);
    this.system.close();
  }
}

function unexpected(reason: number): never {
  throw new Error(`the guest left KVM_RUN with exit reason ${reason}`);
}

function dword(value: number): number[] {
  return [...new Uint8Array(Uint32Array.of(value).buffer)];
}

/** Code of tiny guests. */
export const Code = {
  /** mov byte [address], value */
  store: (address: number, value: number): number[] => [0xc6, 0x05, ...dword(address), value],
  /** mov al, [address] */
  load: (address: number): number[] => [0xa0, ...dword(address)],
  /**
   * Counts up one byte in each of `count` pages from `address` on, and writes port 0x80 after each:
   * mov ebx, address; mov ecx, count; 1: inc byte [ebx]; add ebx, 4096; out 0x80, al; loop 1b.
   */
  // prettier-ignore
  touchPages: (address: number, count: number): number[] => [
    0xbb, ...dword(address), 0xb9, ...dword(count), 0xfe, 0x03, 0x81, 0xc3, ...dword(0x1000), 0xe6, 0x80, 0xe2, 0xf4,
  ],
  halt: [0xf4],
} as const;

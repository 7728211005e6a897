/** Steal time: how long a vCPU was ready and did not run (Linux Documentation/virt/kvm/x86/msr.rst, "MSR_KVM_STEAL_TIME"). */
import { gpa } from '../../../memory/address.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { guestAddress, writeVersioned } from './sequence.ts';

/** struct kvm_steal_time: the version comes after what it guards. */
const Structure = { Steal: 0, Version: 8, Preempted: 16, Size: 64 } as const;
const Enable = 1n;
/** Bits 5 to 1 of the MSR. */
const Reserved = 0x3en;
const Preempted = 1;

export class StealTime {
  readonly #memory: GuestMemory;
  readonly #values: bigint[];
  /** Nanoseconds that are not written yet. */
  readonly #owed: number[];
  readonly #preempted: boolean[];

  constructor(memory: GuestMemory, vcpus: number) {
    this.#memory = memory;
    this.#values = Array.from({ length: vcpus }, () => 0n);
    this.#owed = Array.from({ length: vcpus }, () => 0);
    this.#preempted = Array.from({ length: vcpus }, () => false);
  }

  value(vcpu: number): bigint {
    return this.#values[vcpu]!;
  }

  /** False is #GP. */
  setValue(vcpu: number, value: bigint): boolean {
    if ((value & Reserved) !== 0n) return false;
    this.#values[vcpu] = value;
    this.#owed[vcpu] = 0;
    this.#preempted[vcpu] = false;
    return true;
  }

  /** Takes a saved MSR over. The vCPU is not preempted any more. */
  restore(vcpu: number, value: bigint): void {
    if (!this.setValue(vcpu, value)) return;
    this.#preempted[vcpu] = true;
    const address = this.#address(vcpu);
    if (address !== undefined) this.#setPreempted(vcpu, address, false);
  }

  /** The vCPU runs again, after it was ready for `stolen` nanoseconds without running. */
  resume(vcpu: number, stolen: number): void {
    const address = this.#address(vcpu);
    if (address === undefined) return;
    this.#setPreempted(vcpu, address, false);
    this.#owed[vcpu]! += stolen;
    const owed = Math.floor(this.#owed[vcpu]!);
    if (owed === 0) return;
    const before = this.#memory.readU64(gpa(address + Structure.Steal));
    if (before === undefined) return;
    const body = new DataView(new ArrayBuffer(8));
    body.setBigUint64(0, BigInt.asUintN(64, before + BigInt(owed)), true);
    const bytes = new Uint8Array(body.buffer);
    if (writeVersioned(this.#memory, address, Structure.Version, Structure.Steal, bytes)) this.#owed[vcpu]! -= owed;
  }

  /** The vCPU stops running though it could go on: spinning for a lock that it holds is no use. */
  preempt(vcpu: number): void {
    const address = this.#address(vcpu);
    if (address !== undefined) this.#setPreempted(vcpu, address, true);
  }

  #setPreempted(vcpu: number, address: number, preempted: boolean): void {
    if (this.#preempted[vcpu] === preempted) return;
    this.#preempted[vcpu] = preempted;
    this.#memory.writeU8(gpa(address + Structure.Preempted), preempted ? Preempted : 0);
  }

  #address(vcpu: number): number | undefined {
    const value = this.#values[vcpu]!;
    return (value & Enable) === 0n ? undefined : guestAddress(value - Enable);
  }
}

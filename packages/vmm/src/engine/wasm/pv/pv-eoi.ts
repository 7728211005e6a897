/**
 * Paravirtual end of interrupt: a bit in guest memory by which the guest ends an interrupt without an APIC access (Linux
 * Documentation/virt/kvm/x86/msr.rst, "MSR_KVM_EOI_EN").
 *
 * The vCPU's thread offers it when it delivers an interrupt whose end needs nothing else (edge-triggered, none other in
 * service or pending), polls it before it looks at the local APIC's state again, and withdraws it when an end of
 * interrupt must be seen at once.
 */
import { gpa } from '../../../memory/address.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { guestAddress } from './sequence.ts';

const Enable = 1n;
/** Bit 1 of the MSR. */
const Reserved = 2n;
/** Bit 0 of the byte in guest memory: the guest can skip the EOI. */
const Skip = 1;

export class PvEoi {
  readonly #memory: GuestMemory;
  readonly #values: bigint[];
  readonly #offered: boolean[];

  constructor(memory: GuestMemory, vcpus: number) {
    this.#memory = memory;
    this.#values = Array.from({ length: vcpus }, () => 0n);
    this.#offered = Array.from({ length: vcpus }, () => false);
  }

  value(vcpu: number): bigint {
    return this.#values[vcpu]!;
  }

  /** False is #GP. An offer that stands must have been polled or withdrawn before. */
  setValue(vcpu: number, value: bigint): boolean {
    if ((value & Reserved) !== 0n) return false;
    this.#values[vcpu] = value;
    this.#offered[vcpu] = false;
    return true;
  }

  /** Offers the short way for the interrupt that is being delivered. */
  offer(vcpu: number): void {
    const flags = this.#read(vcpu);
    if (flags === undefined) return;
    this.#offered[vcpu] = this.#write(vcpu, flags | Skip);
  }

  /** True once, when the guest ended the interrupt the short way: the caller tells the local APIC. */
  poll(vcpu: number): boolean {
    if (!this.#offered[vcpu]) return false;
    const flags = this.#read(vcpu);
    if (flags === undefined || flags & Skip) return false;
    this.#offered[vcpu] = false;
    return true;
  }

  /** As {@link poll}; if the guest did not end the interrupt yet, it will have to the long way. */
  withdraw(vcpu: number): boolean {
    const ended = this.poll(vcpu);
    if (!ended && this.#offered[vcpu]) {
      this.#offered[vcpu] = false;
      this.#write(vcpu, (this.#read(vcpu) ?? 0) & ~Skip);
    }
    return ended;
  }

  #address(vcpu: number): number | undefined {
    const value = this.#values[vcpu]!;
    return (value & Enable) === 0n ? undefined : guestAddress(value - Enable);
  }

  #read(vcpu: number): number | undefined {
    const address = this.#address(vcpu);
    return address === undefined ? undefined : this.#memory.readU8(gpa(address));
  }

  #write(vcpu: number, flags: number): boolean {
    const address = this.#address(vcpu);
    return address !== undefined && this.#memory.writeU8(gpa(address), flags);
  }
}

/** What a vCPU needs of the interrupt controllers. */
import type { LocalApic } from './local-apic.ts';

export interface VcpuInterrupts {
  /** Takes what other threads sent. */
  receive(): void;
  /** True when the vCPU has an interrupt to take, if its RFLAGS.IF and shadow allow. */
  pendingInterrupt(vcpu: number): boolean;
  /** The vCPU takes its interrupt: answers the vector, or -1 when there is none any more. */
  acknowledge(vcpu: number): number;
  apic(vcpu: number): LocalApic;
  cr8(vcpu: number): number;
  /** False is #GP. */
  setCr8(vcpu: number, value: number): boolean;
  /** Undefined, and false, when the port or address belongs to somebody else. */
  readPort(port: number, size: 1 | 2 | 4): number | undefined;
  writePort(port: number, size: 1 | 2 | 4, value: number): boolean;
  readMmio(vcpu: number, address: number, size: 1 | 2 | 4): number | undefined;
  writeMmio(vcpu: number, address: number, size: 1 | 2 | 4, value: number): boolean;
}

/** What the oracle runs its harness guest on: the silicon (kvm-runner.ts) or an engine of Lodger (engine-runner.ts). */
import type { VcpuState } from '@lodger/vmm/engine/state.js';

export interface OracleTarget {
  readonly name: string;
  /** Copies bytes to guest-physical memory. */
  write(address: number, bytes: Uint8Array): void;
  /** Copies guest-physical memory into `bytes`. */
  read(address: number, bytes: Uint8Array): void;
  start(state: VcpuState): void;
  /** Runs the guest until it writes to a port; answers the port. Throws when the guest leaves in any other way. */
  runUntilPortWrite(): number;
  close(): void;
}

/** What rare instructions need from the engine beside the state block. */
import type { RareCpu } from './rare-cpu.ts';

export interface RareHooks {
  /** State components that XCR0 may turn on. */
  readonly xstateSupported: bigint;
  /** Drops the vCPU's cached translations; global ones only when asked. */
  flushTlb(cpu: RareCpu, includeGlobal: boolean): void;
  /** Drops cached translations of one page, global or not. */
  flushPage(cpu: RareCpu, linear: bigint): void;
  /** CR0, CR4 or EFER changed. */
  modeChanged(cpu: RareCpu): void;
  /** CR8 is the local APIC's task priority. */
  readCr8(cpu: RareCpu): number;
  writeCr8(cpu: RareCpu, value: number): void;
}

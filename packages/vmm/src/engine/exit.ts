/** Why a vCPU came back from `run()`: a discriminated union in KVM's terms (KVM API documentation, "The kvm_run structure"). */
import type { AccessSize } from '../bus/bus-device.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';

/**
 * The object that `run()` returns is reused by the next `run()` of the same vCPU: handle it before running again.
 * For reads, set `value` before the next `run()`; the instruction completes then.
 */
export type VcpuExit =
  | { readonly kind: 'pio-read'; readonly port: number; readonly size: 1 | 2 | 4; value: number }
  | { readonly kind: 'pio-write'; readonly port: number; readonly size: 1 | 2 | 4; readonly value: number }
  | { readonly kind: 'mmio-read'; readonly address: GuestPhysicalAddress; readonly size: AccessSize; value: bigint }
  | {
      readonly kind: 'mmio-write';
      readonly address: GuestPhysicalAddress;
      readonly size: AccessSize;
      readonly value: bigint;
    }
  /** HLT with nothing pending. Never seen from engines whose interrupt controller handles HLT itself. */
  | { readonly kind: 'halt' }
  /** Triple fault or an equivalent. */
  | { readonly kind: 'shutdown' }
  /** `kick()`, a used-up time slice, or an interrupt to look at: call `run()` again when nothing else is to be done. */
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'debug'; readonly reason: 'breakpoint' | 'single-step'; readonly rip: bigint }
  | { readonly kind: 'hypercall'; readonly number: bigint; readonly args: readonly bigint[]; result: bigint }
  | { readonly kind: 'failure'; readonly reason: string };

/** Debug exits: KVM API documentation 4.87 "KVM_SET_GUEST_DEBUG". */
import { MaxBreakpoints } from '@lodger/vmm/engine/engine.js';
import type { VcpuDebug } from '@lodger/vmm/engine/engine.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { GuestDebug, GuestDebugControl } from './api/layouts.ts';

/** Index of DR7 among the debug registers of the structure. */
const Dr7 = 7;
/** SDM Vol. 3B "Debug Control Register (DR7)": bit 10 is always set; G0 is bit 1, G1 bit 3 … Type 0 is execution. */
const Dr7Fixed = 1n << 10n;
const globalEnable = (index: number): bigint => 1n << BigInt(2 * index + 1);

/** struct kvm_guest_debug. */
export function guestDebug({ singleStep, breakpoints = [], int3 }: VcpuDebug): Uint8Array {
  if (breakpoints.length > MaxBreakpoints) {
    throw new HostError('InvalidArgument', `a processor has ${MaxBreakpoints} breakpoints: set fewer`);
  }
  const hardware = breakpoints.length > 0;
  const parts = [
    singleStep && GuestDebugControl.Singlestep,
    int3 && GuestDebugControl.UseSwBp,
    hardware && GuestDebugControl.UseHwBp,
  ];
  const bits = parts.reduce<number>((sum, bit) => sum | (bit || 0), 0);
  const debugreg = new Array<bigint>(Dr7 + 1).fill(0n);
  breakpoints.forEach((address, index) => {
    debugreg[index] = address;
    debugreg[Dr7]! |= globalEnable(index);
  });
  if (hardware) debugreg[Dr7]! |= Dr7Fixed;
  return GuestDebug.create({ control: bits === 0 ? 0 : bits | GuestDebugControl.Enable, arch: { debugreg } });
}

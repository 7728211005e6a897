/** A vCPU's state between KVM's structures and the engine-neutral one (packages/vmm/src/engine/state.ts). */
import type { DebugRegisters, GeneralRegisters, VcpuState } from '@lodger/vmm/engine/state.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { Debugregs, Regs, Xcrs } from '../api/state-layouts.ts';
import { readMsrs } from '../cpu/msrs.ts';
import { tscKhz } from '../cpu/tsc.ts';
import { Errno, LinuxError, tryIoctl } from '../linux/libc.ts';
import type { StateContext } from './context.ts';
import { readEvents, readMpState, writeEvents, writeMpState } from './events.ts';
import { readLapic, writeLapic } from './lapic.ts';
import { restoreMsrs, restoreTscKhz } from './msrs.ts';
import { readSregs, writeSregs } from './sregs.ts';
import { getState } from './transfer.ts';
import { readXsave, writeXsave } from './xsave.ts';

/** The vCPU must be outside KVM_RUN, its last exit completed. */
export function readVcpuState(fd: number, context: StateContext): VcpuState {
  // First: an INIT or SIPI that waits takes effect when it is asked for (KVM API documentation 4.38)
  const mpState = readMpState(fd);
  const khz = tscKhz(fd);
  return {
    version: 1,
    regs: readRegs(fd),
    sregs: readSregs(fd),
    ...readXsave(fd, context),
    debug: readDebug(fd),
    xcr0: readXcr0(fd, context),
    msrs: readMsrs(fd, context.msrs),
    events: readEvents(fd),
    mpState,
    localApic: readLapic(fd),
    ...(khz !== undefined && { tscKhz: khz }),
  };
}

/**
 * After the VM's state (kvm-clock is written to the guest by an MSR) and guest memory; CPUID must have been set.
 *
 * In an order in which each part finds what it depends on: the rate of the TSC; IA32_APIC_BASE, among the system registers,
 * before the local APIC; the local APIC's timer mode and the TSC before IA32_TSC_DEADLINE; what is on its way at the end.
 */
export function writeVcpuState(fd: number, context: StateContext, state: VcpuState): void {
  restoreTscKhz(fd, state.tscKhz, context);
  checked('the system registers', () => writeSregs(fd, state.sregs));
  kvmIoctl(fd, KvmRequest.SetRegs, Regs.create(state.regs));
  checked(`XCR0 0x${state.xcr0.toString(16)}`, () => writeXcr0(fd, context, state.xcr0));
  writeXsave(fd, context, state);
  checked('the debug registers', () => kvmIoctl(fd, KvmRequest.SetDebugregs, Debugregs.create({ ...state.debug })));
  const { localApic } = state;
  if (localApic) checked('the local APIC', () => writeLapic(fd, localApic));
  restoreMsrs(fd, state.msrs, context);
  checked('the pending events', () => writeEvents(fd, state.events, context));
  checked(`the start-up state ${state.mpState}`, () => writeMpState(fd, state.mpState));
  // Tells the guest that it stood still. EINVAL: it has no kvm-clock (KVM API documentation 4.70 "KVM_KVMCLOCK_CTRL")
  tryIoctl(fd, KvmRequest.KvmclockCtrl);
}

/** EINVAL says that the vCPU cannot be in this state. */
function checked(what: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof LinuxError) || error.errno !== Errno.EINVAL) throw error;
    throw new HostError(
      'InvalidArgument',
      `this host's KVM refuses ${what} of the saved processor: continue the machine with the CPU model and on a host ` +
        'like those that it was saved with',
      { cause: error },
    );
  }
}

function readRegs(fd: number): GeneralRegisters {
  return getState(fd, KvmRequest.GetRegs, Regs);
}

function readDebug(fd: number): DebugRegisters {
  const { db, dr6, dr7 } = getState(fd, KvmRequest.GetDebugregs, Debugregs);
  return { db: [...db] as DebugRegisters['db'], dr6, dr7 };
}

/** What XCR0, the only one there is, has after a reset. */
const InitialXcr0 = 1n;

function readXcr0(fd: number, { xcrs: present }: StateContext): bigint {
  if (!present) return InitialXcr0;
  const { nr_xcrs, xcrs } = getState(fd, KvmRequest.GetXcrs, Xcrs);
  return nr_xcrs === 0 ? InitialXcr0 : xcrs[0]!.value;
}

function writeXcr0(fd: number, { xcrs: present }: StateContext, value: bigint): void {
  if (!present && value === InitialXcr0) return;
  kvmIoctl(fd, KvmRequest.SetXcrs, Xcrs.create({ nr_xcrs: 1, xcrs: [{ xcr: 0, reserved: 0, value }] }));
}

/** What a host's KVM keeps of a vCPU beyond what every KVM does: found once a VM, plain data for every thread. */
import { KvmCapability } from '../api/capabilities.ts';
import type { KvmCapabilityName } from '../api/capabilities.ts';
import { EnableCap } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { Xsave } from '../api/state-layouts.ts';
import { supportedCpuid } from '../cpu/cpuid.ts';
import { savedMsrs } from '../cpu/msrs.ts';
import { tryIoctl } from '../linux/libc.ts';
import { findXsaveComponents } from './xsave-layout.ts';
import type { XsaveComponent } from './xsave-layout.ts';

export interface StateContext {
  /** MSRs to read, in the order to write them. */
  readonly msrs: readonly number[];
  /** Bytes that KVM_GET_XSAVE2 answers; undefined where there is only KVM_GET_XSAVE. */
  readonly xsave2Size: number | undefined;
  readonly xsaveComponents: readonly XsaveComponent[];
  /** KVM_CAP_X86_SMM: the events tell of system management mode, and can take back an INIT. */
  readonly smm: boolean;
  /** The VM has KVM_CAP_EXCEPTION_PAYLOAD: it tells what is pending from what is being delivered. */
  readonly payloads: boolean;
  /** The VM has KVM_CAP_X86_TRIPLE_FAULT_EVENT. */
  readonly tripleFaults: boolean;
  /** KVM_CAP_XCRS: the host has XSAVE. */
  readonly xcrs: boolean;
  /** KVM_CAP_TSC_CONTROL: the processor scales the TSC. */
  readonly scalesTsc: boolean;
}

const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

/**
 * State that KVM_GET_MSR_INDEX_LIST leaves out, though guests of the model `host` can write it (SDM Vol. 4 "Architectural
 * MSRs"): memory type ranges and the machine-check banks. What a KVM does not have is skipped.
 */
const UnlistedMsrs: readonly number[] = [
  ...range(0x200, 16), // MTRRphysBase0 to MTRRphysMask7
  0x250, // MTRRfix64K_00000
  ...range(0x258, 2), // MTRRfix16K_80000, MTRRfix16K_A0000
  ...range(0x268, 8), // MTRRfix4K_C0000 to MTRRfix4K_F8000
  0x2ff, // MTRRdefType
  ...range(0x400, 4 * 32), // MC0_CTL to MC31_MISC
];

/** Of an interface that no model offers; some have values by themselves, which other hosts could not take. */
const isHyperV = (index: number): boolean => index >= 0x4000_0000 && index < 0x4000_0200;

/** To be called once, before the VM has vCPUs: enables what the events need. */
export function stateContext(system: number, vm: number): StateContext {
  const capability = (name: KvmCapabilityName): number => kvmIoctl(vm, KvmRequest.CheckExtension, KvmCapability[name]);
  const xsave2 = capability('Xsave2');
  return {
    msrs: [...savedMsrs(system).filter((index) => !isHyperV(index)), ...UnlistedMsrs],
    xsave2Size: xsave2 > 0 ? Math.max(xsave2, Xsave.size) : undefined,
    xsaveComponents: findXsaveComponents(supportedCpuid(system)),
    smm: capability('X86Smm') > 0,
    payloads: enable(vm, 'ExceptionPayload'),
    tripleFaults: enable(vm, 'X86TripleFaultEvent'),
    xcrs: capability('Xcrs') > 0,
    scalesTsc: capability('TscControl') > 0,
  };
}

/** False where the host's KVM does not have it. */
function enable(vm: number, name: KvmCapabilityName): boolean {
  const request = EnableCap.create({ cap: KvmCapability[name], args: [1n] });
  return tryIoctl(vm, KvmRequest.EnableCap, request) === 0;
}

/**
 * The MSRs of a VM under KVM: which ones there are, which of them are state, and how they are read and written.
 *
 * An MSR that KVM does not know raises #GP in the guest, as on the wasm engine; nothing is handed to the VMM. What KVM has
 * beyond the portable models (MTRRs, machine checks, MISC_ENABLE, performance counters …) stays reachable for a guest that
 * accesses it without asking CPUID: KVM can't hide it.
 */
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { KvmMsr } from '@lodger/vmm/x86/kvm-interface.js';
import { Msr } from '@lodger/vmm/x86/msr.js';
import { MsrEntry, MsrList, Msrs } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { viewOfBytes } from '../api/struct.ts';
import { Errno, tryIoctl } from '../linux/libc.ts';
import { isAmd } from './cpuid.ts';

/** MSRs that are the processor's properties and not state: set once, before a vCPU runs. */
export const FeatureMsr = {
  PlatformInfo: 0xce,
  MicrocodeRevision: 0x8b,
  ArchCapabilities: 0x10a,
  PerfCapabilities: 0x345,
  VmxFirst: 0x480,
  VmxLast: 0x491,
  AmdDecodeConfig: 0xc001_1029,
} as const;

const MiscEnable = 0x1a0;
/** IA32_MISC_ENABLE: KVM shows MONITOR/MWAIT in CPUID when it is set. */
const MiscEnableMonitor = 1n << 18n;

/** KVM_GET_MSR_INDEX_LIST. */
export function msrIndexList(system: number): number[] {
  return msrList(system, KvmRequest.GetMsrIndexList);
}

/** KVM_GET_MSR_FEATURE_INDEX_LIST: those whose value on the host can be read by {@link readMsrs} of the system. */
export function featureMsrList(system: number): number[] {
  return msrList(system, KvmRequest.GetMsrFeatureIndexList);
}

function msrList(system: number, request: number): number[] {
  // Too short a list is E2BIG, with the length that is needed
  const probe = MsrList.create({ nmsrs: 0 });
  const result = tryIoctl(system, request, probe);
  if (result === 0) return [];
  if (result !== -Errno.E2BIG) kvmIoctl(system, request, probe);
  const { nmsrs } = MsrList.decode(probe);
  const buffer = MsrList.create({ nmsrs }, nmsrs);
  kvmIoctl(system, request, buffer);
  const view = viewOfBytes(buffer);
  return Array.from({ length: nmsrs }, (_, i) => view.getUint32(MsrList.offset.indices + i * 4, true));
}

/** Deprecated names of two other MSRs: what is saved once is enough. */
const Aliases: readonly number[] = [KvmMsr.OldWallClock, KvmMsr.OldSystemTime];

/** Restored after the others: TSC deadlines are compared with the TSC; enabling what others configure comes last. */
const Late: readonly number[] = [Msr.TscDeadline];
const AsyncPageFault = { Enable: 0x4b56_4d02 } as const;

/**
 * The MSRs that are a vCPU's state beside its registers, in the order to write them. KVM answers some of them only for a
 * vCPU whose CPUID has the feature, so reading skips what is refused.
 */
export function savedMsrs(system: number): readonly number[] {
  const features = new Set(featureMsrList(system));
  const isState = (index: number): boolean =>
    !features.has(index) &&
    !Aliases.includes(index) &&
    !(index >= FeatureMsr.VmxFirst && index <= FeatureMsr.VmxLast) &&
    index !== FeatureMsr.MicrocodeRevision;
  const rank = (index: number): number => (Late.includes(index) ? 2 : index === AsyncPageFault.Enable ? 1 : 0);
  return msrIndexList(system)
    .filter(isState)
    .sort((a, b) => rank(a) - rank(b) || a - b);
}

export type MsrValue = readonly [index: number, value: bigint];

/** The values of those MSRs that KVM gives: of a vCPU, or feature MSRs of the system. */
export function readMsrs(fd: number, indices: readonly number[]): MsrValue[] {
  const found: MsrValue[] = [];
  let rest = indices;
  while (rest.length > 0) {
    const buffer = encode(rest.map((index) => [index, 0n]));
    // The number of those before the first that is refused
    const count = kvmIoctl(fd, KvmRequest.GetMsrs, buffer);
    for (let i = 0; i < count; i++) {
      found.push([rest[i]!, MsrEntry.decode(buffer, Msrs.offset.entries + i * MsrEntry.size).data]);
    }
    rest = rest.slice(count + 1);
  }
  return found;
}

/** Sets MSRs of a vCPU in this order; answers those that KVM refused. */
export function writeMsrs(vcpu: number, values: readonly MsrValue[]): MsrValue[] {
  const refused: MsrValue[] = [];
  let rest = values;
  while (rest.length > 0) {
    const count = kvmIoctl(vcpu, KvmRequest.SetMsrs, encode(rest));
    if (count < rest.length) refused.push(rest[count]!);
    rest = rest.slice(count + 1);
  }
  return refused;
}

function encode(values: readonly MsrValue[]): Uint8Array {
  const buffer = Msrs.create({ nmsrs: values.length }, values.length);
  const view = viewOfBytes(buffer);
  values.forEach(([index, data], i) => {
    MsrEntry.update(view, { index, data }, Msrs.offset.entries + i * MsrEntry.size);
  });
  return buffer;
}

/** What the portable models show as their microcode: KVM's own number for an AMD guest. */
const PortableMicrocode = 0x0100_0065n;

/** The feature MSRs of a vCPU of a portable model. */
export function setPortableFeatureMsrs(vcpu: number): void {
  writeMsrs(vcpu, [[FeatureMsr.MicrocodeRevision, PortableMicrocode]]);
}

/** The feature MSRs of a vCPU of the model `host`: as the host has them, so that the guest knows the same of its flaws. */
export function setHostFeatureMsrs(system: number, vcpu: number, supported: readonly CpuidEntry[]): void {
  const wanted: number[] = [FeatureMsr.MicrocodeRevision, FeatureMsr.AmdDecodeConfig];
  if (!isAmd(supported)) wanted.push(FeatureMsr.ArchCapabilities);
  const offered = featureMsrList(system).filter((index) => wanted.includes(index));
  writeMsrs(vcpu, readMsrs(system, offered));
}

/** KVM shows MONITOR in CPUID only while this bit is set (KVM API documentation, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT). */
export function enableMonitor(vcpu: number): void {
  const [[, value] = [MiscEnable, 0n] as const] = readMsrs(vcpu, [MiscEnable]);
  writeMsrs(vcpu, [[MiscEnable, value | MiscEnableMonitor]]);
}

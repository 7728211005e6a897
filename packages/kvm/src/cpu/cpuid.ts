/** CPUID as KVM takes and gives it: struct kvm_cpuid2, and lists of entries as the CPU models have them. */
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import type { CpuFeatureName } from '@lodger/vmm/x86/cpu-features.js';
import { placeOf } from '@lodger/vmm/x86/cpu-features.js';
import { Cpuid2, CpuidEntry2, CpuidFlag } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { viewOfBytes } from '../api/struct.ts';

/** KVM_MAX_CPUID_ENTRIES: no KVM gives or takes more. */
const MaxEntries = 256;

/** KVM_GET_SUPPORTED_CPUID: every bit that the host's processor and its KVM can give a guest. */
export function supportedCpuid(system: number): CpuidEntry[] {
  return readEntries(system, KvmRequest.GetSupportedCpuid);
}

/** KVM_GET_CPUID2: what a vCPU shows now, with what KVM keeps up to date by itself. */
export function vcpuCpuid(vcpu: number): CpuidEntry[] {
  return readEntries(vcpu, KvmRequest.GetCpuid2);
}

function readEntries(fd: number, request: number): CpuidEntry[] {
  const buffer = Cpuid2.create({ nent: MaxEntries }, MaxEntries);
  kvmIoctl(fd, request, buffer);
  const { nent } = Cpuid2.decode(buffer);
  return Array.from({ length: nent }, (_, i) => {
    const entry = CpuidEntry2.decode(buffer, Cpuid2.offset.entries + i * CpuidEntry2.size);
    const indexed = (entry.flags & CpuidFlag.SignificantIndex) !== 0;
    const { eax, ebx, ecx, edx } = entry;
    return { leaf: entry.function, subleaf: indexed ? entry.index : undefined, eax, ebx, ecx, edx };
  });
}

/** KVM_SET_CPUID2. Leaves that are not listed read as zero. */
export function setCpuid(vcpu: number, entries: readonly CpuidEntry[]): void {
  const buffer = Cpuid2.create({ nent: entries.length }, entries.length);
  const view = viewOfBytes(buffer);
  entries.forEach(({ leaf, subleaf, eax, ebx, ecx, edx }, i) => {
    const flags = subleaf === undefined ? 0 : CpuidFlag.SignificantIndex;
    const entry = { function: leaf, index: subleaf ?? 0, flags, eax, ebx, ecx, edx };
    CpuidEntry2.update(view, entry, Cpuid2.offset.entries + i * CpuidEntry2.size);
  });
  kvmIoctl(vcpu, KvmRequest.SetCpuid2, buffer);
}

/** The entry that answers CPUID with this leaf and subleaf. */
export function findEntry(entries: readonly CpuidEntry[], leaf: number, subleaf = 0): CpuidEntry | undefined {
  return entries.find((entry) => entry.leaf === leaf && (entry.subleaf ?? subleaf) === subleaf);
}

export function hasFeature(entries: readonly CpuidEntry[], name: CpuFeatureName): boolean {
  const { leaf, subleaf, register, mask } = placeOf(name);
  return ((findEntry(entries, leaf, subleaf)?.[register] ?? 0) & mask) !== 0;
}

/** AMD's way of numbering caches and processors, which Hygon has too. */
export function isAmd(entries: readonly CpuidEntry[]): boolean {
  const vendors = ['AuthenticAMD', 'HygonGenuine'];
  const { ebx = 0, ecx = 0, edx = 0 } = findEntry(entries, 0) ?? {};
  return vendors.includes(String.fromCharCode(...new Uint8Array(Uint32Array.of(ebx, edx, ecx).buffer)));
}

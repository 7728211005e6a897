/** What CPUID tells the guest: everything that KVM supports here, with the vCPU's APIC ID. */
import { Cpuid2, CpuidEntry2 } from './api/layouts.ts';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import { viewOfBytes } from './api/struct.ts';

const MaximumEntries = 256;
const Leaf = { Features: 1, Topology: 0xb } as const;
const InitialApicIdShift = 24;

export function setSupportedCpuid(systemFd: number, vcpuFd: number, id: number): void {
  const table = Cpuid2.create({ nent: MaximumEntries }, MaximumEntries);
  kvmIoctl(systemFd, KvmRequest.GetSupportedCpuid, table);
  const view = viewOfBytes(table);
  for (let i = 0; i < Cpuid2.decode(table).nent; i++) {
    const at = Cpuid2.offset.entries + i * CpuidEntry2.size;
    const entry = CpuidEntry2.decode(table, at);
    const ebx = ((entry.ebx & 0x00ff_ffff) | (id << InitialApicIdShift)) >>> 0;
    if (entry.function === Leaf.Features) CpuidEntry2.update(view, { ebx }, at);
    if (entry.function === Leaf.Topology) CpuidEntry2.update(view, { edx: id }, at);
  }
  kvmIoctl(vcpuFd, KvmRequest.SetCpuid2, table);
}

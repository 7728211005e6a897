/**
 * The silicon side of the oracle: one VM with one vCPU under /dev/kvm, without interrupt controllers.
 *
 * Left out: everything that the harness guest does not need (exits other than port writes end the run).
 */
import { IoDirection, KvmExit, exitName } from '@lodger/kvm/api/exits.js';
import { CpuidEntry2, Cpuid2 } from '@lodger/kvm/api/layouts.js';
import { KvmRequest, kvmIoctl } from '@lodger/kvm/api/requests.js';
import { RunOffset } from '@lodger/kvm/api/run-layout.js';
import { Regs, Sregs, Xcrs } from '@lodger/kvm/api/state-layouts.js';
import { KvmGuestMemory } from '@lodger/kvm/guest-memory.js';
import { allocateRam, releaseRam } from '@lodger/kvm/host-memory.js';
import { MapFlag, Prot, close, mmap, munmap, viewOf } from '@lodger/kvm/linux/libc.js';
import { MemorySlots } from '@lodger/kvm/memory-slots.js';
import { KvmSystem } from '@lodger/kvm/system.js';
import type { Segment, VcpuState } from '@lodger/vmm/engine/state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import type { OracleTarget } from './target.ts';

/** True when /dev/kvm can be used. */
export async function kvmAvailable(): Promise<boolean> {
  try {
    KvmSystem.open().close();
    return true;
  } catch {
    return false;
  }
}

/** More entries than any host has. */
const CpuidEntries = 256;

/** struct kvm_segment. */
function segment(value: Segment) {
  const { present, db, s, l, g, avl, unusable } = value;
  const flags = { present: +present, db: +db, s: +s, l: +l, g: +g, avl: +avl, unusable: +unusable };
  return { ...value, ...flags, padding: 0 };
}

export class KvmTarget implements OracleTarget {
  readonly name = 'silicon';
  readonly #system = KvmSystem.open();
  readonly #vm: number;
  readonly #vcpu: number;
  readonly #memory: KvmGuestMemory;
  readonly #runAddress: bigint;
  readonly #run: DataView;

  private constructor(memorySize: number) {
    this.#vm = this.#system.createVm();
    this.#memory = new KvmGuestMemory(allocateRam(memorySize));
    new MemorySlots(this.#vm, this.#memory);
    this.#vcpu = kvmIoctl(this.#vm, KvmRequest.CreateVcpu, 0);
    const { vcpuMapSize } = this.#system;
    this.#runAddress = mmap(vcpuMapSize, Prot.ReadWrite, MapFlag.Shared, this.#vcpu);
    this.#run = new DataView(viewOf(this.#runAddress, vcpuMapSize));
    this.#copyCpuid();
  }

  static async create(memorySize: number): Promise<KvmTarget> {
    return new KvmTarget(memorySize);
  }

  /** The guest gets every feature of the host: the generator decides what is tested. */
  #copyCpuid(): void {
    const cpuid = Cpuid2.create({ nent: CpuidEntries }, CpuidEntries);
    kvmIoctl(this.#system.fd, KvmRequest.GetSupportedCpuid, cpuid);
    const { nent } = Cpuid2.decode(cpuid);
    kvmIoctl(this.#vcpu, KvmRequest.SetCpuid2, cpuid.subarray(0, Cpuid2.size + nent * CpuidEntry2.size));
  }

  write(address: number, bytes: Uint8Array): void {
    if (!this.#memory.write(gpa(address), bytes)) throw new Error(`no guest memory at ${address.toString(16)}`);
  }

  read(address: number, bytes: Uint8Array): void {
    if (!this.#memory.read(gpa(address), bytes)) throw new Error(`no guest memory at ${address.toString(16)}`);
  }

  start({ regs, sregs, xcr0 }: VcpuState): void {
    const { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, apicBase, ...control } = sregs;
    const segments = { cs, ds, es, fs, gs, ss, tr, ldt };
    const encoded = Object.fromEntries(Object.entries(segments).map(([name, value]) => [name, segment(value)]));
    const tables = { gdt: { ...gdt, padding: [] }, idt: { ...idt, padding: [] } };
    const buffer = Sregs.create({ ...encoded, ...tables, ...control, apic_base: apicBase });
    kvmIoctl(this.#vcpu, KvmRequest.SetSregs, buffer);
    const xcrs = Xcrs.create({ nr_xcrs: 1, xcrs: [{ xcr: 0, reserved: 0, value: xcr0 }] });
    kvmIoctl(this.#vcpu, KvmRequest.SetXcrs, xcrs);
    kvmIoctl(this.#vcpu, KvmRequest.SetRegs, Regs.create(regs));
  }

  runUntilPortWrite(): number {
    kvmIoctl(this.#vcpu, KvmRequest.Run);
    const reason = this.#run.getUint32(RunOffset.ExitReason, true);
    if (reason === KvmExit.Io && this.#run.getUint8(RunOffset.IoDirection) === IoDirection.Out) {
      return this.#run.getUint16(RunOffset.IoPort, true);
    }
    const detail = this.#run.getUint32(RunOffset.InternalSuberror, true);
    throw new Error(`the harness guest left KVM_RUN with ${exitName(reason)} (detail ${detail})\n${this.#dump()}`);
  }

  /** General registers for error messages. */
  #dump(): string {
    const buffer = Regs.create();
    kvmIoctl(this.#vcpu, KvmRequest.GetRegs, buffer);
    return Object.entries(Regs.decode(buffer)).map(([name, value]) => `${name}=${value.toString(16)}`).join(' '); // prettier-ignore
  }

  close(): void {
    munmap(this.#runAddress, this.#system.vcpuMapSize);
    close(this.#vcpu);
    close(this.#vm);
    releaseRam(this.#memory.shared);
    this.#system.close();
  }
}

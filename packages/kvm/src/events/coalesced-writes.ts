/**
 * Writes to ports that KVM keeps for later instead of leaving guest mode: a ring that all vCPUs of a VM share.
 *
 * KVM API documentation, 4.116 "KVM_(UN)REGISTER_COALESCED_MMIO", with KVM_CAP_COALESCED_PIO.
 */
import type { PortWrite, PostedWrites } from '@lodger/vmm/engine/posted-writes.js';
import { CoalescedMmio, CoalescedMmioRing, CoalescedMmioZone, VcpuMapPage } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';

const PageSize = 4096;
const Entry = CoalescedMmio.offset;
const Ring = CoalescedMmioRing.offset;
/** KVM_COALESCED_MMIO_MAX: entries of the ring, of which one stays empty. */
const Entries = Math.floor((PageSize - Ring.coalesced_mmio) / CoalescedMmio.size);
const WordBytes = Int32Array.BYTES_PER_ELEMENT;

export class CoalescedWrites implements PostedWrites {
  readonly #vmFd: number;
  #view: DataView | undefined;
  #words: Int32Array | undefined;

  constructor(vmFd: number) {
    this.#vmFd = vmFd;
  }

  /** The ring is a page in the mapping of any vCPU's file. */
  attach(vcpuMapping: ArrayBuffer): void {
    const offset = VcpuMapPage.CoalescedMmio * PageSize;
    this.#view ??= new DataView(vcpuMapping, offset, PageSize);
    this.#words ??= new Int32Array(vcpuMapping, offset, PageSize / WordBytes);
  }

  post(port: number, size: number): void {
    const zone = CoalescedMmioZone.create({ addr: BigInt(port), size, pio: 1 });
    kvmIoctl(this.#vmFd, KvmRequest.RegisterCoalescedMmio, zone);
  }

  /** KVM moves `last`, this side `first`; each only after it is done with the entry. */
  drain(deliver: PortWrite): void {
    if (this.#view === undefined || this.#words === undefined) return;
    const first = Ring.first / WordBytes;
    for (;;) {
      const at = Atomics.load(this.#words, first);
      if (at === Atomics.load(this.#words, Ring.last / WordBytes)) return;
      const entry = Ring.coalesced_mmio + at * CoalescedMmio.size;
      const port = this.#view.getUint32(entry + Entry.phys_addr, true);
      const size = this.#view.getUint32(entry + Entry.len, true) as 1 | 2 | 4;
      const value = valueAt(this.#view, entry + Entry.data, size);
      Atomics.store(this.#words, first, (at + 1) % Entries);
      deliver(port, size, value);
    }
  }
}

function valueAt(view: DataView, at: number, size: 1 | 2 | 4): number {
  if (size === 1) return view.getUint8(at);
  return size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

/**
 * Writes that KVM keeps for later instead of leaving guest mode: a ring that all vCPUs of a VM share.
 *
 * KVM API documentation, 4.116 "KVM_(UN)REGISTER_COALESCED_MMIO". Only for registers whose writes have no effect until
 * another access that does exit: whoever handles exits drains the ring first.
 */
import { CoalescedMmio, CoalescedMmioRing, CoalescedMmioZone } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';

const PageSize = 4096;
const Entry = CoalescedMmio.offset;
const Ring = CoalescedMmioRing.offset;
/** KVM_COALESCED_MMIO_MAX: entries of the ring, of which one stays empty. */
const Entries = Math.floor((PageSize - Ring.coalesced_mmio) / CoalescedMmio.size);

/** Makes writes to ports `start` to `start + size - 1` that lie wholly inside be kept. Needs KVM_CAP_COALESCED_PIO. */
export function coalescePorts(vm: number, start: number, size: number): void {
  const zone = new Uint8Array(CoalescedMmioZone.size);
  const view = new DataView(zone.buffer);
  view.setBigUint64(CoalescedMmioZone.offset.addr, BigInt(start), true);
  view.setUint32(CoalescedMmioZone.offset.size, size, true);
  view.setUint32(CoalescedMmioZone.offset.pio, 1, true);
  kvmIoctl(vm, KvmRequest.RegisterCoalescedMmio, zone);
}

/** A kept write to a port, at most 4 bytes. */
export type PortWrite = (port: number, size: 1 | 2 | 4, value: number) => void;

export class CoalescedWrites {
  readonly #view: DataView;
  readonly #words: Int32Array;

  /** The ring is the page at VcpuMapPage.CoalescedMmio of any vCPU's mapping. To be drained on one thread. */
  constructor(page: ArrayBuffer, offset: number) {
    this.#view = new DataView(page, offset, PageSize);
    this.#words = new Int32Array(page, offset, PageSize / Int32Array.BYTES_PER_ELEMENT);
  }

  /** Delivers what is there, in the order in which it was written. */
  drain(deliver: PortWrite): void {
    const first = Ring.first / 4;
    for (;;) {
      const at = Atomics.load(this.#words, first);
      if (at === Atomics.load(this.#words, Ring.last / 4)) return;
      const entry = Ring.coalesced_mmio + at * CoalescedMmio.size;
      const port = this.#view.getUint32(entry + Entry.phys_addr, true);
      const size = this.#view.getUint32(entry + Entry.len, true) as 1 | 2 | 4;
      const value = this.#value(entry + Entry.data, size);
      Atomics.store(this.#words, first, (at + 1) % Entries);
      deliver(port, size, value);
    }
  }

  #value(at: number, size: 1 | 2 | 4): number {
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true);
  }
}

/** Message-signalled interrupts through KVM: KVM API documentation 4.70 "KVM_SIGNAL_MSI". */
import type { MsiSink } from '@lodger/vmm/interrupts/interrupt-line.js';
import { Msi } from '../api/layouts.ts';
import { KvmRequest } from '../api/requests.ts';
import { viewOfBytes } from '../api/struct.ts';
import { tryIoctl } from '../linux/libc.ts';

/** Addresses of interrupt messages: SDM Vol. 3A "Message Address Register Format". */
const Window = { Start: 0xfee0_0000, End: 0xfef0_0000 } as const;

/** Any thread that has the VM's file descriptor can make one. */
export class KvmMessageSink implements MsiSink {
  readonly #vmFd: number;
  readonly #message = Msi.create();
  readonly #view = viewOfBytes(this.#message);

  constructor(vmFd: number) {
    this.#vmFd = vmFd;
  }

  signalMsi(address: number, data: number): void {
    this.deliver(address, data);
  }

  /** False when no local APIC took it. Messages to other addresses than those of interrupts go nowhere. */
  deliver(address: number, data: number): boolean {
    if (address < Window.Start || address >= Window.End) return false;
    this.#view.setUint32(Msi.offset.address_lo, address, true);
    this.#view.setUint32(Msi.offset.data, data, true);
    return tryIoctl(this.#vmFd, KvmRequest.SignalMsi, this.#message) > 0;
  }
}

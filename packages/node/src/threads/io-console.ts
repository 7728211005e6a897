/** The virtio console when its queues are served by an I/O worker: bytes go through two rings in shared memory. */
import { MaxPendingInput } from '@lodger/vmm/devices/virtio/console/console-port.js';
import type { ConsolePort } from '@lodger/vmm/devices/virtio/console/console-port.js';
import { ConsoleQueue, MaxChainOutput } from '@lodger/vmm/devices/virtio/console/console-queues.js';
import type { ConsoleStream } from '@lodger/vmm/devices/virtio/console/console-queues.js';
import type { Doorbell, QueueRunner } from '@lodger/vmm/devices/virtio/virtio-device.js';
import { ByteRing, createByteRing } from './byte-ring.ts';
import type { ConsoleRings } from './io-links.ts';

export function createConsoleRings(): ConsoleRings {
  return { output: createByteRing(2 * MaxChainOutput).buffer, input: createByteRing(MaxPendingInput).buffer };
}

/** The machine thread's end. */
export class RingConsolePort implements ConsolePort {
  readonly runner: QueueRunner;
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  readonly #output: ByteRing;
  readonly #input: ByteRing;

  constructor(rings: ConsoleRings, runner: QueueRunner) {
    this.runner = runner;
    this.#output = new ByteRing(rings.output);
    this.#input = new ByteRing(rings.input);
  }

  get room(): number {
    return this.#input.room;
  }

  send(bytes: Uint8Array): number {
    const taken = this.#input.write(bytes);
    if (taken > 0) this.runner.notify(ConsoleQueue.Receive);
    return taken;
  }

  poll(): void {
    for (let waiting = this.#output.available; waiting > 0; waiting = this.#output.available) {
      const bytes = new Uint8Array(waiting);
      this.#output.read(bytes);
      this.onOutput?.(bytes);
    }
    if (this.#output.takeRoomWanted()) this.runner.notify(ConsoleQueue.Transmit);
  }

  pendingInput(): Uint8Array {
    const bytes = new Uint8Array(this.#input.available);
    this.#input.read(bytes);
    // The worker is paused: nobody else reads or writes.
    this.#input.write(bytes);
    return bytes;
  }

  setPendingInput(bytes: Uint8Array): void {
    this.#input.read(new Uint8Array(this.#input.available));
    this.#input.write(bytes);
  }
}

/** The I/O worker's end. */
export class RingConsoleStream implements ConsoleStream {
  readonly #output: ByteRing;
  readonly #input: ByteRing;
  readonly #machine: Doorbell;

  /** `machine` makes the machine's thread poll its devices. */
  constructor(rings: ConsoleRings, machine: Doorbell) {
    this.#output = new ByteRing(rings.output);
    this.#input = new ByteRing(rings.input);
    this.#machine = machine;
  }

  get available(): number {
    return this.#input.available;
  }

  read(target: Uint8Array): number {
    const wasFull = this.#input.room === 0;
    const taken = this.#input.read(target);
    if (wasFull) this.#machine.ring();
    return taken;
  }

  hasRoom(): boolean {
    if (this.#output.room >= MaxChainOutput) return true;
    this.#output.wantRoom();
    // Room that was made before the wish could be seen.
    return this.#output.room >= MaxChainOutput;
  }

  write(bytes: Uint8Array): void {
    this.#output.write(bytes);
    // Otherwise the machine's thread has been called and has not read to the end yet.
    if (this.#output.available === bytes.length) this.#machine.ring();
  }
}

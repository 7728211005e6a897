/**
 * The device that typed bytes go to: the serial port, or the virtio console when the kernel's command line makes that the
 * console. What the guest prints comes from both.
 */
import type { ConsoleDevice } from './console-input.ts';

/** The last one is /dev/console (Linux, admin-guide/serial-console.rst). */
const ConsoleWord = /(?:^|\s)console=(\S+)/g;
const VirtioConsoleName = /^hvc\d/;

export class ConsoleChoice implements ConsoleDevice {
  readonly #serial: ConsoleDevice;
  readonly #virtio: ConsoleDevice;
  #chosen: ConsoleDevice;

  constructor(serial: ConsoleDevice, virtio: ConsoleDevice) {
    this.#serial = serial;
    this.#virtio = virtio;
    this.#chosen = serial;
  }

  choose(commandLine: string): void {
    const last = [...commandLine.matchAll(ConsoleWord)].at(-1)?.[1] ?? '';
    this.#chosen = VirtioConsoleName.test(last) ? this.#virtio : this.#serial;
  }

  get room(): number {
    return this.#chosen.room;
  }

  get listening(): boolean {
    return this.#chosen.listening;
  }

  receive(byte: number): void {
    this.#chosen.receive(byte);
  }
}

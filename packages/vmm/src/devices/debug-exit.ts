/**
 * The debug-exit port, as QEMU's isa-debug-exit: a write of v ends the machine with exit code (v << 1) | 1.
 *
 * Test kernels report their result with it. It has no state.
 */
import type { BusDevice } from '../bus/bus-device.ts';

export class DebugExit implements BusDevice {
  readonly #exit: (exitCode: number) => void;

  /** `exit` gets the low 8 bits of the exit code, which is what a process can tell. */
  constructor(exit: (exitCode: number) => void) {
    this.#exit = exit;
  }

  read(): number {
    return 0;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#exit(((value << 1) | 1) & 0xff);
  }
}

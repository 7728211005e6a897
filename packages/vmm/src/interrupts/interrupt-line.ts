/** Interrupt wiring as devices see it. */

/** A level- or edge-signalled wire to an interrupt controller. */
export interface InterruptLine {
  /** Drives the wire: true is asserted. Idempotent. */
  setLevel(asserted: boolean): void;
}

/** Where message-signalled interrupts go: writes of `data` to `address` (0xFEE0_0000 page on x86). */
export interface MsiSink {
  signalMsi(address: number, data: number): void;
}

/** A line that goes nowhere. */
export const unconnectedLine: InterruptLine = { setLevel() {} };

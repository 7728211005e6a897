/**
 * INTx wiring: the four shared, level-triggered interrupt wires of the root bus.
 *
 * Spec: PCI Local Bus 3.0 §2.2.6 "Interrupt Pins"; the swizzle is that of the PCI-to-PCI Bridge Architecture 1.2 §9.1
 * "Interrupt Routing", which the _PRT in the DSDT repeats (boot/acpi/dsdt.ts).
 */
import type { InterruptLine } from '../../interrupts/interrupt-line.ts';

/** INTA# to INTD# as the interrupt pin register numbers them; 0 is none. */
export type InterruptPin = 0 | 1 | 2 | 3 | 4;

/** The index (0 to 3) of the wire that a pin of a device on the root bus is connected to. */
export function intxWire(device: number, pin: InterruptPin): number {
  return (device + pin - 1) % 4;
}

/** Wires that several functions share: a wire is asserted while any of its sources asserts it. */
export class IntxWires {
  readonly #wires: readonly { readonly line: InterruptLine; readonly sources: Set<InterruptLine> }[];

  constructor(lines: readonly InterruptLine[]) {
    this.#wires = lines.map((line) => ({ line, sources: new Set() }));
  }

  /** A source of its own on the wire for that pin. */
  source(device: number, pin: InterruptPin): InterruptLine {
    const { line, sources } = this.#wires[intxWire(device, pin)]!;
    const source: InterruptLine = {
      setLevel(asserted) {
        if (asserted) sources.add(source);
        else sources.delete(source);
        line.setLevel(sources.size > 0);
      },
    };
    return source;
  }
}

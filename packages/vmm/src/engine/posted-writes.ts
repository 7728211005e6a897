/**
 * Writes to ports that an engine keeps and does not stop the guest for: address registers, whose value matters only when
 * another port is accessed.
 *
 * Whoever handles exits drains what was kept before it handles one; so the order is that of the guest, and a register is
 * up to date whenever anybody looks. A guest that makes no exit at all is looked at within two seconds
 * (machine/look-around.ts).
 */
export interface PostedWrites {
  /** Keeps writes that lie wholly within `size` ports from `port` on. */
  post(port: number, size: number): void;
  /** Hands over what was kept, in the order of the writes. On the machine's thread. */
  drain(deliver: PortWrite): void;
}

export type PortWrite = (port: number, size: 1 | 2 | 4, value: number) => void;

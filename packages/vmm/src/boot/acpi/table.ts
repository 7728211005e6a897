/** What all ACPI tables share. Spec: ACPI 6.4 §5.2.6 "System Description Table Header", §5.2.3.2 "Generic Address Structure". */
import { ascii, checksum, concat, u32, u64, u8 } from './bytes.ts';

const Oem = { id: 'LODGER', tableId: 'LODGERVM', revision: 1 } as const;
const Creator = { id: 'LDGR', revision: 1 } as const;
const HeaderBytes = 36;
const ChecksumOffset = 9;

/** A table with its header in front of `body`, checksum included. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = concat([
    ascii(signature, 4),
    u32(HeaderBytes + body.length),
    u8(revision),
    u8(0),
    ascii(Oem.id, 6),
    ascii(Oem.tableId, 8),
    u32(Oem.revision),
    ascii(Creator.id, 4),
    u32(Creator.revision),
    body,
  ]);
  bytes[ChecksumOffset] = checksum(bytes);
  return bytes;
}

/** A register of `bytes` bytes at an I/O port; `access` is the width of its accesses in bytes. */
export function portAddress(port: number, bytes: number, access: 1 | 2 | 4): Uint8Array {
  const systemIo = 1;
  return concat([u8(systemIo), u8(bytes * 8), u8(0), u8(Math.log2(access) + 1), u64(port)]);
}

/** "There is no such register." */
export const noAddress = new Uint8Array(12);

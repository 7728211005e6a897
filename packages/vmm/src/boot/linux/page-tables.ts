/** Identity page tables over the first 4 GiB in 2 MiB pages, as the 64-bit boot protocol asks for. */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { gpa, PageSize } from '../../memory/address.ts';
import { BootLayout } from '../boot-layout.ts';
import { writeBootData } from '../place.ts';

/** SDM Vol. 3A §4.5 "4-Level Paging and 5-Level Paging". */
const Entry = { Present: 1n << 0n, Writable: 1n << 1n, LargePage: 1n << 7n } as const;
const EntriesPerTable = 512;
const Directories = 4;
const LargePageSize = 0x20_0000;

/** Writes the tables and returns the address for CR3. */
export function writeIdentityPageTables(memory: GuestMemory): typeof BootLayout.PageTables.start {
  const { start } = BootLayout.PageTables;
  const pointers = start + PageSize;
  const directories = start + 2 * PageSize;
  const tables = new BigUint64Array((2 + Directories) * EntriesPerTable);
  const link = (address: number) => BigInt(address) | Entry.Present | Entry.Writable;
  tables[0] = link(pointers);
  for (let i = 0; i < Directories; i++) tables[EntriesPerTable + i] = link(directories + i * PageSize);
  for (let i = 0; i < Directories * EntriesPerTable; i++) {
    tables[2 * EntriesPerTable + i] = link(i * LargePageSize) | Entry.LargePage;
  }
  writeBootData(memory, gpa(start), new Uint8Array(tables.buffer));
  return start;
}

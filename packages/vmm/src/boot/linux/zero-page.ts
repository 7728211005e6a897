/**
 * The zero page (struct boot_params) of the Linux boot protocol.
 *
 * Linux Documentation/arch/x86/zero-page.rst. Leaves out screen_info (no display: the kernel uses its dummy console),
 * EDD, APM, EFI and the high halves of addresses, as everything lies below 4 GiB.
 */
import { PageSize } from '../../memory/address.ts';
import type { MemoryRegion } from '../memory-regions.ts';
import type { PlacedModule } from '../place.ts';
import { HeaderStart, SetupField } from './setup-header.ts';
import type { SetupHeader } from './setup-header.ts';

const ZeroPageField = { AcpiRsdpAddress: 0x070, E820Entries: 0x1e8, E820Table: 0x2d0 } as const;
const E820Entry = { Address: 0, Length: 8, Type: 16, Size: 20 } as const;
const E820MaxEntries = 128;
/** "Undefined" boot loader: the kernel only asks that it is not 0. */
const UndefinedLoader = 0xff;

export interface ZeroPageContents {
  readonly header: SetupHeader;
  readonly regions: readonly MemoryRegion[];
  readonly commandLine: number;
  readonly initrd?: PlacedModule | undefined;
  readonly rsdp?: number | undefined;
  readonly setupData?: number | undefined;
}

export function buildZeroPage(contents: ZeroPageContents): Uint8Array {
  const page = new Uint8Array(PageSize);
  const view = new DataView(page.buffer);
  page.set(contents.header.bytes, HeaderStart);
  view.setUint8(SetupField.TypeOfLoader, UndefinedLoader);
  view.setUint32(SetupField.CommandLinePointer, contents.commandLine, true);
  view.setUint32(SetupField.RamdiskImage, contents.initrd?.start ?? 0, true);
  view.setUint32(SetupField.RamdiskSize, contents.initrd?.size ?? 0, true);
  view.setBigUint64(SetupField.SetupData, BigInt(contents.setupData ?? 0), true);
  view.setBigUint64(ZeroPageField.AcpiRsdpAddress, BigInt(contents.rsdp ?? 0), true);

  const regions = contents.regions.slice(0, E820MaxEntries);
  view.setUint8(ZeroPageField.E820Entries, regions.length);
  regions.forEach((region, i) => {
    const at = ZeroPageField.E820Table + i * E820Entry.Size;
    view.setBigUint64(at + E820Entry.Address, BigInt(region.start), true);
    view.setBigUint64(at + E820Entry.Length, BigInt(region.size), true);
    view.setUint32(at + E820Entry.Type, region.type, true);
  });
  return page;
}

/** A setup_data node with entropy for the guest's random number generator (boot.rst "setup_data", SETUP_RNG_SEED). */
export function buildRngSeed(seed: Uint8Array): Uint8Array {
  const Node = { Next: 0, Type: 8, Length: 12, Size: 16 } as const;
  const SetupRngSeed = 9;
  const node = new Uint8Array(Node.Size + seed.length);
  const view = new DataView(node.buffer);
  view.setUint32(Node.Type, SetupRngSeed, true);
  view.setUint32(Node.Length, seed.length, true);
  node.set(seed, Node.Size);
  return node;
}

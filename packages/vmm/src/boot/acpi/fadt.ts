/**
 * The fixed description table and the firmware control structure.
 *
 * Spec: ACPI 6.4 §5.2.9 "Fixed ACPI Description Table (FADT)", §5.2.10 "Firmware ACPI Control Structure (FACS)".
 */
import { AcpiPmLayout, ResetValue } from '../../devices/acpi-pm.ts';
import { Gsi, PortMap } from '../../machine/memory-map.ts';
import { ascii, concat, u16, u32, u64, u8, zeros } from './bytes.ts';
import { noAddress, portAddress, table } from './table.ts';

const Revision = { major: 6, minor: 4 } as const;

/** §5.2.9 "Fixed ACPI Description Table Fixed Feature Flags". */
const Flag = {
  Wbinvd: 1 << 0,
  ProcessorC1: 1 << 2,
  /** There is no fixed sleep button. */
  SleepButtonControlMethod: 1 << 5,
  /** The RTC has no bits in the fixed registers. */
  RtcNotFixed: 1 << 6,
  Timer32Bits: 1 << 8,
  ResetRegister: 1 << 10,
} as const;

/** §5.2.9.3 "IA-PC Boot Architecture Flags". */
const BootFlag = { LegacyDevices: 1 << 0, I8042: 1 << 1, NoVga: 1 << 2, NoAspm: 1 << 4 } as const;

/** Latencies above these say that the processor has neither C2 nor C3. */
const NoC2 = 101;
const NoC3 = 1001;
/** The CMOS byte that holds the century. */
const RtcCentury = 0x32;

const FacsBytes = 64;
const FacsVersion = 2;

export interface FadtOptions {
  readonly facs: number;
  readonly dsdt: number;
  readonly keyboard: boolean;
}

export function fadt({ facs, dsdt, keyboard }: FadtOptions): Uint8Array {
  const { Pm1Event, Pm1Control, PmTimer, Gpe0, Reset } = AcpiPmLayout;
  const port = (block: { readonly offset: number }): number => PortMap.Acpi.start + block.offset;
  const flags =
    Flag.Wbinvd |
    Flag.ProcessorC1 |
    Flag.SleepButtonControlMethod |
    Flag.RtcNotFixed |
    Flag.Timer32Bits |
    Flag.ResetRegister;
  const bootFlags = BootFlag.LegacyDevices | BootFlag.NoVga | BootFlag.NoAspm | (keyboard ? BootFlag.I8042 : 0);
  return table(
    'FACP',
    Revision.major,
    concat([
      u32(facs),
      u32(dsdt),
      u8(0), // reserved
      u8(0), // preferred power profile: unspecified
      u16(Gsi.AcpiSci),
      u32(0), // no SMI command port: always in ACPI mode
      zeros(4), // ACPI enable, disable, S4BIOS, P-state values for it
      u32(port(Pm1Event)),
      u32(0), // PM1b event block
      u32(port(Pm1Control)),
      u32(0), // PM1b control block
      u32(0), // PM2 control block
      u32(port(PmTimer)),
      u32(port(Gpe0)),
      u32(0), // GPE1
      u8(Pm1Event.bytes),
      u8(Pm1Control.bytes),
      u8(0), // PM2 control
      u8(PmTimer.bytes),
      u8(Gpe0.bytes),
      zeros(3), // GPE1 length and base, C-state notification
      u16(NoC2),
      u16(NoC3),
      zeros(4), // cache flush size and stride: WBINVD works
      zeros(2), // duty cycle
      zeros(2), // RTC day and month alarms
      u8(RtcCentury),
      u16(bootFlags),
      u8(0), // reserved
      u32(flags),
      portAddress(port(Reset), Reset.bytes, 1),
      u8(ResetValue),
      u16(0), // ARM boot flags
      u8(Revision.minor),
      u64(0), // 64-bit FACS address: the 32-bit one counts
      u64(dsdt),
      portAddress(port(Pm1Event), Pm1Event.bytes, 2),
      noAddress,
      portAddress(port(Pm1Control), Pm1Control.bytes, 2),
      noAddress,
      noAddress,
      portAddress(port(PmTimer), PmTimer.bytes, 4),
      portAddress(port(Gpe0), Gpe0.bytes, 1),
      noAddress,
      noAddress, // sleep control and status: for hardware-reduced machines
      noAddress,
      ascii('LODGER', 8, '\0'), // hypervisor vendor
    ]),
  );
}

/** Lies on a 64-byte boundary; has no checksum. */
export function facs(): Uint8Array {
  return concat([
    ascii('FACS', 4),
    u32(FacsBytes),
    zeros(24), // hardware signature, waking vectors, global lock, flags
    u8(FacsVersion),
    zeros(FacsBytes - 33),
  ]);
}

/**
 * The DSDT: the machine's devices in AML.
 *
 * Spec: ACPI 6.4 chapter 6 "Device Configuration"; PCI Firmware 3.0 §4.5 "_OSC".
 *
 * Left out: processor devices (the MADT is enough until processors come and go), interrupt link devices (PCI interrupts
 * go to the IOAPIC only), a device for the i8042 unless the machine has a keyboard.
 */
import { PciBuses, Gsi, PhysicalMap, PortMap } from '../../machine/memory-map.ts';
import { SleepTypeS5 } from '../../devices/acpi-pm.ts';
import { intxWire } from '../../devices/pci/intx.ts';
import type { InterruptPin } from '../../devices/pci/intx.ts';
import * as aml from './aml.ts';
import type { Aml } from './aml.ts';
import { concat } from './bytes.ts';
import * as resources from './resources.ts';
import { table } from './table.ts';

export interface DsdtOptions {
  /** The machine has a keyboard controller that a driver should use. */
  readonly keyboard: boolean;
}

const PciDevices = 32;
/** PCI Firmware 3.0 §4.5.1: the UUID of PCI host bridges. */
const PciHostUuid = '33db4d5b-1ff7-401c-9657-7441c03dd766';
const OscUnrecognizedUuid = 0x4;

export function dsdt(options: DsdtOptions): Uint8Array {
  const devices = [pciHost(), motherboard(), com1(), rtc()];
  if (options.keyboard) devices.push(keyboard());
  return table('DSDT', 2, concat([aml.scope('\\_SB', devices), softOff()]));
}

/** §7.4.2 "\_Sx (System State x)": the sleep types for PM1a and PM1b. */
function softOff(): Aml {
  const none = aml.integer(0);
  return aml.name('\\_S5', aml.packageOf([aml.integer(SleepTypeS5), aml.integer(SleepTypeS5), none, none]));
}

function pciHost(): Aml {
  const { PciMemory32, PciMemory64 } = PhysicalMap;
  const { PciConfig, PciIo } = PortMap;
  return aml.device('PCI0', [
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_SEG', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name('_UID', aml.integer(0)),
    aml.name(
      '_CRS',
      resources.resourceTemplate([
        resources.busNumbers(0, PciBuses - 1),
        resources.ioPorts(PciConfig.start, PciConfig.size),
        resources.ioWindow(PciIo.start, PciIo.size),
        resources.memoryWindow32(PciMemory32.start, PciMemory32.size),
        resources.memoryWindow64(PciMemory64.start, PciMemory64.size),
      ]),
    ),
    aml.name('_PRT', routing()),
    capabilities(),
  ]);
}

/** §6.2.13 "_PRT": every pin of every device, wired straight to an IOAPIC input. */
function routing(): Aml {
  const entries: Aml[] = [];
  for (let device = 0; device < PciDevices; device++) {
    for (let pin = 0; pin < 4; pin++) {
      const gsi = Gsi.PciInt[intxWire(device, (pin + 1) as InterruptPin)]!;
      const anyFunction = device * 0x1_0000 + 0xffff;
      entries.push(aml.packageOf([anyFunction, pin, 0, gsi].map(aml.integer)));
    }
  }
  return aml.packageOf(entries);
}

/** §6.2.11 "_OSC": grants the guest control of nothing, as there is neither hot plug nor error reporting. */
function capabilities(): Aml {
  const [id, , , buffer] = [0, 1, 2, 3].map(aml.argument) as [Aml, Aml, Aml, Aml];
  const status = aml.nameString('STAT');
  const control = aml.nameString('CTRL');
  return aml.method('_OSC', 4, [
    aml.createDWordField(buffer, 0, 'STAT'),
    aml.when(aml.equal(id, aml.uuid(PciHostUuid)), [
      aml.createDWordField(buffer, 8, 'CTRL'),
      aml.and(control, aml.integer(0), control),
    ]),
    aml.otherwise([aml.or(status, aml.integer(OscUnrecognizedUuid), status)]),
    aml.returns(buffer),
  ]);
}

/** Ranges that no driver may take: without this, Linux does not use the ECAM window. */
function motherboard(): Aml {
  const { PciEcam } = PhysicalMap;
  return aml.device('MBRD', [
    aml.name('_HID', aml.eisaId('PNP0C02')),
    aml.name('_UID', aml.integer(0)),
    aml.name(
      '_CRS',
      resources.resourceTemplate([
        resources.fixedMemory(PciEcam.start, PciEcam.size),
        resources.ioPorts(PortMap.Acpi.start, PortMap.Acpi.size),
      ]),
    ),
  ]);
}

function com1(): Aml {
  return aml.device('COM1', [
    aml.name('_HID', aml.eisaId('PNP0501')),
    aml.name('_UID', aml.integer(1)),
    aml.name(
      '_CRS',
      resources.resourceTemplate([resources.ioPorts(PortMap.Com1.start, PortMap.Com1.size), resources.irq(Gsi.Com1)]),
    ),
  ]);
}

function rtc(): Aml {
  return aml.device('RTC', [
    aml.name('_HID', aml.eisaId('PNP0B00')),
    aml.name(
      '_CRS',
      resources.resourceTemplate([resources.ioPorts(PortMap.Rtc.start, PortMap.Rtc.size), resources.irq(Gsi.Rtc)]),
    ),
  ]);
}

function keyboard(): Aml {
  return aml.device('KBD', [
    aml.name('_HID', aml.eisaId('PNP0303')),
    aml.name(
      '_CRS',
      resources.resourceTemplate([
        resources.ioPorts(PortMap.I8042Data.start, PortMap.I8042Data.size),
        resources.ioPorts(PortMap.I8042Command.start, PortMap.I8042Command.size),
        resources.irq(Gsi.Keyboard),
      ]),
    ),
  ]);
}

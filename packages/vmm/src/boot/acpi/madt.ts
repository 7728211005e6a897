/** The multiple APIC description table. Spec: ACPI 6.4 §5.2.12 "Multiple APIC Description Table (MADT)". */
import { Gsi, PhysicalMap } from '../../machine/memory-map.ts';
import { concat, u16, u32, u8 } from './bytes.ts';
import { table } from './table.ts';

const Revision = 5;
/** §5.2.12: the machine also has a pair of 8259s. */
const PcAtCompatible = 1;

/** §5.2.12 "Interrupt Controller Structure Types". */
const Structure = {
  LocalApic: 0,
  IoApic: 1,
  InterruptOverride: 2,
  LocalApicNmi: 4,
  LocalX2Apic: 9,
  LocalX2ApicNmi: 10,
} as const;
const Enabled = 1;
const AllProcessors = 0xff;
const AllX2Processors = 0xffff_ffff;
/** APIC IDs from here on do not fit a local APIC structure. */
const FirstX2ApicId = 0xff;

/** §5.2.12.5 "Interrupt Source Override Structure": MPS INTI flags. */
const Inti = { AsBus: 0, ActiveHighLevel: 0b1101 } as const;
const Isa = 0;
const IsaTimer = 0;

/** vCPU `n` has APIC ID `n` (and processor UID `n`). */
export function madt(vcpus: number): Uint8Array {
  const processors = Array.from({ length: vcpus }, (_, id) => processor(id));
  return table(
    'APIC',
    Revision,
    concat([
      u32(PhysicalMap.LocalApic.start),
      u32(PcAtCompatible),
      ...processors,
      structure(Structure.IoApic, [u8(0), u8(0), u32(PhysicalMap.IoApic.start), u32(0)]),
      override(IsaTimer, Gsi.PitTimer, Inti.AsBus),
      override(Gsi.AcpiSci, Gsi.AcpiSci, Inti.ActiveHighLevel),
      structure(Structure.LocalApicNmi, [u8(AllProcessors), u16(Inti.AsBus), u8(1)]),
      ...(vcpus > FirstX2ApicId
        ? [structure(Structure.LocalX2ApicNmi, [u16(Inti.AsBus), u32(AllX2Processors), u8(1), u8(0), u16(0)])]
        : []),
    ]),
  );
}

function processor(id: number): Uint8Array {
  if (id < FirstX2ApicId) return structure(Structure.LocalApic, [u8(id), u8(id), u32(Enabled)]);
  return structure(Structure.LocalX2Apic, [u16(0), u32(id), u32(Enabled), u32(id)]);
}

function override(irq: number, gsi: number, flags: number): Uint8Array {
  return structure(Structure.InterruptOverride, [u8(Isa), u8(irq), u32(gsi), u16(flags)]);
}

function structure(type: number, body: readonly Uint8Array[]): Uint8Array {
  const bytes = concat(body);
  return concat([u8(type), u8(bytes.length + 2), bytes]);
}

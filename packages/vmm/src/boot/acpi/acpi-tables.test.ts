import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PhysicalMap, PortMap } from '../../machine/memory-map.ts';
import { ArrayMemory } from '../../memory/array-memory.ts';
import { gpa } from '../../memory/address.ts';
import { writeAcpiTables } from './acpi-tables.ts';
import type { AcpiOptions } from './acpi-tables.ts';

/** The tables, found in guest memory as an operating system finds them. */
class Tables {
  readonly memory = new ArrayMemory(2 * 1024 * 1024);
  readonly rsdp: number;
  readonly bySignature = new Map<string, number>();

  constructor(options: AcpiOptions) {
    writeAcpiTables(this.memory, options);
    this.rsdp = this.#scan();
    const rsdt = this.u32(this.rsdp + 16);
    const xsdt = this.u64(this.rsdp + 24);
    for (let at = xsdt + 36; at < xsdt + this.length(xsdt); at += 8) {
      assert.equal(this.u64(at), this.u32(rsdt + 36 + (at - xsdt - 36) / 2), 'RSDT and XSDT agree');
      this.bySignature.set(this.text(this.u64(at), 4), this.u64(at));
    }
    this.bySignature.set('RSDT', rsdt).set('XSDT', xsdt);
    this.bySignature.set('DSDT', this.u32(this.bySignature.get('FACP')! + 40));
  }

  table(signature: string): number {
    const address = this.bySignature.get(signature);
    assert.ok(address, `there is a ${signature}`);
    return address;
  }

  u8 = (at: number): number => this.memory.readU8(gpa(at))!;
  u16 = (at: number): number => this.memory.readU16(gpa(at))!;
  u32 = (at: number): number => this.memory.readU32(gpa(at))!;
  u64 = (at: number): number => Number(this.memory.readU64(gpa(at))!);
  length = (table: number): number => this.u32(table + 4);
  bytes = (at: number, length: number): Uint8Array => this.memory.view(gpa(at), length)!;
  text = (at: number, length: number): string => String.fromCharCode(...this.bytes(at, length));
  sum = (at: number, length: number): number => this.bytes(at, length).reduce((sum, byte) => sum + byte, 0) & 0xff;

  /** ACPI 6.4 §5.2.5.1: on 16-byte boundaries of the BIOS area. */
  #scan(): number {
    for (let at = 0xe0000; at < 0x100000; at += 16) if (this.text(at, 8) === 'RSD PTR ') return at;
    return assert.fail('no RSDP');
  }
}

test('§5.2.5.3 the RSDP is where it is looked for, and where the caller is told', () => {
  const tables = new Tables({ vcpus: 1 });
  assert.equal(writeAcpiTables(tables.memory, { vcpus: 1 }), tables.rsdp);
  assert.equal(tables.sum(tables.rsdp, 20), 0);
  assert.equal(tables.sum(tables.rsdp, 36), 0);
  assert.equal(tables.u8(tables.rsdp + 15), 2);
});

test('every table has a valid checksum and lies in its area', () => {
  const tables = new Tables({ vcpus: 4, keyboard: true });
  assert.deepEqual([...tables.bySignature.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'MCFG', 'RSDT', 'XSDT']);
  const { start, size } = PhysicalMap.AcpiTables;
  for (const [signature, address] of tables.bySignature) {
    assert.equal(tables.text(address, 4), signature);
    assert.equal(tables.sum(address, tables.length(address)), 0, signature);
    assert.ok(address >= start && address + tables.length(address) <= start + size, signature);
  }
});

test('§5.2.9 the FADT leads to registers, DSDT and FACS', () => {
  const tables = new Tables({ vcpus: 1 });
  const fadt = tables.table('FACP');
  assert.equal(tables.length(fadt), 276);
  assert.equal(tables.u16(fadt + 46), 9);
  assert.equal(tables.u32(fadt + 48), 0, 'no SMI command port: ACPI mode is always on');
  assert.deepEqual(
    [56, 64, 76, 80].map((offset) => tables.u32(fadt + offset)),
    [0x600, 0x604, 0x608, 0x60c],
  );
  assert.deepEqual(
    [148, 172, 208, 220].map((offset) => tables.u64(fadt + offset + 4)),
    [0x600, 0x604, 0x608, 0x60c],
  );
  assert.deepEqual(
    [148, 172, 208, 220].map((offset) => tables.u8(fadt + offset + 1)),
    [32, 16, 32, 32],
  );
  assert.equal(tables.u64(fadt + 120), 0x610, 'reset register');
  assert.equal(tables.u8(fadt + 128), 1);
  assert.equal(tables.u64(fadt + 140), tables.u32(fadt + 40), 'both DSDT addresses');
  const flags = tables.u32(fadt + 112);
  assert.equal(flags & (1 << 20), 0, 'not hardware-reduced');
  assert.equal(flags & (1 << 4), 0, 'the power button is a fixed one');
  assert.ok((flags & (1 << 10)) !== 0, 'reset register');
  assert.equal(tables.u16(fadt + 109) & 2, 0, 'no i8042');
  const facs = tables.u32(fadt + 36);
  assert.equal(tables.text(facs, 4), 'FACS');
  assert.equal(tables.u32(facs + 4), 64);
  assert.equal(facs % 64, 0);
});

/** The MADT's structures: type and bytes. */
function madtEntries(tables: Tables): { type: number; at: number }[] {
  const madt = tables.table('APIC');
  const entries: { type: number; at: number }[] = [];
  let at = madt + 44;
  for (; at < madt + tables.length(madt); at += tables.u8(at + 1)) entries.push({ type: tables.u8(at), at });
  assert.equal(at, madt + tables.length(madt));
  return entries;
}

test('§5.2.12 the MADT lists processors, IOAPIC and overrides', () => {
  const tables = new Tables({ vcpus: 3 });
  assert.equal(tables.u32(tables.table('APIC') + 36), PhysicalMap.LocalApic.start);
  const entries = madtEntries(tables);
  const of = (type: number): number[] => entries.filter((entry) => entry.type === type).map(({ at }) => at);
  assert.deepEqual(
    of(0).map((at) => [tables.u8(at + 3), tables.u32(at + 4)]),
    [
      [0, 1],
      [1, 1],
      [2, 1],
    ],
  );
  assert.deepEqual(
    of(1).map((at) => [tables.u32(at + 4), tables.u32(at + 8)]),
    [[PhysicalMap.IoApic.start, 0]],
  );
  assert.deepEqual(
    of(2).map((at) => [tables.u8(at + 3), tables.u32(at + 4), tables.u16(at + 8)]),
    [
      [0, 2, 0],
      [9, 9, 0b1101],
    ],
  );
  assert.deepEqual(
    of(4).map((at) => [tables.u8(at + 2), tables.u8(at + 5)]),
    [[0xff, 1]],
  );
});

test('§5.2.12.12 processors from APIC ID 255 on have x2APIC structures', () => {
  const tables = new Tables({ vcpus: 300 });
  const entries = madtEntries(tables);
  assert.equal(entries.filter(({ type }) => type === 0).length, 255);
  const wide = entries.filter(({ type }) => type === 9);
  assert.deepEqual([wide.length, tables.u32(wide[0]!.at + 4), tables.u32(wide.at(-1)!.at + 4)], [45, 255, 299]);
});

test('more processors than the area has room for are refused', () => {
  assert.throws(() => writeAcpiTables(new ArrayMemory(2 * 1024 * 1024), { vcpus: 20_000 }), /use fewer/);
});

test('memory that ends below the area is refused', () => {
  assert.throws(() => writeAcpiTables(new ArrayMemory(0x80000), { vcpus: 1 }), { code: 'MemoryTooSmall' });
});

test('the MCFG covers the one bus', () => {
  const tables = new Tables({ vcpus: 1 });
  const mcfg = tables.table('MCFG');
  assert.equal(tables.length(mcfg), 60);
  assert.equal(tables.u64(mcfg + 44), PhysicalMap.PciEcam.start);
  assert.deepEqual([tables.u16(mcfg + 52), tables.u8(mcfg + 54), tables.u8(mcfg + 55)], [0, 0, 0]);
});

/** Finds the one place where `needle` occurs in the DSDT. */
function dsdtText(tables: Tables): string {
  const dsdt = tables.table('DSDT');
  return tables.text(dsdt + 36, tables.length(dsdt) - 36);
}

test('the DSDT has the host bridge, its windows, the serial line and S5', () => {
  const tables = new Tables({ vcpus: 1 });
  const aml = dsdtText(tables);
  const le = (value: number, bytes: number): string =>
    String.fromCharCode(...Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff));
  // EISA IDs of PNP0A08, PNP0A03, PNP0C02, PNP0501 and PNP0B00.
  for (const id of ['A\xd0\n\b', 'A\xd0\n\x03', 'A\xd0\f\x02', 'A\xd0\x05\x01', 'A\xd0\v\0']) {
    assert.ok(aml.includes(`_HID\f${id}`) || aml.includes(`_CID\f${id}`), JSON.stringify(id));
  }
  const { PciMemory32, PciMemory64, PciEcam } = PhysicalMap;
  assert.ok(aml.includes(le(PciMemory32.start, 4) + le(PciMemory32.start + PciMemory32.size - 1, 4)));
  assert.ok(aml.includes(le(PciMemory64.start, 8) + le(PciMemory64.start + PciMemory64.size - 1, 8)));
  assert.ok(aml.includes(le(PciEcam.start, 4) + le(PciEcam.size, 4)));
  assert.ok(aml.includes(le(PortMap.PciIo.start, 2) + le(PortMap.PciIo.start + PortMap.PciIo.size - 1, 2)));
  assert.ok(aml.includes('\\_S5_\x12\x08\x04\n\x05\n\x05\0\0'));
  assert.ok(!aml.includes('KBD_'));
  assert.ok(dsdtText(new Tables({ vcpus: 1, keyboard: true })).includes('KBD_'));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LowRamLimit, PhysicalMap, PortMap } from './memory-map.ts';

type Named = [name: string, range: { start: number; size: number }];

function overlaps(map: Record<string, { start: number; size: number }>, allowed: readonly string[] = []): string[] {
  const sorted: Named[] = Object.entries(map).filter(([name]) => !allowed.includes(name));
  sorted.sort(([, a], [, b]) => a.start - b.start);
  return sorted.flatMap(([name, range], index) => {
    const [next, after] = sorted[index + 1] ?? ['', { start: Infinity }];
    return range.start + range.size > after.start ? [`${name} and ${next}`] : [];
  });
}

test('nothing overlaps in physical memory', () => {
  assert.deepEqual(overlaps(PhysicalMap), []);
});

test('no ports overlap, but for the reset register inside the PCI configuration ports', () => {
  // Byte accesses to 0xCF9 are its own (bus/pio-bus.ts, byteOnly).
  assert.deepEqual(overlaps(PortMap, ['ResetControl']), []);
});

test('devices in 32-bit space are above the RAM limit', () => {
  const { PciEcam, PciMemory32, IoApic, LocalApic } = PhysicalMap;
  for (const { start } of [PciEcam, PciMemory32, IoApic, LocalApic]) assert.ok(start >= LowRamLimit);
});

test('the map is written in address order', () => {
  for (const map of [PhysicalMap, PortMap]) {
    const starts = Object.values(map).map(({ start }) => start as number);
    assert.deepEqual(
      starts,
      [...starts].sort((a, b) => a - b),
    );
  }
});

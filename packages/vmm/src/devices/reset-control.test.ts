import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PioBus } from '../bus/pio-bus.ts';
import { PortMap } from '../machine/memory-map.ts';
import { PciBench } from '../testing/pci-bench.ts';
import { ResetControl } from './reset-control.ts';

test('a reset happens when the CPU reset bit rises, as Linux writes it', () => {
  let resets = 0;
  const pio = new PioBus();
  pio.attach(PortMap.ResetControl, new ResetControl({ reset: () => resets++ }), { byteOnly: true });
  const port = PortMap.ResetControl.start;
  pio.write(port, 1, 0x02);
  assert.equal(resets, 0);
  pio.write(port, 1, 0x06);
  assert.equal(resets, 1);
  pio.write(port, 1, 0x0e);
  assert.equal(resets, 1, 'the bit was set already');
  assert.equal(pio.read(port, 1), 0x0e);
  pio.write(port, 1, 0xf0);
  assert.equal(pio.read(port, 1), 0);
});

test('it lives above the PCI configuration ports without disturbing them', () => {
  let resets = 0;
  const { pio } = new PciBench();
  pio.attach(PortMap.ResetControl, new ResetControl({ reset: () => resets++ }), { byteOnly: true });
  pio.write(PortMap.PciConfig.start, 4, 0x8000_0600);
  assert.equal(resets, 0);
  assert.equal(pio.read(PortMap.PciConfig.start, 4), 0x8000_0600);
  pio.write(PortMap.ResetControl.start, 1, 0x04);
  assert.equal(resets, 1);
  assert.equal(pio.read(PortMap.PciConfig.start, 4), 0x8000_0600);
});

/** Guest memory, a PCI host and the driver of one virtio device on it. */
import type { VirtioDevice } from '../devices/virtio/virtio-device.ts';
import { VirtioPciTransport } from '../devices/virtio/transport/pci.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { ArrayMemory } from '../memory/array-memory.ts';
import { PciBench } from './pci-bench.ts';
import { Allocator, VirtioDriver } from './virtio-driver.ts';

export const BenchMemorySize = 16 * 1024 * 1024;

export interface VirtioBench<Device extends VirtioDevice> {
  readonly memory: GuestMemory;
  readonly bench: PciBench;
  readonly slot: number;
  readonly device: Device;
  readonly transport: VirtioPciTransport;
  readonly driver: VirtioDriver;
}

/** Plugs the device in as firmware leaves it; the driver has done nothing yet. */
export function virtioBench<Device extends VirtioDevice>(
  create: (memory: GuestMemory) => Device,
  memory: GuestMemory = new ArrayMemory(BenchMemorySize),
): VirtioBench<Device> {
  const bench = new PciBench();
  const device = create(memory);
  const transport = new VirtioPciTransport(device);
  const slot = bench.host.attach(transport);
  bench.host.assignResources();
  const driver = new VirtioDriver(bench, slot, memory, new Allocator(0x10000));
  return { memory, bench, slot, device, transport, driver };
}

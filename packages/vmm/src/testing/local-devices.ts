/** Devices whose queues are served in the test's own thread. */
import { LocalConsolePort } from '../devices/virtio/console/console-port.ts';
import { VirtioConsole } from '../devices/virtio/console/virtio-console.ts';
import type { ConsoleOptions } from '../devices/virtio/console/virtio-console.ts';
import { LocalQueueRunner } from '../devices/virtio/local-queue-runner.ts';
import { EntropyRequests, VirtioRng } from '../devices/virtio/rng/virtio-rng.ts';
import type { EntropySource } from '../devices/virtio/rng/virtio-rng.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';

export function localRng(memory: GuestMemory, entropy: EntropySource): VirtioRng {
  return new VirtioRng(new LocalQueueRunner(memory, new EntropyRequests(memory, entropy)));
}

export function localConsole(
  memory: GuestMemory,
  options: ConsoleOptions & { readonly inputTaken?: () => void },
): VirtioConsole {
  const port = new LocalConsolePort(memory);
  port.onInputTaken = options.inputTaken;
  return new VirtioConsole(port, options);
}

/**
 * An entropy source.
 *
 * Spec: virtio 1.2 §5.4 "Entropy Device".
 */
import type { SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { RegisterSpace } from '../../pci/register-space.ts';
import { totalLength, writeSegments } from '../descriptor-chain.ts';
import { LocalQueueRunner } from '../local-queue-runner.ts';
import type { VirtioDevice, VirtioSignals } from '../virtio-device.ts';
import { VirtioDeviceType } from '../virtio-device.ts';

const QueueSize = 64;
/** Given for one chain at most; a device may give less than there is room for. */
const MaxChainBytes = 64 * 1024;

/** Fills its argument with random bytes. */
export type EntropySource = (target: Uint8Array) => void;

export class VirtioRng implements VirtioDevice {
  readonly type = VirtioDeviceType.EntropySource;
  readonly features = 0n;
  readonly queueSizes = [QueueSize];
  readonly runner: LocalQueueRunner;
  /** The device has no configuration. */
  readonly config = new RegisterSpace(0, []);

  constructor(memory: GuestMemory, entropy: EntropySource) {
    this.runner = new LocalQueueRunner(memory, {
      activated: () => {},
      canServe: () => true,
      serve(_queue, chain) {
        const bytes = new Uint8Array(Math.min(totalLength(chain.writable), MaxChainBytes));
        entropy(bytes);
        return writeSegments(memory, chain.writable, bytes);
      },
    });
  }

  connect(signals: VirtioSignals): void {
    this.runner.connect(signals);
  }

  reset(): void {}

  save(): SavedState {
    return { version: 1 };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'entropy');
  }
}

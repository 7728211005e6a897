/**
 * An entropy source: its register half, and its queue half {@link EntropyRequests}.
 *
 * Spec: virtio 1.2 §5.4 "Entropy Device".
 */
import type { SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { RegisterSpace } from '../../pci/register-space.ts';
import { totalLength, writeSegments } from '../descriptor-chain.ts';
import type { DescriptorChain } from '../descriptor-chain.ts';
import type { RequestHandler } from '../queue-server.ts';
import type { QueueRunner, VirtioDevice, VirtioSignals } from '../virtio-device.ts';
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
  readonly runner: QueueRunner;
  /** The device has no configuration. */
  readonly config = new RegisterSpace(0, []);

  constructor(runner: QueueRunner) {
    this.runner = runner;
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

export class EntropyRequests implements RequestHandler {
  readonly #memory: GuestMemory;
  readonly #entropy: EntropySource;

  constructor(memory: GuestMemory, entropy: EntropySource) {
    this.#memory = memory;
    this.#entropy = entropy;
  }

  activated(): void {}

  canServe(): boolean {
    return true;
  }

  serve(_queue: number, chain: DescriptorChain): number {
    const bytes = new Uint8Array(Math.min(totalLength(chain.writable), MaxChainBytes));
    this.#entropy(bytes);
    return writeSegments(this.#memory, chain.writable, bytes);
  }
}

/**
 * A console with one port, its window size included.
 *
 * Spec: virtio 1.2 §5.3 "Console Device".
 *
 * Left out: several ports (VIRTIO_CONSOLE_F_MULTIPORT).
 */
import type { SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { RegisterSpace, register } from '../../pci/register-space.ts';
import { readSegments, totalLength, writeSegments } from '../descriptor-chain.ts';
import type { DescriptorChain } from '../descriptor-chain.ts';
import { feature } from '../features.ts';
import { LocalQueueRunner } from '../local-queue-runner.ts';
import type { RequestHandler } from '../queue-server.ts';
import type { VirtioDevice, VirtioSignals } from '../virtio-device.ts';
import { VirtioDeviceType } from '../virtio-device.ts';

/** §5.3.3 "Feature bits". */
const ConsoleFeature = { Size: feature(0), EmergencyWrite: feature(2) } as const;
/** §5.3.2 "Virtqueues". */
const Queue = { Receive: 0, Transmit: 1 } as const;
const QueueSize = 256;
/** Input that the guest has not taken yet. */
const MaxPendingInput = 64 * 1024;
/** Output taken from one chain; more is cut off, so that a notification has bounded work. */
const MaxChainOutput = 1024 * 1024;

export interface ConsoleOptions {
  /** Takes what the guest writes. The array is the receiver's to keep. */
  readonly output: (bytes: Uint8Array) => void;
  /** The guest took input: there is room again. */
  readonly inputTaken?: () => void;
  readonly columns?: number;
  readonly rows?: number;
}

export class VirtioConsole implements VirtioDevice {
  readonly type = VirtioDeviceType.Console;
  readonly features = ConsoleFeature.Size | ConsoleFeature.EmergencyWrite;
  readonly queueSizes = [QueueSize, QueueSize];
  readonly runner: LocalQueueRunner;
  readonly config: RegisterSpace;
  readonly #memory: GuestMemory;
  readonly #options: ConsoleOptions;
  #signals: VirtioSignals | undefined;
  #columns: number;
  #rows: number;
  #input: Uint8Array = new Uint8Array(0);

  constructor(memory: GuestMemory, options: ConsoleOptions) {
    this.#memory = memory;
    this.#options = options;
    this.#columns = options.columns ?? 80;
    this.#rows = options.rows ?? 25;
    this.runner = new LocalQueueRunner(memory, this.#handler());
    this.config = this.#createConfig();
  }

  connect(signals: VirtioSignals): void {
    this.#signals = signals;
    this.runner.connect(signals);
  }

  /** Types into the console. Returns how many of the bytes there was room for. */
  send(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, Math.max(0, MaxPendingInput - this.#input.length));
    if (taken.length > 0) {
      const joined = new Uint8Array(this.#input.length + taken.length);
      joined.set(this.#input);
      joined.set(taken, this.#input.length);
      this.#input = joined;
      this.runner.notify(Queue.Receive);
    }
    return taken.length;
  }

  /** The terminal's window changed: the guest gets a configuration change interrupt. */
  resize(columns: number, rows: number): void {
    if (columns === this.#columns && rows === this.#rows) return;
    this.#columns = columns & 0xffff;
    this.#rows = rows & 0xffff;
    this.#signals?.configChanged();
  }

  /** What was typed and not taken stays: a driver that starts later gets it. */
  reset(): void {}

  save(): SavedState {
    return { version: 1, columns: this.#columns, rows: this.#rows, input: this.#input.slice() };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'console');
    const saved = state as unknown as { columns: number; rows: number; input: Uint8Array };
    this.#columns = saved.columns;
    this.#rows = saved.rows;
    this.#input = saved.input.slice();
  }

  #handler(): RequestHandler {
    return {
      activated: () => {},
      canServe: (queue) => queue !== Queue.Receive || this.#input.length > 0,
      serve: (queue, chain) => (queue === Queue.Receive ? this.#receive(chain) : this.#transmit(chain)),
    };
  }

  #receive(chain: DescriptorChain): number {
    const written = writeSegments(this.#memory, chain.writable, this.#input);
    this.#input = this.#input.slice(written);
    this.#options.inputTaken?.();
    return written;
  }

  #transmit(chain: DescriptorChain): number {
    const bytes = new Uint8Array(Math.min(totalLength(chain.readable), MaxChainOutput));
    readSegments(this.#memory, chain.readable, bytes);
    if (bytes.length > 0) this.#options.output(bytes);
    return 0;
  }

  /** §5.3.4 "Device configuration layout". */
  #createConfig(): RegisterSpace {
    return new RegisterSpace(12, [
      { name: 'columns', bytes: 2, read: () => this.#columns, write: () => {} },
      { name: 'rows', bytes: 2, read: () => this.#rows, write: () => {} },
      { name: 'maximumPorts', bytes: 4, read: () => 0, write: () => {} },
      register('emergencyWrite', 4, {
        get: () => 0,
        set: (value) => this.#options.output(Uint8Array.of(value & 0xff)),
      }),
    ]);
  }
}

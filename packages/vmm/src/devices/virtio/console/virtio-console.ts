/**
 * The console's register half: one port, its window size included. Its queue half is {@link ConsoleQueues}.
 *
 * Spec: virtio 1.2 §5.3 "Console Device".
 *
 * Left out: several ports (VIRTIO_CONSOLE_F_MULTIPORT).
 */
import type { SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import { RegisterSpace, register } from '../../pci/register-space.ts';
import { feature } from '../features.ts';
import type { QueueRunner, VirtioDevice, VirtioSignals } from '../virtio-device.ts';
import { VirtioDeviceType } from '../virtio-device.ts';
import type { ConsolePort } from './console-port.ts';

/** §5.3.3 "Feature bits". */
const ConsoleFeature = { Size: feature(0), EmergencyWrite: feature(2) } as const;
const QueueSize = 256;

export interface ConsoleOptions {
  /** Takes what the guest writes. The array is the receiver's to keep. */
  readonly output: (bytes: Uint8Array) => void;
  readonly columns?: number;
  readonly rows?: number;
}

export class VirtioConsole implements VirtioDevice {
  readonly type = VirtioDeviceType.Console;
  readonly features = ConsoleFeature.Size | ConsoleFeature.EmergencyWrite;
  readonly queueSizes = [QueueSize, QueueSize];
  readonly config: RegisterSpace;
  readonly #port: ConsolePort;
  readonly #options: ConsoleOptions;
  #signals: VirtioSignals | undefined;
  #columns: number;
  #rows: number;

  constructor(port: ConsolePort, options: ConsoleOptions) {
    this.#port = port;
    this.#options = options;
    this.#columns = options.columns ?? 80;
    this.#rows = options.rows ?? 25;
    this.config = this.#createConfig();
    port.onOutput = options.output;
  }

  get runner(): QueueRunner {
    return this.#port.runner;
  }

  connect(signals: VirtioSignals): void {
    this.#signals = signals;
    this.runner.connect(signals);
  }

  /** Types into the console. Returns how many of the bytes there was room for. */
  send(bytes: Uint8Array): number {
    return this.#port.send(bytes);
  }

  /** How many bytes {@link send} takes now. */
  get room(): number {
    return this.#port.room;
  }

  /** A driver has the device. */
  get listening(): boolean {
    return !this.runner.quiescent;
  }

  /** Types one byte. */
  receive(byte: number): void {
    this.send(Uint8Array.of(byte));
  }

  /** Passes on what the guest wrote, where another thread took it. */
  poll(): void {
    this.#port.poll();
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
    return { version: 1, columns: this.#columns, rows: this.#rows, input: this.#port.pendingInput() };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'console');
    const saved = state as unknown as { columns: number; rows: number; input: Uint8Array };
    this.#columns = saved.columns;
    this.#rows = saved.rows;
    this.#port.setPendingInput(saved.input);
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

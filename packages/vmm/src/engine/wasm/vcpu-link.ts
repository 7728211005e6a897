/**
 * Between a vCPU with a thread of its own and the machine's thread: attention, its local APIC's inbox, statistics, and its
 * state while it stands still.
 *
 * The state is the vCPU thread's own while it may run. Before it stands still it writes it down; a state that the machine's
 * thread writes is loaded before the vCPU runs again.
 */
import '../../types/webassembly.ts';
import { ApicInbox, ApicInboxBytes } from '../../interrupts/apic-inbox.ts';
import { HostError } from '../../errors/host-error.ts';
import { decodeState, encodeState } from '../state-json.ts';
import type { CpuChoice } from '../../x86/cpu-models.ts';
import type { Vcpu } from '../engine.ts';
import type { VcpuExit } from '../exit.ts';
import type { VcpuState } from '../state.ts';
import type { SharedMemoryDescription } from './shared-memory.ts';
import { ThreadField, type VmLayout } from './softmmu/vm-layout.ts';
import type { TranslatorStatistics } from './translator/translator.ts';

/** What the thread of a vCPU makes its part of the engine with: plain data and shared memory. */
export interface VcpuThreadParts {
  readonly memory: WebAssembly.Memory;
  readonly layout: VmLayout;
  /** Compiled by the machine's thread. */
  readonly core: WebAssembly.Module;
  readonly cpu: CpuChoice;
  /** Of each vCPU. */
  readonly states: readonly SharedArrayBuffer[];
}

/** What the VM's vCPUs are loaded with beside their own states. */
export interface VcpuSurroundings {
  readonly tscKhz: number;
  /** kvm-clock's nanoseconds when the clock showed 0. */
  readonly kvmClockOffset: bigint;
}
interface WrittenState {
  readonly state: VcpuState;
  readonly surroundings: VcpuSurroundings | undefined;
}

const Word = { Written: 0, Length: 1 } as const;
/** Who wrote the state last. */
const WrittenBy = { Nobody: 0, Machine: 1, Vcpu: 2 } as const;
const TextOffset = 64;
/** Room for a state as text, with the components of other engines' processors. */
const StateBytes = 256 * 1024;

export const NoTranslation: TranslatorStatistics = {
  regions: 0,
  instructions: 0,
  modules: 0,
  moduleBytes: 0,
  compileTime: 0,
  left: 0,
  dropped: 0,
  evictions: 0,
};
const StatisticNames = [
  'droppedBlocks',
  'flushes',
  'forms',
  'regions',
  'instructions',
  'modules',
  'moduleBytes',
  'compileTime',
  'left',
  'dropped',
  'evictions',
] as const;
export type ThreadStatistics = Readonly<Record<(typeof StatisticNames)[number], number>>;

export class VcpuLink {
  readonly inbox: ApicInbox;
  readonly state: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #attention: Int32Array;
  readonly #statistics: Int32Array;

  constructor(buffer: SharedArrayBuffer, layout: VmLayout, id: number, state?: SharedArrayBuffer) {
    const block = layout.threads[id]!;
    this.state = state ?? new SharedArrayBuffer(TextOffset + StateBytes);
    this.#words = new Int32Array(this.state);
    this.#attention = new Int32Array(buffer, block + ThreadField.Attention, 1);
    this.#statistics = new Int32Array(buffer, block + ThreadField.Statistics, StatisticNames.length);
    const words = new Int32Array(buffer, block + ThreadField.ApicInbox, ApicInboxBytes / 4);
    this.inbox = new ApicInbox(id, words, () => this.wake());
  }

  /** Gets the thread out of guest code and out of its sleep. */
  wake(): void {
    Atomics.store(this.#attention, 0, 1);
    Atomics.notify(this.#attention, 0);
  }

  /** The thread itself: takes the request back. */
  attend(): void {
    Atomics.store(this.#attention, 0, 0);
  }

  /** The thread itself: sleeps until it is woken, at most so long. */
  sleep(milliseconds: number): void {
    Atomics.wait(this.#attention, 0, 0, milliseconds);
  }

  get statistics(): ThreadStatistics {
    const words = this.#statistics;
    return Object.fromEntries(StatisticNames.map((name, i) => [name, words[i]!])) as ThreadStatistics;
  }
  set statistics(statistics: ThreadStatistics) {
    StatisticNames.forEach((name, i) => (this.#statistics[i] = statistics[name]));
  }

  /** The machine's thread, while the vCPU stands still. */
  writeState(written: WrittenState): void {
    this.#write(WrittenBy.Machine, written);
  }
  /** The machine's thread, while the vCPU stands still: what either side wrote last. */
  readState(): WrittenState {
    return this.#read();
  }

  /** The vCPU's thread: a state that it has to load first. */
  takeState(): WrittenState | undefined {
    if (Atomics.load(this.#words, Word.Written) !== WrittenBy.Machine) return undefined;
    Atomics.store(this.#words, Word.Written, WrittenBy.Nobody);
    return this.#read();
  }
  /** The vCPU's thread, before it stands still. */
  publishState(state: () => VcpuState): void {
    if (Atomics.load(this.#words, Word.Written) === WrittenBy.Machine) return;
    this.#write(WrittenBy.Vcpu, { state: state(), surroundings: undefined });
  }

  #write(by: number, written: WrittenState): void {
    const bytes = new TextEncoder().encode(encodeState(written));
    if (bytes.length > StateBytes) {
      throw new HostError(
        'Internal',
        `a processor's state takes ${bytes.length} bytes, and there is room for ${StateBytes}`,
      );
    }
    new Uint8Array(this.state, TextOffset).set(bytes);
    Atomics.store(this.#words, Word.Length, bytes.length);
    Atomics.store(this.#words, Word.Written, by);
  }

  #read(): WrittenState {
    const length = Atomics.load(this.#words, Word.Length);
    const bytes = new Uint8Array(this.state, TextOffset, length).slice();
    return decodeState(new TextDecoder().decode(bytes)) as WrittenState;
  }
}

/** Gets a thread that runs vCPUs out of guest code and out of its sleep. From any thread. */
export function wakeVcpuThread({ buffer, layout }: SharedMemoryDescription, thread: number): void {
  const attention = new Int32Array(buffer, layout.threads[thread]! + ThreadField.Attention, 1);
  Atomics.store(attention, 0, 1);
  Atomics.notify(attention, 0);
}

/** What the machine's thread finds out about the state of a vCPU that stands still. */
export interface StateHost {
  surroundings(): VcpuSurroundings;
  /** Senders of interrupts find the vCPU as it is in this state. */
  publish(state: VcpuState): void;
  /** The state after what was sent to the vCPU since it was written down. */
  receive(state: VcpuState): VcpuState;
}

/** A vCPU with a thread of its own, in the machine's thread. */
export class DistantVcpu implements Vcpu {
  readonly id: number;
  readonly #link: VcpuLink;
  readonly #host: StateHost;

  constructor(id: number, link: VcpuLink, first: VcpuState, host: StateHost) {
    this.id = id;
    this.#link = link;
    this.#host = host;
    this.setState(first);
  }

  run(): VcpuExit {
    throw new Error(`vCPU ${this.id} runs in a thread of its own`);
  }
  kick(): void {
    this.#link.wake();
  }
  /** Its thread knows. */
  get runnable(): boolean {
    return false;
  }
  /** Legal while it stands still, as {@link setState} is. */
  state(): VcpuState {
    const { state } = this.#link.readState();
    if (!this.#link.inbox.isPending) return state;
    const received = this.#host.receive(state);
    this.setState(received);
    return received;
  }
  setState(state: VcpuState): void {
    this.#host.publish(state);
    this.#link.writeState({ state, surroundings: this.#host.surroundings() });
  }
}

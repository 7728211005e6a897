/** The queue half of the console: its bytes between guest memory and a {@link ConsoleStream}. */
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { readSegments, totalLength, writeSegments } from '../descriptor-chain.ts';
import type { DescriptorChain } from '../descriptor-chain.ts';
import type { RequestHandler } from '../queue-server.ts';

/** virtio 1.2 §5.3.2 "Virtqueues". */
export const ConsoleQueue = { Receive: 0, Transmit: 1 } as const;

/** Output taken from one chain; more is cut off, so that a notification has bounded work. Drivers send 32 KiB at most. */
export const MaxChainOutput = 64 * 1024;
/** Input given to one chain. */
const MaxChainInput = 64 * 1024;

/** Where the console's bytes go to and come from, on the thread that serves its queues. */
export interface ConsoleStream {
  /** Bytes of input that wait. */
  readonly available: number;
  /** Moves up to `target.length` bytes of input into `target` and returns how many. */
  read(target: Uint8Array): number;
  /** True when {@link write} takes {@link MaxChainOutput} bytes. Notify the queue when that turns from false to true. */
  hasRoom(): boolean;
  /** Takes output. The array is the receiver's to keep. */
  write(bytes: Uint8Array): void;
}

export class ConsoleQueues implements RequestHandler {
  readonly #memory: GuestMemory;
  readonly #stream: ConsoleStream;

  constructor(memory: GuestMemory, stream: ConsoleStream) {
    this.#memory = memory;
    this.#stream = stream;
  }

  activated(): void {}

  canServe(queue: number): boolean {
    return queue === ConsoleQueue.Receive ? this.#stream.available > 0 : this.#stream.hasRoom();
  }

  serve(queue: number, chain: DescriptorChain): number {
    return queue === ConsoleQueue.Receive ? this.#receive(chain) : this.#transmit(chain);
  }

  #receive(chain: DescriptorChain): number {
    const length = Math.min(totalLength(chain.writable), this.#stream.available, MaxChainInput);
    const bytes = new Uint8Array(length);
    return writeSegments(this.#memory, chain.writable, bytes.subarray(0, this.#stream.read(bytes)));
  }

  #transmit(chain: DescriptorChain): number {
    const bytes = new Uint8Array(Math.min(totalLength(chain.readable), MaxChainOutput));
    readSegments(this.#memory, chain.readable, bytes);
    if (bytes.length > 0) this.#stream.write(bytes);
    return 0;
  }
}

/**
 * The guest's console as a Node stream: what the guest prints is read from it, what is written to it is typed.
 *
 * Nobody has to read: without a reader the last {@link BacklogLimit} bytes are kept for one that comes later. With a
 * reader that is slow, the guest waits, as it would for a slow serial line.
 */
import { Duplex } from 'node:stream';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { ByteRing } from '../threads/byte-ring.ts';
import type { ControlBlock } from '../threads/control-block.ts';

const BacklogLimit = 256 * 1024;
/** What {@link GuestConsole.waitFor} can look back on. */
const SearchLimit = 1024 * 1024;
/** How much of a text without a match is kept for a match that has yet to be completed. */
const PartialMatchLimit = 64 * 1024;
const DefaultWait = 60_000;

/** The console's two ends in shared memory. */
export interface ConsoleLink {
  readonly output: ByteRing;
  readonly input: ByteRing;
  readonly control: ControlBlock;
  /** Makes the guest's thread look at the input ring. */
  readonly notifyGuest: () => void;
}

export interface WaitForOptions {
  /** Milliseconds; default 60,000. */
  readonly timeout?: number;
}

interface Waiter {
  readonly pattern: RegExp;
  readonly resolve: (match: RegExpExecArray) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class GuestConsole extends Duplex {
  readonly #link: ConsoleLink;
  readonly #chunk = new Uint8Array(64 * 1024);
  /** Output from before there was a reader. */
  #backlog: Buffer[] = [];
  #backlogSize = 0;
  /** False while the reader's buffer is full. */
  #readerHasRoom = true;
  #pendingInput: { bytes: Uint8Array; done: () => void } | undefined;
  readonly #decoder = new TextDecoder();
  /** Output that no {@link waitFor} has consumed. */
  #text = '';
  #waiters: Waiter[] = [];
  #endMessage: string | undefined;

  constructor(link: ConsoleLink) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024 });
    this.#link = link;
    // The stream is a view of the machine: it closes when the machine ends, not when a reader is done.
    this.on('newListener', (event) => {
      if (event === 'data' || event === 'readable') setImmediate(() => this.drain());
    });
  }

  /**
   * Waits until the guest has printed something that matches, and consumes the output up to the end of the match: the
   * next call looks at what follows. Independent of other readers of the stream.
   *
   * @throws HostError WaitTimedOut after the time limit; MachineEnded when the machine ends first
   */
  waitFor(pattern: RegExp, { timeout = DefaultWait }: WaitForOptions = {}): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((waiter) => waiter.timer !== timer);
        const problem = `the guest did not print ${pattern} within ${timeout} ms`;
        reject(new HostError('WaitTimedOut', `${problem}; its last output: ${this.#lastOutput()}`));
      }, timeout);
      this.#waiters.push({ pattern: new RegExp(pattern, pattern.flags.replace(/[gy]/g, '')), resolve, reject, timer });
      this.#search();
    });
  }

  /** For the machine: there is new output. */
  drain(): void {
    if (this.destroyed) return;
    this.#link.control.outputSeen();
    this.#pushBacklog();
    while (!this.#hasReader || this.#readerHasRoom) {
      const length = this.#link.output.read(this.#chunk);
      if (length === 0) break;
      this.#received(Buffer.from(this.#chunk.subarray(0, length)));
    }
    if (this.#endMessage !== undefined) this.#finish();
    else this.#search();
  }

  /** For the machine: the guest has read input. */
  inputHasRoom(): void {
    const pending = this.#pendingInput;
    this.#pendingInput = undefined;
    if (pending) this.#send(pending.bytes, pending.done);
  }

  /** For the machine: it has ended; `message` says why. */
  machineEnded(message: string): void {
    this.#endMessage = message;
    this.drain();
  }

  override _read(): void {
    this.#readerHasRoom = true;
    setImmediate(() => this.drain());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(chunk, done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const pending = this.#pendingInput;
    this.#pendingInput = undefined;
    pending?.done();
    done(error);
  }

  get #hasReader(): boolean {
    return this.readableFlowing !== null || this.listenerCount('readable') > 0;
  }

  #received(bytes: Buffer): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    if (this.#text.length > SearchLimit) this.#text = this.#text.slice(-SearchLimit);
    if (this.#hasReader) {
      this.#readerHasRoom = this.push(bytes);
      return;
    }
    this.#backlog.push(bytes);
    this.#backlogSize += bytes.length;
    while (this.#backlogSize > BacklogLimit) this.#backlogSize -= this.#backlog.shift()!.length;
  }

  #pushBacklog(): void {
    if (!this.#hasReader || this.#backlog.length === 0) return;
    const backlog = this.#backlog;
    this.#backlog = [];
    this.#backlogSize = 0;
    for (const bytes of backlog) this.#readerHasRoom = this.push(bytes);
  }

  #search(): void {
    while (this.#waiters.length > 0) {
      const { pattern, resolve, timer } = this.#waiters[0]!;
      const match = pattern.exec(this.#text);
      if (!match) {
        this.#text = this.#text.slice(-PartialMatchLimit);
        return;
      }
      this.#text = this.#text.slice(match.index + match[0].length);
      this.#waiters.shift();
      clearTimeout(timer);
      resolve(match);
    }
  }

  /** After the machine's end: the rest of the output has been read, or waits for a reader. */
  #finish(): void {
    this.#search();
    for (const { pattern, reject, timer } of this.#waiters) {
      clearTimeout(timer);
      const problem = `the machine ended before the guest printed ${pattern}: ${this.#endMessage}`;
      reject(new HostError('MachineEnded', `${problem}; its last output: ${this.#lastOutput()}`));
    }
    this.#waiters = [];
    this.#pendingInput?.done();
    this.#pendingInput = undefined;
    if (this.#link.output.available === 0 && this.#backlog.length === 0 && !this.readableEnded) this.push(null);
  }

  #send(bytes: Uint8Array, done: () => void): void {
    if (this.#endMessage !== undefined) return done();
    const sent = this.#link.input.write(bytes);
    if (sent < bytes.length) {
      this.#pendingInput = { bytes: bytes.subarray(sent), done };
      this.#link.control.inputWaits = true;
    }
    this.#link.notifyGuest();
    if (sent === bytes.length) done();
  }

  #lastOutput(): string {
    return JSON.stringify(this.#text.slice(-300));
  }
}

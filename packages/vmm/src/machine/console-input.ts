/**
 * Hands typed bytes to the guest's console at the pace at which the guest takes them.
 *
 * A person's keys go to the device as soon as it has room. A program's input (a pipe, a library call) comes all at once
 * and long before anybody in the guest listens; a UART would lose it. So it is held back: until the guest has opened its
 * console and waits, then a line at a time, the next one when the guest is idle again. After a line, an idle guest that
 * shows a prompt (output that does not end its line) gets the next line at once; one that shows none may be busy with
 * something that sleeps, so the first such wait takes {@link QuietTime}, and the following lines do not wait again.
 */
import type { Clock } from '../time/clock.ts';

/** The console device, as input sees it. */
export interface ConsoleDevice {
  /** How many bytes the device takes now. */
  readonly room: number;
  /** Software listens: it has asked for receive interrupts. */
  readonly listening: boolean;
  /** Puts a byte in. */
  receive(byte: number): void;
}

/** Where typed bytes come from. */
export interface InputSource {
  readonly available: number;
  /** Moves up to `target.length` bytes. */
  read(target: Uint8Array): number;
}

const Millisecond = 1e6;
/** Silence of an idle guest without a prompt, before it gets its next line. */
const QuietTime = 50 * Millisecond;
/** The same before its first line: start-up pauses now and then. */
const StartQuietTime = 3000 * Millisecond;
/** Only the beginning of a line, and whether it is empty, matter. */
const LineKept = 64;
const LineFeed = 0x0a;
const CarriageReturn = 0x0d;
/** What the guest prints when its first process runs: input is safe from then on. */
const ReadyLine = 'lodger: init';

export interface ConsoleInputConfig {
  readonly device: ConsoleDevice;
  readonly source: InputSource;
  readonly clock: Clock;
  /** Bytes go to the device as soon as it has room. */
  readonly interactive: boolean;
}

export class ConsoleInput {
  readonly #config: ConsoleInputConfig;
  readonly #chunk = new Uint8Array(256);
  /** Taken from the source, not yet given to the device. */
  #pending = this.#chunk.subarray(0, 0);
  /** The guest is there: it has had a reason to get its first line. */
  #started = false;
  /** Bytes may go to the device, up to the end of the line. */
  #released = false;
  /** The guest reads without showing prompts. */
  #promptless = false;
  #line = '';
  #lastOutput = 0;

  constructor(config: ConsoleInputConfig) {
    this.#config = config;
    this.#released = config.interactive;
  }

  /** Looks at a byte that the guest prints. */
  observe(byte: number): void {
    this.#lastOutput = this.#config.clock.now();
    if (byte === LineFeed || byte === CarriageReturn) {
      if (this.#line.endsWith(ReadyLine)) this.#started = true;
      this.#line = '';
    } else if (this.#line.length < LineKept) {
      this.#line += String.fromCharCode(byte);
    }
  }

  /** Gives the device what it may have and has room for. */
  feed(): void {
    const { device, source, interactive } = this.#config;
    while (this.#released && device.room > 0) {
      if (this.#pending.length === 0) {
        this.#pending = this.#chunk.subarray(0, source.read(this.#chunk));
        if (this.#pending.length === 0) return;
      }
      const byte = this.#pending[0]!;
      this.#pending = this.#pending.subarray(1);
      device.receive(byte);
      if (!interactive && (byte === LineFeed || byte === CarriageReturn)) this.#lineGiven();
    }
  }

  /** The guest has nothing to run: it may be waiting for input. Call before each sleep. */
  guestIsIdle(): void {
    if (this.#released || !this.#waits || !this.#config.device.listening) return;
    if (this.#config.clock.now() < this.#releaseTime()) return;
    if (this.#started && !this.#promptShown) this.#promptless = true;
    this.#started = true;
    this.#released = true;
    this.feed();
  }

  /** When {@link guestIsIdle} wants to be asked again if the guest stays idle, or Infinity. */
  nextDeadline(): number {
    return this.#released || !this.#waits || !this.#config.device.listening ? Infinity : this.#releaseTime();
  }

  get #waits(): boolean {
    return this.#pending.length > 0 || this.#config.source.available > 0;
  }

  get #promptShown(): boolean {
    return this.#line !== '';
  }

  #releaseTime(): number {
    if (!this.#started) return this.#lastOutput + (this.#promptShown ? QuietTime : StartQuietTime);
    return this.#promptShown || this.#promptless ? 0 : this.#lastOutput + QuietTime;
  }

  #lineGiven(): void {
    this.#released = false;
    this.#lastOutput = this.#config.clock.now();
    if (this.#promptShown) this.#promptless = false;
    // What the guest printed before the line is no prompt for the next one.
    this.#line = '';
  }
}

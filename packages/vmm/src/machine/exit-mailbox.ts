/**
 * Between a vCPU that has a thread of its own and the thread that has the board: one block of shared memory.
 *
 * The vCPU's side ({@link VcpuMailbox}) posts an exit, wakes the board and waits for the answer. The board's side
 * ({@link BoardMailbox}) looks for posted exits in its turns, and gives commands: hold (stay out of guest code, and say
 * so), run, end. A vCPU obeys a command at the latest when it is kicked out of guest code. The end releases every waiter.
 *
 * Each side has a futex word that it alone moves on, after everything that the other side is to see.
 */
import type { AccessSize } from '../bus/bus-device.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import { ExitCountBytes, ExitCounts } from './exit-counts.ts';

const Word = {
  /** Moved on by the board. */
  FromBoard: 0,
  /** Moved on by the vCPU. */
  FromVcpu: 1,
  /** {@link ExitState} */
  Exit: 2,
  /** {@link Command} */
  Command: 3,
  /** {@link Phase} */
  Phase: 4,
  /** {@link Idle} */
  Idle: 5,
  /** The posted exit: {@link Kind} and its fields. */
  Kind: 6,
  Size: 7,
  AddressLow: 8,
  AddressHigh: 9,
  ValueLow: 10,
  ValueHigh: 11,
  /** Bytes of the text. */
  TextLength: 12,
} as const;

const CountsOffset = 64;
const TextOffset = CountsOffset + ExitCountBytes;
const TextRoom = 8192;
/** Bytes of one mailbox. */
export const MailboxBytes = TextOffset + TextRoom;

const ExitState = { None: 0, Posted: 1, Answered: 2 } as const;
const Command = { Run: 0, Hold: 1, End: 2 } as const;
const Phase = {
  /** The vCPU's thread has not got as far as the mailbox. */
  Starting: 0,
  /** In guest code, or waiting for an answer. */
  Running: 1,
  /** Out of guest code until the command is another one. */
  Held: 2,
  /** The vCPU's thread will not run guest code any more. */
  Ended: 3,
} as const;
const Idle = { Unknown: 0, Asked: 1, Busy: 2, Halted: 3 } as const;

/** The exits that the board answers. */
const Kind = {
  PioRead: 0,
  PioWrite: 1,
  MmioRead: 2,
  MmioWrite: 3,
  Shutdown: 4,
  Debug: 5,
  Failure: 6,
} as const;
const DebugReasons = ['breakpoint', 'single-step'] as const;

const HighWord = 2 ** 32;
/** Milliseconds between two kicks of a vCPU that is expected out of guest code. */
const KickInterval = 100;

/** What both sides share. */
class Mailbox {
  readonly buffer: SharedArrayBuffer;
  readonly counts: ExitCounts;
  protected readonly words: Int32Array;
  protected readonly text: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer, 0, CountsOffset / 4);
    this.counts = new ExitCounts(buffer, CountsOffset);
    this.text = new Uint8Array(buffer, TextOffset, TextRoom);
  }

  protected load(word: number): number {
    return Atomics.load(this.words, word);
  }

  protected store(word: number, value: number): void {
    Atomics.store(this.words, word, value);
  }

  /** Wakes the side that waits for `futex`. */
  protected moveOn(futex: number): void {
    Atomics.add(this.words, futex, 1);
    Atomics.notify(this.words, futex);
  }

  protected get address(): number {
    return (this.words[Word.AddressHigh]! >>> 0) * HighWord + (this.words[Word.AddressLow]! >>> 0);
  }

  protected set address(address: number) {
    this.words[Word.AddressLow] = address | 0;
    this.words[Word.AddressHigh] = Math.floor(address / HighWord) | 0;
  }

  protected get wideValue(): bigint {
    return (BigInt(this.words[Word.ValueHigh]! >>> 0) << 32n) | BigInt(this.words[Word.ValueLow]! >>> 0);
  }

  protected set wideValue(value: bigint) {
    this.words[Word.ValueLow] = Number(BigInt.asIntN(32, value));
    this.words[Word.ValueHigh] = Number(BigInt.asIntN(32, value >> 32n));
  }
}

/** The side of the vCPU's thread. */
export class VcpuMailbox extends Mailbox {
  readonly #wakeBoard: () => void;

  /** `wakeBoard` makes the board's thread take its next turn soon. */
  constructor(buffer: SharedArrayBuffer, wakeBoard: () => void) {
    super(buffer);
    this.#wakeBoard = wakeBoard;
  }

  /** To be called before each entry into guest code: waits while the board holds the vCPU. False: it is over. */
  mayRun(): boolean {
    for (;;) {
      const seen = this.load(Word.FromBoard);
      if (this.load(Word.Command) === Command.Run) {
        if (this.load(Word.Phase) !== Phase.Running) this.store(Word.Phase, Phase.Running);
        // Whoever gave another command before that store may have taken the vCPU for being out.
        if (this.load(Word.Command) === Command.Run) return true;
      }
      if (this.load(Word.Command) === Command.End) return false;
      this.store(Word.Phase, Phase.Held);
      this.moveOn(Word.FromVcpu);
      Atomics.wait(this.words, Word.FromBoard, seen);
    }
  }

  /** True while the board wants the vCPU out of guest code, between two instructions. */
  get isHeld(): boolean {
    return this.load(Word.Command) === Command.Hold;
  }

  /** Has an exit answered: `value` of a read is set then. False: the machine ended first. */
  ask(exit: VcpuExit): boolean {
    this.#write(exit);
    this.store(Word.Exit, ExitState.Posted);
    this.moveOn(Word.FromVcpu);
    this.#wakeBoard();
    for (;;) {
      const seen = this.load(Word.FromBoard);
      if (this.load(Word.Exit) === ExitState.Answered) break;
      if (this.load(Word.Command) === Command.End) return false;
      Atomics.wait(this.words, Word.FromBoard, seen);
    }
    if (exit.kind === 'pio-read') exit.value = this.words[Word.ValueLow]! >>> 0;
    if (exit.kind === 'mmio-read') exit.value = this.wideValue;
    this.store(Word.Exit, ExitState.None);
    return true;
  }

  /** True when the board wants to know whether the vCPU is halted: {@link answerIdle}. */
  get idleAsked(): boolean {
    return this.load(Word.Idle) === Idle.Asked;
  }

  answerIdle(halted: boolean): void {
    this.store(Word.Idle, halted ? Idle.Halted : Idle.Busy);
    this.#wakeBoard();
  }

  /** The thread's last word: no guest code runs here any more. Any thread may say so of a thread that is gone. */
  ended(): void {
    this.store(Word.Phase, Phase.Ended);
    this.moveOn(Word.FromVcpu);
  }

  #write(exit: VcpuExit): void {
    const { words } = this;
    switch (exit.kind) {
      case 'pio-read':
      case 'pio-write':
        words[Word.Kind] = exit.kind === 'pio-read' ? Kind.PioRead : Kind.PioWrite;
        words[Word.Size] = exit.size;
        this.address = exit.port;
        words[Word.ValueLow] = exit.value | 0;
        return;
      case 'mmio-read':
      case 'mmio-write':
        words[Word.Kind] = exit.kind === 'mmio-read' ? Kind.MmioRead : Kind.MmioWrite;
        words[Word.Size] = exit.size;
        this.address = exit.address;
        this.wideValue = exit.value;
        return;
      case 'shutdown':
        words[Word.Kind] = Kind.Shutdown;
        return;
      case 'debug':
        words[Word.Kind] = Kind.Debug;
        words[Word.Size] = DebugReasons.indexOf(exit.reason);
        this.wideValue = exit.rip;
        return;
      case 'failure':
        words[Word.Kind] = Kind.Failure;
        words[Word.TextLength] = encode(exit.reason, this.text);
        return;
      default:
        throw new Error(`an exit for the vCPU's own thread: ${exit.kind}`);
    }
  }
}

/** The side of the board's thread. */
export class BoardMailbox extends Mailbox {
  readonly #pioRead = { kind: 'pio-read' as const, port: 0, size: 1 as 1 | 2 | 4, value: 0 };
  readonly #pioWrite = { kind: 'pio-write' as const, port: 0, size: 1 as 1 | 2 | 4, value: 0 };
  readonly #mmioRead = {
    kind: 'mmio-read' as const,
    address: 0 as GuestPhysicalAddress,
    size: 1 as AccessSize,
    value: 0n,
  };
  readonly #mmioWrite = {
    kind: 'mmio-write' as const,
    address: 0 as GuestPhysicalAddress,
    size: 1 as AccessSize,
    value: 0n,
  };
  readonly #kick: () => void;

  /** `kick` makes the vCPU leave guest code, now or when it is about to enter it. */
  constructor(buffer: SharedArrayBuffer, kick: () => void) {
    super(buffer);
    this.#kick = kick;
  }

  /** The posted exit, or undefined. It is to be answered before the next call. */
  posted(): VcpuExit | undefined {
    return this.load(Word.Exit) === ExitState.Posted ? this.#read() : undefined;
  }

  /** Lets the vCPU go on from what {@link posted} returned. */
  answer(exit: VcpuExit): void {
    if (exit.kind === 'pio-read') this.words[Word.ValueLow] = exit.value | 0;
    if (exit.kind === 'mmio-read') this.wideValue = exit.value;
    this.store(Word.Exit, ExitState.Answered);
    this.moveOn(Word.FromBoard);
  }

  /** Asks the vCPU to complete its instruction, leave guest code and stay out; {@link isOut} says when it has. */
  hold(): void {
    this.#command(Command.Hold);
  }

  run(): void {
    this.#command(Command.Run);
  }

  /** Ends the vCPU's thread, whatever it waits for. */
  end(): void {
    this.#command(Command.End);
  }

  /** No guest code runs on this vCPU, and none will before {@link run}. */
  get isOut(): boolean {
    return this.load(Word.Phase) !== Phase.Running;
  }

  /** Sleeps until the vCPU did something, or may need another kick. `handle` deals with a posted exit. */
  awaitOut(handle: (exit: VcpuExit) => void): void {
    for (;;) {
      const seen = this.load(Word.FromVcpu);
      const exit = this.posted();
      if (exit) {
        handle(exit);
        this.answer(exit);
      }
      if (this.isOut) return;
      if (exit === undefined && Atomics.wait(this.words, Word.FromVcpu, seen, KickInterval) === 'timed-out')
        this.#kick();
    }
  }

  /**
   * Whether the vCPU was halted when it was last asked. 'unknown': it has been asked by this call or an earlier one, and
   * will wake the board.
   */
  idleState(): 'unknown' | 'busy' | 'halted' {
    switch (this.load(Word.Idle)) {
      case Idle.Busy:
        return 'busy';
      case Idle.Halted:
        return 'halted';
      case Idle.Unknown:
        // One that has not started waits for its start-up.
        if (this.load(Word.Phase) === Phase.Starting) return 'halted';
        this.store(Word.Idle, Idle.Asked);
        this.#kick();
        return 'unknown';
      default:
        return 'unknown';
    }
  }

  forgetIdleState(): void {
    if (this.load(Word.Idle) !== Idle.Asked) this.store(Word.Idle, Idle.Unknown);
  }

  #command(command: number): void {
    // Nothing follows an end.
    if (this.load(Word.Command) === Command.End) return;
    this.store(Word.Command, command);
    this.moveOn(Word.FromBoard);
    if (command !== Command.Run) this.#kick();
  }

  #read(): VcpuExit {
    const { words } = this;
    const kind = words[Word.Kind];
    switch (kind) {
      case Kind.PioRead:
      case Kind.PioWrite: {
        const exit = kind === Kind.PioRead ? this.#pioRead : this.#pioWrite;
        exit.port = words[Word.AddressLow]!;
        exit.size = words[Word.Size] as 1 | 2 | 4;
        exit.value = words[Word.ValueLow]! >>> 0;
        return exit;
      }
      case Kind.MmioRead:
      case Kind.MmioWrite: {
        const exit = kind === Kind.MmioRead ? this.#mmioRead : this.#mmioWrite;
        exit.address = this.address as GuestPhysicalAddress;
        exit.size = words[Word.Size] as AccessSize;
        exit.value = this.wideValue;
        return exit;
      }
      case Kind.Shutdown:
        return { kind: 'shutdown' };
      case Kind.Debug:
        return { kind: 'debug', reason: DebugReasons[words[Word.Size]!]!, rip: this.wideValue };
      default:
        return { kind: 'failure', reason: new TextDecoder().decode(this.text.slice(0, words[Word.TextLength])) };
    }
  }
}

/** A mailbox whose vCPU is held until the board lets it {@link BoardMailbox.run}. */
export function createMailbox(): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(MailboxBytes);
  new Int32Array(buffer)[Word.Command] = Command.Hold;
  return buffer;
}

/** Writes as much of `text` as fits; the bytes written. */
function encode(text: string, target: Uint8Array): number {
  const bytes = new TextEncoder().encode(text).subarray(0, target.length);
  target.set(bytes);
  return bytes.length;
}

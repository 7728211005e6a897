/**
 * A 16550A UART, the PC's COM1.
 *
 * National Semiconductor PC16550D data sheet (June 1995), chapter 8 "Registers".
 *
 * Left out: the speed of the line (a byte is sent when it is written; the divisor is kept), parity and framing errors,
 * DMA modes, sending a break, and the character time-out's delay (received bytes below the trigger level are announced
 * as a time-out at once). OUT2 does not gate the interrupt as it does on a PC: kernels that forget it work elsewhere too.
 * DSR, CTS and DCD are asserted: somebody is always at the other end.
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import type { InterruptLine } from '../interrupts/interrupt-line.ts';
import { bitfield } from '../registers/bitfield.ts';

/** PC16550D "Table II. Summary of Registers". */
const Register = {
  /** RBR and THR; the divisor's low byte when DLAB is set. */
  Data: 0,
  /** The divisor's high byte when DLAB is set. */
  InterruptEnable: 1,
  /** IIR when read, FCR when written. */
  InterruptIdentification: 2,
  LineControl: 3,
  ModemControl: 4,
  LineStatus: 5,
  ModemStatus: 6,
  Scratch: 7,
} as const;

/** PC16550D §8.7 "Interrupt Enable Register". */
const InterruptEnable = bitfield(8, {
  ReceivedData: 0,
  TransmitterEmpty: 1,
  LineStatus: 2,
  ModemStatus: 3,
  Reserved4: [7, 4],
});

/** PC16550D §8.6 "Interrupt Identification Register": values of bits 3 to 0, the highest priority first. */
const InterruptId = {
  LineStatus: 0x6,
  ReceivedData: 0x4,
  CharacterTimeout: 0xc,
  TransmitterEmpty: 0x2,
  ModemStatus: 0x0,
  None: 0x1,
} as const;
const InterruptIdentification = bitfield(8, { Id: [3, 0], Reserved4: [5, 4], FifosEnabled: [7, 6] });

/** PC16550D §8.5 "FIFO Control Register". */
const FifoControl = bitfield(8, {
  Enable: 0,
  ResetReceiver: 1,
  ResetTransmitter: 2,
  DmaMode: 3,
  Reserved4: [5, 4],
  Trigger: [7, 6],
});
const TriggerLevels = [1, 4, 8, 14] as const;

/** PC16550D §8.1 "Line Control Register". */
const LineControl = bitfield(8, {
  WordLength: [1, 0],
  StopBits: 2,
  Parity: [5, 3],
  Break: 6,
  DivisorLatch: 7,
});

/** PC16550D §8.8 "Modem Control Register". */
const ModemControl = bitfield(8, { Dtr: 0, Rts: 1, Out1: 2, Out2: 3, Loop: 4, Reserved5: [7, 5] });

/** PC16550D §8.4 "Line Status Register". */
const LineStatus = bitfield(8, {
  DataReady: 0,
  Overrun: 1,
  Parity: 2,
  Framing: 3,
  Break: 4,
  TransmitterHoldingEmpty: 5,
  TransmitterEmpty: 6,
  FifoError: 7,
});

/** PC16550D §8.9 "Modem Status Register". */
const ModemStatus = bitfield(8, {
  DeltaCts: 0,
  DeltaDsr: 1,
  TrailingEdgeRi: 2,
  DeltaDcd: 3,
  Cts: 4,
  Dsr: 5,
  Ri: 6,
  Dcd: 7,
});
const ModemStates = bitfield(8, { Deltas: [3, 0], States: [7, 4] });
/** What the other end drives. */
const Connected = ModemStatus.of({ Cts: 1, Dsr: 1, Dcd: 1 });

const FifoSize = 16;
/** Marks a break in the receiver FIFO, above its byte. */
const BreakMark = 0x100;

export interface Serial16550Config {
  readonly interrupt: InterruptLine;
  /** A byte that the guest sends. */
  readonly output: (byte: number) => void;
  /** There is room again after {@link Serial16550.receive} had to refuse. */
  readonly onRoom?: () => void;
}

interface SerialState extends SavedState {
  readonly interruptEnable: number;
  readonly lineControl: number;
  readonly modemControl: number;
  readonly modemStatus: number;
  readonly scratch: number;
  readonly divisor: number;
  readonly fifosEnabled: boolean;
  readonly trigger: number;
  readonly received: readonly number[];
  readonly overrun: boolean;
  readonly breakSeen: boolean;
  readonly transmitterInterrupt: boolean;
}

export class Serial16550 implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #config: Serial16550Config;

  #interruptEnable = 0;
  #lineControl = 0;
  #modemControl = 0;
  #modemStatus = Connected;
  #scratch = 0;
  #divisor = 12;
  #fifosEnabled = false;
  #trigger: number = TriggerLevels[0];
  /** Bytes that the guest has not read yet, with their break marks. */
  readonly #received: number[] = [];
  #overrun = false;
  /** LSR was read with the break at the top of the FIFO: it is not shown again. */
  #breakSeen = false;
  /** The transmitter became empty since IIR told so. */
  #transmitterInterrupt = false;
  /** The host wants to hear of room. */
  #refused = false;

  constructor(config: Serial16550Config) {
    this.#config = config;
  }

  // The other end of the line.

  /** How many bytes {@link receive} takes now. */
  get room(): number {
    if (this.#looped) return 0;
    return Math.max(0, (this.#fifosEnabled ? FifoSize : 1) - this.#received.length);
  }

  /** Software waits for input: it has asked for interrupts on received data. */
  get listening(): boolean {
    return InterruptEnable.ReceivedData.isSet(this.#interruptEnable);
  }

  /** Hands a byte to the guest; false when there is no room (then `onRoom` follows). */
  receive(byte: number): boolean {
    return this.#receiveFromLine(byte & 0xff);
  }

  /** A break on the line (a serial console's SysRq key); false when there is no room. */
  receiveBreak(): boolean {
    return this.#receiveFromLine(BreakMark);
  }

  #receiveFromLine(entry: number): boolean {
    if (this.room === 0) {
      this.#refused = true;
      return false;
    }
    this.#received.push(entry);
    this.#updateInterrupt();
    return true;
  }

  // The guest's registers.

  read(offset: number): number {
    switch (offset) {
      case Register.Data:
        return this.#divisorSelected ? this.#divisor & 0xff : this.#readData();
      case Register.InterruptEnable:
        return this.#divisorSelected ? this.#divisor >> 8 : this.#interruptEnable;
      case Register.InterruptIdentification:
        return this.#readInterruptIdentification();
      case Register.LineControl:
        return this.#lineControl;
      case Register.ModemControl:
        return this.#modemControl;
      case Register.LineStatus:
        return this.#readLineStatus();
      case Register.ModemStatus:
        return this.#readModemStatus();
      case Register.Scratch:
        return this.#scratch;
      default:
        return 0xff;
    }
  }

  write(offset: number, _size: number, value: number): void {
    switch (offset) {
      case Register.Data:
        if (this.#divisorSelected) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        return;
      case Register.InterruptEnable:
        if (this.#divisorSelected) this.#divisor = (value << 8) | (this.#divisor & 0xff);
        else this.#writeInterruptEnable(value);
        return;
      case Register.InterruptIdentification:
        this.#writeFifoControl(value);
        return;
      case Register.LineControl:
        this.#lineControl = value;
        return;
      case Register.ModemControl:
        this.#writeModemControl(value);
        return;
      case Register.Scratch:
        this.#scratch = value;
        return;
      default:
      // Line and modem status are read-only.
    }
  }

  #readData(): number {
    const entry = this.#received.shift() ?? 0;
    this.#breakSeen = false;
    this.#updateInterrupt();
    this.#tellRoom();
    return entry & 0xff;
  }

  /** A byte leaves at once, so that the transmitter is empty again: a new interrupt, with an edge of its own. */
  #transmit(byte: number): void {
    this.#transmitterInterrupt = false;
    this.#updateInterrupt();
    if (this.#looped) this.#loopBack(byte);
    else this.#config.output(byte);
    this.#transmitterInterrupt = true;
    this.#updateInterrupt();
  }

  /** PC16550D §8.8 "Modem Control Register", bit 4: what is sent is received. */
  #loopBack(byte: number): void {
    if (this.#received.length < (this.#fifosEnabled ? FifoSize : 1)) {
      this.#received.push(byte);
      return;
    }
    this.#overrun = true;
    // Without FIFOs the new byte replaces the one that nobody read.
    if (!this.#fifosEnabled) this.#received[0] = byte;
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~InterruptEnable.Reserved4.mask;
    const { TransmitterEmpty } = InterruptEnable;
    // The transmitter is always empty: enabling its interrupt raises it.
    if (TransmitterEmpty.isSet(enabled) && !TransmitterEmpty.isSet(this.#interruptEnable)) {
      this.#transmitterInterrupt = true;
    }
    this.#interruptEnable = enabled;
    this.#updateInterrupt();
  }

  /** Reading IIR takes back the transmitter's interrupt if that is what it tells. */
  #readInterruptIdentification(): number {
    const id = this.#interruptId();
    if (id === InterruptId.TransmitterEmpty) {
      this.#transmitterInterrupt = false;
      this.#updateInterrupt();
    }
    return InterruptIdentification.of({ Id: id, FifosEnabled: this.#fifosEnabled ? 3 : 0 });
  }

  #writeFifoControl(value: number): void {
    const enable = FifoControl.Enable.isSet(value);
    if (enable !== this.#fifosEnabled || (enable && FifoControl.ResetReceiver.isSet(value))) {
      this.#received.length = 0;
      this.#breakSeen = false;
    }
    this.#fifosEnabled = enable;
    this.#trigger = enable ? TriggerLevels[FifoControl.Trigger.get(value)]! : TriggerLevels[0];
    this.#updateInterrupt();
    this.#tellRoom();
  }

  #writeModemControl(value: number): void {
    this.#modemControl = value & ~ModemControl.Reserved5.mask;
    const states = this.#looped
      ? ModemStatus.of({
          Cts: ModemControl.Rts.get(value),
          Dsr: ModemControl.Dtr.get(value),
          Ri: ModemControl.Out1.get(value),
          Dcd: ModemControl.Out2.get(value),
        })
      : Connected;
    const changed = states ^ (this.#modemStatus & ModemStates.States.mask);
    const ringEnded = ModemStatus.Ri.isSet(changed) && !ModemStatus.Ri.isSet(states);
    const deltas = ModemStatus.of({
      DeltaCts: ModemStatus.Cts.get(changed),
      DeltaDsr: ModemStatus.Dsr.get(changed),
      TrailingEdgeRi: ringEnded,
      DeltaDcd: ModemStatus.Dcd.get(changed),
    });
    this.#modemStatus = states | (this.#modemStatus & ModemStates.Deltas.mask) | deltas;
    this.#updateInterrupt();
    this.#tellRoom();
  }

  #readLineStatus(): number {
    const status = LineStatus.of({
      DataReady: this.#received.length > 0,
      Overrun: this.#overrun,
      Break: this.#breakShown,
      TransmitterHoldingEmpty: 1,
      TransmitterEmpty: 1,
      FifoError: this.#fifosEnabled && this.#received.some((entry) => entry >= BreakMark),
    });
    this.#overrun = false;
    if (this.#breakShown) this.#breakSeen = true;
    this.#updateInterrupt();
    return status;
  }

  #readModemStatus(): number {
    const status = this.#modemStatus;
    this.#modemStatus = status & ModemStates.States.mask;
    this.#updateInterrupt();
    return status;
  }

  get #divisorSelected(): boolean {
    return LineControl.DivisorLatch.isSet(this.#lineControl);
  }

  get #looped(): boolean {
    return ModemControl.Loop.isSet(this.#modemControl);
  }

  get #breakShown(): boolean {
    return !this.#breakSeen && this.#received.length > 0 && this.#received[0]! >= BreakMark;
  }

  #tellRoom(): void {
    if (!this.#refused || this.room === 0) return;
    this.#refused = false;
    this.#config.onRoom?.();
  }

  #interruptId(): number {
    const enabled = this.#interruptEnable;
    if (InterruptEnable.LineStatus.isSet(enabled) && (this.#overrun || this.#breakShown)) return InterruptId.LineStatus;
    if (InterruptEnable.ReceivedData.isSet(enabled) && this.#received.length > 0) {
      return this.#received.length >= this.#trigger ? InterruptId.ReceivedData : InterruptId.CharacterTimeout;
    }
    if (InterruptEnable.TransmitterEmpty.isSet(enabled) && this.#transmitterInterrupt) {
      return InterruptId.TransmitterEmpty;
    }
    if (InterruptEnable.ModemStatus.isSet(enabled) && ModemStates.Deltas.isSet(this.#modemStatus)) {
      return InterruptId.ModemStatus;
    }
    return InterruptId.None;
  }

  #updateInterrupt(): void {
    this.#config.interrupt.setLevel(this.#interruptId() !== InterruptId.None);
  }

  save(): SerialState {
    return {
      version: 1,
      interruptEnable: this.#interruptEnable,
      lineControl: this.#lineControl,
      modemControl: this.#modemControl,
      modemStatus: this.#modemStatus,
      scratch: this.#scratch,
      divisor: this.#divisor,
      fifosEnabled: this.#fifosEnabled,
      trigger: this.#trigger,
      received: [...this.#received],
      overrun: this.#overrun,
      breakSeen: this.#breakSeen,
      transmitterInterrupt: this.#transmitterInterrupt,
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'serial-16550');
    const state = saved as SerialState;
    this.#interruptEnable = state.interruptEnable;
    this.#lineControl = state.lineControl;
    this.#modemControl = state.modemControl;
    this.#modemStatus = state.modemStatus;
    this.#scratch = state.scratch;
    this.#divisor = state.divisor;
    this.#fifosEnabled = state.fifosEnabled;
    this.#trigger = state.trigger;
    this.#received.splice(0, this.#received.length, ...state.received.slice(0, FifoSize));
    this.#overrun = state.overrun;
    this.#breakSeen = state.breakSeen;
    this.#transmitterInterrupt = state.transmitterInterrupt;
    this.#updateInterrupt();
  }
}

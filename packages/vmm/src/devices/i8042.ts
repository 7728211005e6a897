/**
 * The keyboard controller of a PC without a keyboard or a mouse: operating systems reset the machine through it.
 *
 * IBM PS/2 Hardware Interface Technical Reference (October 1990), "Keyboard and Auxiliary Device Controller".
 *
 * Left out: the devices themselves (what is sent to the keyboard is answered with a time-out, as by a controller whose
 * connector is empty; the auxiliary interface fails its test), the password commands, scan code translation (the bit is
 * kept) and the A20 gate (its bit is kept; memory above 1 MiB does not wrap).
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { unconnectedLine } from '../interrupts/interrupt-line.ts';
import type { InterruptLine } from '../interrupts/interrupt-line.ts';
import { bitfield } from '../registers/bitfield.ts';

/** PS/2 Technical Reference "Controller Status Register". */
const Status = bitfield(8, {
  OutputFull: 0,
  InputFull: 1,
  SystemFlag: 2,
  LastWasCommand: 3,
  NotInhibited: 4,
  AuxiliaryData: 5,
  Timeout: 6,
  ParityError: 7,
});

/** PS/2 Technical Reference "Controller Command Byte". */
const Configuration = bitfield(8, {
  KeyboardInterrupt: 0,
  AuxiliaryInterrupt: 1,
  SystemFlag: 2,
  Reserved3: 3,
  KeyboardDisable: 4,
  AuxiliaryDisable: 5,
  Translate: 6,
  Reserved7: 7,
});

/** PS/2 Technical Reference "Output Port Definitions". */
const OutputPort = bitfield(8, {
  /** 0 resets the processor. */
  NoReset: 0,
  A20: 1,
  AuxiliaryData: 2,
  AuxiliaryClock: 3,
  KeyboardInterrupt: 4,
  AuxiliaryInterrupt: 5,
  KeyboardClock: 6,
  KeyboardData: 7,
});

/** PS/2 Technical Reference "Controller Commands". */
const Command = {
  ReadRam: { first: 0x20, last: 0x3f },
  WriteRam: { first: 0x60, last: 0x7f },
  DisableAuxiliary: 0xa7,
  EnableAuxiliary: 0xa8,
  TestAuxiliary: 0xa9,
  SelfTest: 0xaa,
  TestKeyboard: 0xab,
  DisableKeyboard: 0xad,
  EnableKeyboard: 0xae,
  ReadInputPort: 0xc0,
  ReadOutputPort: 0xd0,
  WriteOutputPort: 0xd1,
  WriteKeyboardOutput: 0xd2,
  WriteAuxiliaryOutput: 0xd3,
  WriteAuxiliaryDevice: 0xd4,
  PulseOutputPort: { first: 0xf0, last: 0xff },
} as const;

const SelfTestPassed = 0x55;
const InterfaceWorks = 0x00;
/** "Auxiliary device clock line is stuck low": there is no such device. */
const InterfaceClockStuck = 0x01;
/** What the controller answers in place of a device that does not. */
const Resend = 0xfe;
/** Keyboard not locked, manufacturing jumper not installed. */
const InputPortValue = 0xa0;
const RamSize = 32;
const ConfigurationCell = 0;

/** Where an answer comes from, as the status register shows it. */
const Source = {
  Controller: 0,
  Timeout: Status.Timeout.mask,
  AuxiliaryTimeout: Status.Timeout.mask | Status.AuxiliaryData.mask,
} as const;

export interface I8042Config {
  /** The guest asked for a reset of the machine. */
  readonly reset: () => void;
  /** The keyboard's interrupt. */
  readonly interrupt?: InterruptLine;
}

interface I8042State extends SavedState {
  readonly ram: readonly number[];
  readonly outputPort: number;
  readonly output: number | undefined;
  readonly outputStatus: number;
  readonly lastWasCommand: boolean;
  /** The command that waits for its data byte. */
  readonly pendingCommand: number | undefined;
}

export class I8042 implements Saveable {
  readonly #reset: () => void;
  readonly #interrupt: InterruptLine;
  readonly #ram = new Uint8Array(RamSize);
  #outputPort = OutputPort.of({ NoReset: 1, A20: 1, KeyboardClock: 1, KeyboardData: 1 });
  #output: number | undefined;
  /** Status bits that belong to `output`. */
  #outputStatus: number = Source.Controller;
  #lastWasCommand = false;
  #pendingCommand: number | undefined;

  /** Port 0x60. */
  readonly data: BusDevice = {
    maxAccess: 1,
    read: () => this.#readData(),
    write: (_offset, _size, value) => this.#writeData(value),
  };
  /** Port 0x64. */
  readonly command: BusDevice = {
    maxAccess: 1,
    read: () => this.#readStatus(),
    write: (_offset, _size, value) => this.#writeCommand(value),
  };

  constructor(config: I8042Config) {
    this.#reset = config.reset;
    this.#interrupt = config.interrupt ?? unconnectedLine;
    this.#ram[ConfigurationCell] = Configuration.of({ SystemFlag: 1, AuxiliaryDisable: 1, Translate: 1 });
  }

  #readStatus(): number {
    const status = Status.of({
      OutputFull: this.#output !== undefined,
      SystemFlag: Configuration.SystemFlag.get(this.#configuration),
      LastWasCommand: this.#lastWasCommand,
      NotInhibited: 1,
    });
    return status | this.#outputStatus;
  }

  #readData(): number {
    const output = this.#output ?? 0;
    this.#output = undefined;
    this.#outputStatus = Source.Controller;
    this.#updateInterrupt();
    return output;
  }

  #writeCommand(command: number): void {
    this.#lastWasCommand = true;
    this.#pendingCommand = undefined;
    if (within(command, Command.ReadRam)) this.#answer(this.#ram[command - Command.ReadRam.first]!);
    else if (within(command, Command.WriteRam)) this.#pendingCommand = command;
    else if (within(command, Command.PulseOutputPort)) this.#pulse(command);
    else this.#execute(command);
  }

  #execute(command: number): void {
    switch (command) {
      case Command.DisableAuxiliary:
        this.#configuration = Configuration.AuxiliaryDisable.set(this.#configuration, 1);
        return;
      case Command.EnableAuxiliary:
        this.#configuration = Configuration.AuxiliaryDisable.set(this.#configuration, 0);
        return;
      case Command.TestAuxiliary:
        this.#answer(InterfaceClockStuck);
        return;
      case Command.SelfTest:
        this.#configuration = Configuration.SystemFlag.set(this.#configuration, 1);
        this.#answer(SelfTestPassed);
        return;
      case Command.TestKeyboard:
        this.#answer(InterfaceWorks);
        return;
      case Command.DisableKeyboard:
        this.#configuration = Configuration.KeyboardDisable.set(this.#configuration, 1);
        return;
      case Command.EnableKeyboard:
        this.#configuration = Configuration.KeyboardDisable.set(this.#configuration, 0);
        return;
      case Command.ReadInputPort:
        this.#answer(InputPortValue);
        return;
      case Command.ReadOutputPort:
        this.#answer(OutputPort.KeyboardInterrupt.set(this.#outputPort, this.#output !== undefined));
        return;
      case Command.WriteOutputPort:
      case Command.WriteKeyboardOutput:
      case Command.WriteAuxiliaryOutput:
      case Command.WriteAuxiliaryDevice:
        this.#pendingCommand = command;
        return;
      default:
      // Unknown commands do nothing.
    }
  }

  #writeData(value: number): void {
    const command = this.#pendingCommand;
    this.#lastWasCommand = false;
    this.#pendingCommand = undefined;
    if (command === undefined) {
      // A byte for the keyboard: nobody answers. Sending enables the interface.
      this.#configuration = Configuration.KeyboardDisable.set(this.#configuration, 0);
      this.#answer(Resend, Source.Timeout);
    } else if (within(command, Command.WriteRam)) {
      this.#ram[command - Command.WriteRam.first] = value;
      this.#updateInterrupt();
    } else if (command === Command.WriteOutputPort) {
      this.#outputPort = value;
      if (!OutputPort.NoReset.isSet(value)) this.#reset();
    } else if (command === Command.WriteAuxiliaryDevice) {
      this.#answer(Resend, Source.AuxiliaryTimeout);
    } else {
      // Linux takes the missing AuxiliaryData bit after WriteAuxiliaryOutput as: no auxiliary interface.
      this.#answer(value);
    }
  }

  /** PS/2 Technical Reference "Pulse Output Port": bits that are 0 in the command pulse low. */
  #pulse(command: number): void {
    if (!OutputPort.NoReset.isSet(command)) this.#reset();
  }

  #answer(value: number, source: number = Source.Controller): void {
    this.#output = value;
    this.#outputStatus = source;
    this.#updateInterrupt();
  }

  #updateInterrupt(): void {
    const fromKeyboard = this.#output !== undefined && !Status.AuxiliaryData.isSet(this.#outputStatus);
    this.#interrupt.setLevel(fromKeyboard && Configuration.KeyboardInterrupt.isSet(this.#configuration));
  }

  get #configuration(): number {
    return this.#ram[ConfigurationCell]!;
  }

  set #configuration(value: number) {
    this.#ram[ConfigurationCell] = value;
  }

  save(): I8042State {
    return {
      version: 1,
      ram: [...this.#ram],
      outputPort: this.#outputPort,
      output: this.#output,
      outputStatus: this.#outputStatus,
      lastWasCommand: this.#lastWasCommand,
      pendingCommand: this.#pendingCommand,
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'i8042');
    const state = saved as I8042State;
    this.#ram.set(state.ram.slice(0, RamSize));
    this.#outputPort = state.outputPort;
    this.#output = state.output;
    this.#outputStatus = state.outputStatus;
    this.#lastWasCommand = state.lastWasCommand;
    this.#pendingCommand = state.pendingCommand;
    this.#updateInterrupt();
  }
}

function within(value: number, range: { readonly first: number; readonly last: number }): boolean {
  return value >= range.first && value <= range.last;
}

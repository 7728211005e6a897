/**
 * The machine: an engine's VM with a PC board around it, its boot and its life.
 *
 * One machine is one boot. A guest that resets ends it with the reason `reset`, and its owner makes a new one.
 */
import type { SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { writeAcpiTables } from '../boot/acpi/acpi-tables.ts';
import { isLinuxLike, loadKernel } from '../boot/load-kernel.ts';
import type { BootedKernel, BootSource } from '../boot/load-kernel.ts';
import type { EntropySource } from '../devices/virtio/rng/virtio-rng.ts';
import type { EngineVm, Vcpu } from '../engine/engine.ts';
import { HostError } from '../errors/host-error.ts';
import { advanceTime } from '../snapshot/advance-time.ts';
import type { ProcessorsState } from '../snapshot/advance-time.ts';
import { checkShape } from '../snapshot/shape.ts';
import type { Clock } from '../time/clock.ts';
import { Board } from './board.ts';
import type { BoardConfig, BoardDisk } from './board.ts';
import { ConsoleChoice } from './console-choice.ts';
import { ConsoleInput } from './console-input.ts';
import type { InputSource } from './console-input.ts';
import type { EndReason } from './end-reason.ts';
import type { ExitCounts } from './exit-counts.ts';
import { BoardMailbox } from './exit-mailbox.ts';
import { PanicWatch } from './panic-watch.ts';
import { RunLoop } from './run-loop.ts';
import type { RunLoopHost } from './run-loop.ts';

/** What Linux and others seed their random numbers with at boot. */
const SeedBytes = 32;

/** A paused machine without its memory. */
export interface MachineState extends SavedState, ProcessorsState {
  readonly version: 1;
  readonly board: SavedState;
}

export interface MachineBoot extends Omit<BootSource, 'commandLine' | 'rsdp' | 'rngSeed'> {
  /** The command line for Linux, and the one for every other kernel. */
  readonly linuxCommandLine: string;
  readonly commandLine: string;
}

export interface MachineConsole {
  /** Takes a byte that the guest prints. */
  output(byte: number): void;
  readonly input: InputSource;
  /** Input is typed by a person (console-input.ts). */
  readonly interactive: boolean;
  readonly window: { readonly columns: number; readonly rows: number } | undefined;
}

export interface MachineConfig extends Pick<BoardConfig, 'consolePort' | 'rngRunner'> {
  readonly vm: EngineVm;
  readonly vcpus: number;
  readonly clock: Clock;
  readonly entropy: EntropySource;
  readonly disks: readonly BoardDisk[];
  readonly console: MachineConsole;
  /** The mailboxes (exit-mailbox.ts) of vCPUs 1, 2, … when each has a thread of its own. Default: all run here. */
  readonly mailboxes?: readonly SharedArrayBuffer[];
  /** The thread that the machine runs in. */
  readonly host: Pick<RunLoopHost, 'service' | 'serviceDeadline' | 'sleep' | 'deferAttention'>;
}

export class Machine {
  readonly #config: MachineConfig;
  readonly #vcpus: readonly Vcpu[];
  readonly #board: Board;
  readonly #consoleDevice: ConsoleChoice;
  readonly #input: ConsoleInput;
  readonly #panic = new PanicWatch();
  readonly #loop: RunLoop;

  constructor(config: MachineConfig) {
    const { vm, clock, console } = config;
    this.#config = config;
    this.#vcpus = Array.from({ length: config.vcpus }, (_, id) => vm.createVcpu(id));
    this.#board = new Board({
      ...config,
      serialOutput: (byte) => this.#print(byte),
      // The serial port is the console; a guest that uses the other one as well gets both on the same terminal.
      virtioConsoleOutput: (bytes) => bytes.forEach((byte) => this.#print(byte)),
      window: console.window,
      end: (reason) => this.end(reason),
    });
    this.#consoleDevice = new ConsoleChoice(this.#board.serial, this.#board.virtioConsole);
    this.#input = new ConsoleInput({
      device: this.#consoleDevice,
      source: console.input,
      clock,
      interactive: console.interactive,
    });
    const { mailboxes = [] } = config;
    this.#loop = new RunLoop({
      vcpus: mailboxes.length === 0 ? this.#vcpus : this.#vcpus.slice(0, 1),
      remotes: mailboxes.map((mailbox, index) => new BoardMailbox(mailbox, () => this.#vcpus[index + 1]!.kick())),
      pio: this.#board.pio,
      mmio: this.#board.mmio,
      clock,
      timers: this.#board.timers,
      engine: vm,
      poll: () => this.#board.poll(),
      host: this.#loopHost(),
    });
  }

  /** Puts a kernel into memory and the bootstrap processor at its entry. */
  boot(source: MachineBoot): BootedKernel {
    const { memory } = this.#config.vm;
    const rsdp = writeAcpiTables(memory, { vcpus: this.#config.vcpus });
    const rngSeed = new Uint8Array(SeedBytes);
    this.#config.entropy(rngSeed);
    const commandLine = isLinuxLike(source.kernel) ? source.linuxCommandLine : source.commandLine;
    this.#consoleDevice.choose(commandLine);
    const booted = loadKernel(memory, { ...source, commandLine, rsdp, rngSeed });
    this.#vcpus[0]!.setState(booted.state);
    return booted;
  }

  /** Runs the guest until the machine ends. */
  run(): EndReason {
    const end = this.#loop.run();
    const panic = this.#panic.message;
    if (panic !== undefined && (end.kind === 'reset' || end.kind === 'triple-fault')) {
      return { kind: 'guest-panic', message: panic };
    }
    return end;
  }

  /** Ends the machine: {@link run} returns soon. To be called from the machine's thread. */
  end(reason: EndReason): void {
    this.#loop.end(reason);
    for (const vcpu of this.#vcpus) vcpu.kick();
  }

  pressPowerButton(): void {
    this.#board.pressPowerButton();
  }

  /** The console's window changed: a guest with a virtio console hears of it. */
  resizeConsole(columns: number, rows: number): void {
    this.#board.virtioConsole.resize(columns, rows);
  }

  /** Exits by kind so far, of each vCPU. */
  exitCounts(): readonly ExitCounts['all'][] {
    const { counts, remotes } = this.#loop;
    return [counts, ...remotes.counts].map(({ all }) => all);
  }

  /**
   * Everything stands still when this returns, up to {@link resume}: every vCPU is out of guest code, between two
   * instructions, and devices touch no guest memory. To be called from the machine's thread, which runs its own vCPUs in
   * {@link run} only.
   */
  pause(): void {
    this.#loop.pause();
    this.#board.pauseDma();
  }

  resume(): void {
    this.#board.resumeDma();
    this.#loop.resume();
  }

  /** Everything but guest memory. The machine must be paused. */
  save(): MachineState {
    return {
      version: 1,
      vcpus: this.#vcpus.map((vcpu) => vcpu.state()),
      vm: this.#config.vm.state(),
      board: this.#board.save(),
    };
  }

  /**
   * Makes a new machine, instead of {@link boot}, one that was saved, with its memory already in place. The time that
   * passed meanwhile passes for the guest's clocks too.
   *
   * @throws HostError when the state is none of such a machine
   */
  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'machine');
    try {
      this.#restore(saved as MachineState);
    } catch (cause) {
      if (cause instanceof HostError) throw cause;
      throw new HostError(
        'InvalidArgument',
        `the saved state is damaged (${String(cause)}): use another copy of the file, or save the machine again`,
        { cause },
      );
    }
  }

  #restore(saved: MachineState): void {
    checkShape(saved, this.save());
    if (saved.vcpus.length !== this.#vcpus.length) {
      throw new HostError(
        'InvalidArgument',
        `the saved machine has ${saved.vcpus.length} processors: create it with as many`,
      );
    }
    const { vm, clock } = this.#config;
    const state = advanceTime(saved, clock.wallClock() - saved.vm.clock.wallClock);
    // Devices drive their lines first: what came of that before the machine was saved is in the controllers' state.
    this.#board.restore(state.board);
    vm.setState(state.vm);
    state.vcpus.forEach((vcpu, id) => this.#vcpus[id]!.setState(vcpu));
    this.#board.resumeDma();
  }

  #loopHost(): RunLoopHost {
    const { host } = this.#config;
    return {
      service: () => {
        host.service();
        this.#input.feed();
      },
      serviceDeadline: () => host.serviceDeadline(),
      sleep: (milliseconds) => host.sleep(milliseconds),
      ...(host.deferAttention && { deferAttention: () => host.deferAttention?.() }),
      idle: () => this.#input.guestIsIdle(),
      idleDeadline: () => this.#input.nextDeadline(),
    };
  }

  #print(byte: number): void {
    this.#panic.observe(byte);
    this.#input.observe(byte);
    this.#config.console.output(byte);
  }
}

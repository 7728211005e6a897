/** The library's door: one virtual machine. */
import { closeSync } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { describeEnd, endOfError, exitCodeOf } from '@lodger/vmm/machine/end-reason.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { createByteRing } from '../threads/byte-ring.ts';
import { ControlBlock, Request } from '../threads/control-block.ts';
import type { EngineStatistics } from '../threads/engine-choice.ts';
import { MachineThreads } from '../threads/machine-threads.ts';
import { GuestConsole } from './guest-console.ts';
import type { RestoreOptions, VirtualMachineOptions } from './options.ts';
import { diskLinks, prepare, prepareRestored } from './prepare.ts';
import type { PreparedMachine } from './prepare.ts';
import { SaveFile, saveFailed } from './saved-machine.ts';

const OutputRingSize = 256 * 1024;
const InputRingSize = 64 * 1024;
/** How long a machine may take to stop before its threads are ended. */
const StopPatience = 5_000;

/** How a machine ended. */
export interface MachineEnd {
  readonly reason: EndReason;
  /** The exit code that `lodger run` ends with. */
  readonly exitCode: number;
  /** The same in words. */
  readonly message: string;
}

const MachineIsOver = 'it has ended meanwhile';

type Phase = 'created' | 'running' | 'ended';

/**
 * A virtual machine.
 *
 *     await using vm = await VirtualMachine.create({ memory: '512M' });
 *     await vm.start();
 *     await vm.console.waitFor(/# /);
 *     vm.console.write('poweroff\n');
 *     const { exitCode } = await vm.exited;
 */
export class VirtualMachine implements AsyncDisposable {
  /** What the guest prints and what is typed: a stream, and `waitFor()`. */
  readonly console: GuestConsole;
  /** Resolves when the machine has ended, for whatever reason. Never rejects. */
  readonly exited: Promise<MachineEnd>;
  readonly #prepared: PreparedMachine;
  readonly #control = new ControlBlock();
  readonly #output = createByteRing(OutputRingSize);
  readonly #input = createByteRing(InputRingSize);
  #phase: Phase = 'created';
  #threads: MachineThreads | undefined;
  /** Why this side ended the machine, if it did. */
  #hostReason: EndReason | undefined;
  #paused: (() => void)[] = [];
  #saved: ((problem: string | undefined) => void) | undefined;
  #statistics: EngineStatistics | undefined;
  #statisticsWanted: (() => void)[] = [];
  #resolveExited!: (end: MachineEnd) => void;

  /**
   * Checks the options, finds or fetches the kernel, opens and locks the disks. Nothing runs yet.
   *
   * @throws HostError whose message says what to do
   */
  static async create(options: VirtualMachineOptions = {}): Promise<VirtualMachine> {
    return new VirtualMachine(await prepare(options));
  }

  /**
   * A machine that goes on where {@link save} left it, on whatever engine: `start()` continues it. Its disks must be as
   * they were; what it prints from here on is all that its console knows.
   *
   *     const vm = await VirtualMachine.restore('machine.saved', { engine: 'kvm' });
   *     await vm.start();
   *
   * @throws HostError whose message says what to do
   */
  static async restore(path: string, options: RestoreOptions = {}): Promise<VirtualMachine> {
    return new VirtualMachine(await prepareRestored(path, options));
  }

  private constructor(prepared: PreparedMachine) {
    this.#prepared = prepared;
    this.exited = new Promise((resolve) => (this.#resolveExited = resolve));
    this.console = new GuestConsole({
      output: this.#output,
      input: this.#input,
      control: this.#control,
      notifyGuest: () => this.#threads?.notify(),
    });
    if (prepared.window) this.#control.setWindow(prepared.window.columns, prepared.window.rows);
  }

  /**
   * Boots. Resolves when the guest's first instruction is about to run.
   *
   * @throws HostError when the machine cannot boot; it has ended then
   */
  async start(): Promise<void> {
    if (this.#phase !== 'created') {
      throw new HostError('InvalidArgument', 'a machine starts once: create another one to boot again');
    }
    this.#phase = 'running';
    await new Promise<void>((resolve, reject) => {
      void this.#untilEnd(resolve).then((reason) => {
        if (reason.kind === 'host-error') reject(new HostError(reason.code, reason.message));
        else resolve();
      });
    });
  }

  /** Stops every vCPU until {@link resume}. Resolves when they stand still. */
  async pause(): Promise<void> {
    if (this.#phase !== 'running') return;
    await new Promise<void>((resolve) => {
      this.#paused.push(resolve);
      this.#ask(Request.Pause);
    });
  }

  resume(): void {
    this.#ask(Request.Resume);
  }

  /**
   * Saves the machine to a file, from which {@link restore} continues it. It is paused for that, and stays paused: stop it,
   * if it is to go on from the file, since a machine that goes on changes its disks.
   *
   * @throws HostError when the machine does not run, or the file cannot be written
   */
  async save(path: string): Promise<void> {
    if (this.#phase !== 'running') throw new HostError('MachineEnded', 'only a machine that runs can be saved');
    if (this.#saved)
      throw new HostError('InvalidArgument', 'the machine is being saved already: wait for the end of it');
    const file = new SaveFile(path);
    try {
      await this.pause();
      const problem = await new Promise<string | undefined>((resolve) => {
        this.#saved = resolve;
        if (this.#phase === 'running') {
          this.#control.saveFile = file.descriptor;
          this.#ask(Request.Save);
        } else this.#releaseSaved(MachineIsOver);
      });
      if (problem !== undefined) throw saveFailed(path, problem);
    } catch (error) {
      file.discard();
      throw error;
    }
    file.finish();
  }

  /** Presses the power button: an operating system shuts itself down. */
  powerButton(): void {
    this.#ask(Request.PowerButton);
  }

  /** What the engine did in this boot, up to now or to the machine's end. Undefined when it never ran. */
  async statistics(): Promise<EngineStatistics | undefined> {
    if (this.#phase === 'running') {
      await new Promise<void>((resolve) => {
        this.#statisticsWanted.push(resolve);
        this.#ask(Request.Statistics);
      });
    }
    return this.#statistics;
  }

  /** Tells the guest a new size of the console's window. */
  resizeConsole(columns: number, rows: number): void {
    this.#control.setWindow(columns, rows);
    this.#ask(Request.Resize);
  }

  /** Ends the machine at once, as pulling the plug does. Resolves when its threads are gone. Idempotent. */
  async stop(): Promise<void> {
    await this.#end({ kind: 'stopped' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.console.destroy();
  }

  async #end(reason: EndReason): Promise<void> {
    if (this.#phase === 'created') this.#finish(reason);
    if (this.#phase === 'running') {
      this.#hostReason ??= reason;
      this.#ask(Request.Stop);
      const patience = setTimeout(() => void this.#threads?.terminate(), StopPatience);
      await this.exited;
      clearTimeout(patience);
    }
  }

  #ask(request: number): void {
    this.#control.ask(request);
    this.#threads?.notify();
  }

  /** Boots, again after each reset, until the machine ends. */
  async #untilEnd(onRunning: () => void): Promise<EndReason> {
    const { timeout } = this.#prepared;
    const timer =
      timeout === undefined
        ? undefined
        : setTimeout(() => void this.#end({ kind: 'timeout', seconds: timeout }), timeout * 1000);
    let reason: EndReason;
    do {
      reason = await this.#boot(onRunning);
    } while (reason.kind === 'reset' && !this.#hostReason);
    clearTimeout(timer);
    // A host failure counts more than the stop that may have followed it.
    const end = reason.kind === 'host-error' ? reason : (this.#hostReason ?? reason);
    this.#finish(end);
    return end;
  }

  async #boot(onRunning: () => void): Promise<EndReason> {
    let restore: number | undefined;
    try {
      restore = this.#prepared.takeSaved();
      const boot = restore === undefined ? await this.#prepared.loadBootFiles() : undefined;
      if (this.#hostReason) return this.#hostReason;
      this.#threads = new MachineThreads(
        this.#prepared.engine,
        {
          ...this.#prepared.fixed,
          boot,
          restore,
          mailboxes: this.#prepared.createMailboxes(),
          disks: diskLinks(this.#prepared),
          control: this.#control.buffer,
          consoleOutput: this.#output.buffer,
          consoleInput: this.#input.buffer,
        },
        {
          onRunning,
          onOutput: () => this.console.drain(),
          onInputRoom: () => this.console.inputHasRoom(),
          onPaused: () => this.#releasePaused(),
          onSaved: (problem) => this.#releaseSaved(problem),
          onStatistics: (statistics) => {
            this.#statistics = statistics;
            this.#releaseStatistics();
          },
        },
      );
      return await this.#threads.ended;
    } catch (error) {
      return endOfError(error);
    } finally {
      this.#threads = undefined;
      if (restore !== undefined) closeSync(restore);
      this.#releaseSaved(MachineIsOver);
    }
  }

  #releasePaused(): void {
    for (const resolve of this.#paused.splice(0)) resolve();
  }

  #releaseSaved(problem: string | undefined): void {
    this.#saved?.(problem);
    this.#saved = undefined;
  }

  #releaseStatistics(): void {
    for (const resolve of this.#statisticsWanted.splice(0)) resolve();
  }

  #finish(reason: EndReason): void {
    this.#phase = 'ended';
    for (const disk of this.#prepared.disks) disk.close();
    const unused = this.#prepared.takeSaved();
    if (unused !== undefined) closeSync(unused);
    this.#releasePaused();
    this.#releaseStatistics();
    this.console.machineEnded(describeEnd(reason));
    this.#resolveExited({ reason, exitCode: exitCodeOf(reason), message: describeEnd(reason) });
  }
}

/** A machine in its worker thread: made from what the main thread sent, and served between the turns of its vCPUs. */
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { Machine } from '@lodger/vmm/machine/machine.js';
import type { SavedState } from '@lodger/vmm/bus/bus-device.js';
import { readMemory, readSavedMachine, writeSnapshot } from '@lodger/vmm/snapshot/snapshot-file.js';
import type { SnapshotSource } from '@lodger/vmm/snapshot/snapshot-file.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { parseCpuChoice, requireSameProcessor } from '@lodger/vmm/x86/cpu-models.js';
import { decompress } from '../images/decompress.ts';
import { describeMachine, describeSaveError } from '../vm/saved-machine.ts';
import type { SavedDescription } from '../vm/saved-machine.ts';
import { ByteRing } from './byte-ring.ts';
import { ConsoleOutput } from './console-output.ts';
import { ControlBlock, Request } from './control-block.ts';
import type { CreateVm, ThreadVm } from './engine-choice.ts';
import { hostClock } from './host-clock.ts';
import { setUpIo } from './io-machine.ts';
import type { IoSetup } from './io-machine.ts';
import type { IoWorkerPlan } from './io-links.ts';
import type { BootFiles, MachineMessage, MachineWorkerData } from './messages.ts';
import { OpenFiles } from './open-files.ts';
import { FileSink, fileSource } from './snapshot-io.ts';

export class MachineService {
  readonly #data: MachineWorkerData;
  readonly #post: (message: MachineMessage) => void;
  readonly #control: ControlBlock;
  readonly #output: ConsoleOutput;
  readonly #input: ByteRing;
  readonly #vm: ThreadVm;
  readonly #machine: Machine;

  constructor(createVm: CreateVm, data: MachineWorkerData, post: (message: MachineMessage) => void) {
    this.#data = data;
    this.#post = post;
    this.#control = new ControlBlock(data.control);
    this.#input = new ByteRing(data.consoleInput);
    const clock = hostClock();
    this.#output = new ConsoleOutput(new ByteRing(data.consoleOutput), clock, {
      announce: () => this.#control.announceOutput() && post({ kind: 'output' }),
      abandoned: () => this.#control.isAsked(Request.Stop),
    });
    this.#vm = createVm({
      memorySize: data.memorySize,
      vcpus: data.cpus,
      clock,
      backing: data.memoryBacking,
      irqchip: data.irqchip,
      translator: data.translator,
      ...data.processors,
    });
    // Who serves the virtio queues: the main thread starts the workers (IoThread).
    const startIo = (plan: IoWorkerPlan): void => post({ kind: 'io-wanted', plan });
    let io: IoSetup;
    try {
      io = setUpIo(data.disks, this.#vm.vm.events, startIo);
      this.#machine = this.#createMachine(clock, io);
    } catch (error) {
      // No other thread knows of the VM.
      this.#vm.vm.close();
      throw error;
    }
    post({ kind: 'created', shared: this.#vm.shared });
    io.workers.forEach(startIo);
  }

  #createMachine(clock: Clock, { disks, consolePort, rngRunner }: IoSetup): Machine {
    const data = this.#data;
    const { columns, rows } = this.#control.window;
    return new Machine({
      vm: this.#vm.vm,
      vcpus: data.cpus,
      mailboxes: data.mailboxes,
      clock,
      entropy: (target) => void crypto.getRandomValues(target),
      disks,
      consolePort,
      rngRunner,
      console: {
        output: (byte) => this.#output.put(byte),
        input: this.#input,
        interactive: data.interactive,
        window: columns > 0 ? { columns, rows } : undefined,
      },
      host: {
        service: () => this.#serve(),
        serviceDeadline: () => this.#output.deadline,
        sleep: (milliseconds) => this.#sleep(milliseconds),
        deferAttention: () => this.#vm.deferAttention?.(),
      },
    });
  }

  /** Boots and runs until the machine ends. */
  run(): EndReason {
    const { boot, restore } = this.#data;
    if (boot !== undefined) this.#boot(boot);
    if (restore !== undefined) this.#restore(fileSource(restore));
    this.#post({ kind: 'running' });
    const end = this.#machine.run();
    this.#postStatistics();
    this.#output.flush();
    // vCPUs and devices let go of guest memory before it goes away.
    this.#machine.pause();
    return end;
  }

  #boot({ kernel, kernelName, setup, initrd }: BootFiles): void {
    const { linuxCommandLine, commandLine } = this.#data;
    const files = new OpenFiles();
    try {
      this.#machine.boot({
        kernel: typeof kernel === 'string' ? files.open(kernel) : kernel,
        kernelName,
        ...(setup && { setup }),
        ...(initrd !== undefined && { initrd: files.open(initrd) }),
        decompress,
        linuxCommandLine,
        commandLine,
      });
    } finally {
      files.close();
    }
  }

  #restore(source: SnapshotSource): void {
    const { vm } = this.#vm;
    const { machine, state } = readSavedMachine(source);
    requireSameProcessor(parseCpuChoice((machine as SavedDescription).cpu), vm.cpu);
    readMemory(source, vm.memory);
    this.#machine.restore(state as SavedState);
    this.#vm.stoodStill?.();
  }

  /** The machine must be paused. */
  #save(): void {
    let problem: string | undefined;
    try {
      const { vm } = this.#vm;
      const sink = new FileSink(this.#control.saveFile);
      const saved = { machine: describeMachine(this.#data.description, vm.cpu), state: this.#machine.save() };
      writeSnapshot(sink, saved, vm.memory);
      sink.flush();
    } catch (error) {
      problem = describeSaveError(error);
    }
    this.#post({ kind: 'saved', problem });
  }

  /** Between the turns of vCPUs. */
  #serve(): void {
    // Taken back first: whatever is asked from here on asks again.
    this.#vm.attend();
    this.#output.flushIfDue();
    const requests = this.#control.take();
    if (requests !== 0) this.#obey(requests);
    if (this.#input.room > 0 && this.#control.takeInputWaits()) this.#post({ kind: 'input-room' });
  }

  #obey(requests: number): void {
    if (requests & Request.Stop) {
      this.#machine.end({ kind: 'stopped' });
      return;
    }
    if (requests & Request.Statistics) this.#postStatistics();
    if (requests & Request.PowerButton) this.#machine.pressPowerButton();
    if (requests & Request.Resize) {
      const { columns, rows } = this.#control.window;
      this.#machine.resizeConsole(columns, rows);
    }
    if (requests & Request.Save) this.#pause(true);
    // A resume that came together with the pause is the newer one.
    else if (requests & Request.Pause && !(requests & Request.Resume)) this.#pause();
  }

  /** Everything stands still until a resume or a stop; other requests are dealt with meanwhile. */
  #pause(save = false): void {
    this.#output.flush();
    this.#machine.pause();
    this.#post({ kind: 'paused' });
    if (save) this.#save();
    for (;;) {
      this.#control.waitForRequest();
      const requests = this.#control.take();
      if (requests & Request.Pause) this.#post({ kind: 'paused' });
      if (requests & Request.Save) this.#save();
      const others = requests & ~(Request.Pause | Request.Resume | Request.Save);
      if (others) this.#obey(others);
      if (requests & (Request.Resume | Request.Stop)) break;
    }
    this.#vm.stoodStill?.();
    this.#machine.resume();
  }

  #postStatistics(): void {
    this.#post({ kind: 'statistics', statistics: this.#vm.statistics(this.#machine.exitCounts()) });
  }

  #sleep(milliseconds: number): void {
    this.#output.flush();
    this.#vm.sleep(milliseconds);
  }
}

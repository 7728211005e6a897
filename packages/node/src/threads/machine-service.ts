/** A machine in its worker thread: made from what the main thread sent, and served between the turns of its vCPUs. */
import { FutexDoorbell } from '@lodger/vmm/devices/virtio/doorbell.js';
import { SharedQueueRunner } from '@lodger/vmm/devices/virtio/shared-queue-runner.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { Machine } from '@lodger/vmm/machine/machine.js';
import { decompress } from '../images/decompress.ts';
import { ByteRing } from './byte-ring.ts';
import { ConsoleOutput } from './console-output.ts';
import { ControlBlock, Request } from './control-block.ts';
import { createThreadVm } from './engine-choice.ts';
import type { ThreadVm } from './engine-choice.ts';
import { hostClock } from './host-clock.ts';
import type { MachineMessage, MachineWorkerData } from './messages.ts';

export class MachineService {
  readonly #data: MachineWorkerData;
  readonly #post: (message: MachineMessage) => void;
  readonly #control: ControlBlock;
  readonly #output: ConsoleOutput;
  readonly #input: ByteRing;
  readonly #vm: ThreadVm;
  readonly #machine: Machine;

  constructor(data: MachineWorkerData, post: (message: MachineMessage) => void) {
    this.#data = data;
    this.#post = post;
    this.#control = new ControlBlock(data.control);
    this.#input = new ByteRing(data.consoleInput);
    const clock = hostClock();
    this.#output = new ConsoleOutput(new ByteRing(data.consoleOutput), clock, {
      announce: () => this.#control.announceOutput() && post({ kind: 'output' }),
      abandoned: () => this.#control.isAsked(Request.Stop),
    });
    this.#vm = createThreadVm(data.engine, { memorySize: data.memorySize, vcpus: data.cpus, clock });
    const ioDoorbell = new FutexDoorbell(data.ioDoorbell);
    const { columns, rows } = this.#control.window;
    this.#machine = new Machine({
      vm: this.#vm,
      vcpus: data.cpus,
      clock,
      entropy: (target) => void crypto.getRandomValues(target),
      disks: data.disks.map((disk) => ({ geometry: disk, runner: new SharedQueueRunner(disk.queues, ioDoorbell) })),
      console: {
        output: (byte) => this.#output.put(byte),
        input: this.#input,
        interactive: data.interactive,
        window: columns > 0 ? { columns, rows } : undefined,
      },
      host: { service: () => this.#serve(), sleep: (milliseconds) => this.#sleep(milliseconds) },
    });
  }

  /** Boots and runs until the machine ends. */
  run(): EndReason {
    const { boot, linuxCommandLine, commandLine } = this.#data;
    const { setup, initrd } = boot;
    this.#machine.boot({
      kernel: boot.kernel,
      kernelName: boot.kernelName,
      ...(setup && { setup }),
      ...(initrd && { initrd }),
      decompress,
      linuxCommandLine,
      commandLine,
    });
    this.#post({ kind: 'running', shared: this.#vm.shared });
    const end = this.#machine.run();
    this.#post({ kind: 'statistics', statistics: this.#vm.statistics() });
    this.#output.flush();
    // Devices let go of guest memory before it goes away.
    this.#machine.pause();
    return end;
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
    if (requests & Request.Statistics) this.#post({ kind: 'statistics', statistics: this.#vm.statistics() });
    if (requests & Request.PowerButton) this.#machine.pressPowerButton();
    if (requests & Request.Resize) {
      const { columns, rows } = this.#control.window;
      this.#machine.resizeConsole(columns, rows);
    }
    // A resume that came together with the pause is the newer one.
    if (requests & Request.Pause && !(requests & Request.Resume)) this.#pause();
  }

  /** Everything stands still until a resume or a stop; other requests are dealt with meanwhile. */
  #pause(): void {
    this.#output.flush();
    this.#machine.pause();
    this.#post({ kind: 'paused' });
    for (;;) {
      this.#control.waitForRequest();
      const requests = this.#control.take();
      if (requests & Request.Pause) this.#post({ kind: 'paused' });
      if (requests & ~Request.Pause & ~Request.Resume) this.#obey(requests & ~Request.Pause);
      if (requests & (Request.Resume | Request.Stop)) break;
    }
    this.#machine.resume();
  }

  #sleep(milliseconds: number): void {
    this.#output.flush();
    this.#vm.sleep(milliseconds);
  }
}

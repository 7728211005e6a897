/** A machine in this thread whose time and interrupts follow its instructions, from a seed. */
import { createHash } from 'node:crypto';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import type { WasmEngineOptions, WasmEngineVm } from '@lodger/vmm/engine/wasm/engine.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import type { InputSource } from '@lodger/vmm/machine/console-input.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { Machine } from '@lodger/vmm/machine/machine.js';
import type { MachineBoot } from '@lodger/vmm/machine/machine.js';
import { seededEntropy } from '@lodger/vmm/machine/seeded-entropy.js';
import { encodeState } from '@lodger/vmm/engine/state-json.js';
import { parseCpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { InstructionClock } from '@lodger/vmm/time/instruction-clock.js';

const NanosecondsPerMillisecond = 1e6;

/** What a machine starts with: a kernel to boot, or a program that is put into memory and the state to run it with. */
export type Guest =
  | { readonly memorySize: number; readonly boot: MachineBoot; readonly input?: string | undefined }
  | { readonly memorySize: number; readonly load: (vm: WasmEngineVm, clock: InstructionClock) => VcpuState };

/** Console input that is there from the start: when the guest gets it follows from what the guest does. */
function typed(text = ''): InputSource {
  let left = Buffer.from(text);
  return {
    get available() {
      return left.length;
    },
    read(target) {
      const count = left.copy(target);
      left = left.subarray(count);
      return count;
    },
  };
}

export class DeterministicMachine {
  readonly clock = new InstructionClock();
  readonly vm: WasmEngineVm;
  readonly machine: Machine;
  /** What the guest printed. */
  output = '';
  end: EndReason | undefined;

  constructor(guest: Guest, seed: number, engine: WasmEngineOptions, model?: string) {
    const entropy = seededEntropy(seed);
    const { clock } = this;
    const cpu = model === undefined ? undefined : parseCpuChoice(model);
    this.vm = new WasmEngine(engine).createVm({ memorySize: guest.memorySize, vcpus: 1, clock, entropy, cpu });
    const state = 'load' in guest ? guest.load(this.vm, clock) : undefined;
    this.machine = new Machine({
      vm: this.vm,
      vcpus: 1,
      clock,
      entropy,
      disks: [],
      console: {
        output: (byte) => void (this.output += String.fromCharCode(byte)),
        input: typed('input' in guest ? guest.input : undefined),
        interactive: false,
        window: undefined,
      },
      host: {
        service: () => {},
        serviceDeadline: () => Infinity,
        sleep: (milliseconds) => this.#sleep(milliseconds),
      },
    });
    if (state) this.vm.vcpu(0).setState(state);
    else if ('boot' in guest) this.machine.boot(guest.boot);
  }

  /** Nothing can run before then: time jumps. */
  #sleep(milliseconds: number): void {
    if (milliseconds === Infinity) throw new Error('the guest sleeps for ever: nothing can wake it up');
    this.clock.skip(milliseconds * NanosecondsPerMillisecond);
  }

  /** Runs until the clock shows `time`, or until the machine ends. */
  runUntil(time: number): void {
    this.end ??= this.machine.runUntil(time);
  }

  /** Everything but RAM, as text. */
  registers(): { vcpu: string; vm: string; board: string } {
    const { board } = this.machine.save();
    return { vcpu: encodeState(this.state), vm: encodeState(this.vm.state()), board: encodeState(board) };
  }

  get state(): VcpuState {
    return this.vm.vcpu(0).state();
  }

  get ram(): Buffer {
    return Buffer.from(this.vm.buffer, this.vm.layout.ram, this.vm.layout.ramSize);
  }

  /** Of everything that the guest could see. */
  hash(): string {
    const { vcpu, vm, board } = this.registers();
    return createHash('sha256').update(vcpu).update(vm).update(board).update(this.ram).digest('hex');
  }
}

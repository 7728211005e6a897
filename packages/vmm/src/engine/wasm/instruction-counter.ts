/** How many instructions a vCPU has executed, exact at any time: what an instruction clock follows. */
import { Cpu } from './interpreter/cpu-layout.ts';
import { Record } from './interpreter/record.ts';
import type { RareCpu } from './rare/rare-cpu.ts';

export class InstructionCounter {
  readonly #cpu: RareCpu;
  /** Record of the instruction that JavaScript does right now inside of the loop, or 0. */
  #record = 0;

  constructor(cpu: RareCpu) {
    this.#cpu = cpu;
  }

  /** Pieces of a repetition count as one; the instruction that is being done counts. */
  get count(): number {
    const cpu = this.#cpu;
    const retired = Number(cpu.u64(Cpu.Retired));
    if (this.#record === 0) return retired;
    const inSlice = cpu.u32(Cpu.Budget) - (cpu.u32(Cpu.Left) | 0);
    return retired + (inSlice | 0) + cpu.view.getUint8(this.#record + Record.Count);
  }

  /** JavaScript does the instruction of a record. */
  during<R>(record: number, instruction: () => R): R {
    this.#record = record;
    try {
      return instruction();
    } finally {
      this.#record = 0;
    }
  }
}

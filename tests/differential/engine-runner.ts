/** The engine's side of the oracle, through the engine contract only. */
import type { Engine, EngineVm, Vcpu } from '@lodger/vmm/engine/engine.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import type { HarnessKind } from './harness-guest.ts';
import type { OracleTarget } from './target.ts';

/** `run()` calls without a port write after which the guest is taken to hang. */
const MaximumRuns = 2000;

export class EngineTarget implements OracleTarget {
  readonly name: string;
  readonly #vm: EngineVm;
  readonly #vcpu: Vcpu;

  constructor(engine: Engine, memorySize: number, kind: HarnessKind = 'legacy') {
    this.name = engine.name;
    this.#vm = engine.createVm({
      memorySize,
      vcpus: 1,
      ...(kind === 'avx' && { cpu: { model: 'x86-64-v3' as const, without: [] } }),
      clock: { now: () => performance.now() * 1e6, wallClock: () => BigInt(Date.now()) * 1_000_000n },
    });
    this.#vcpu = this.#vm.createVcpu(0);
  }

  write(address: number, bytes: Uint8Array): void {
    if (!this.#vm.memory.write(gpa(address), bytes)) throw new Error(`no guest memory at ${address.toString(16)}`);
  }

  read(address: number, bytes: Uint8Array): void {
    if (!this.#vm.memory.read(gpa(address), bytes)) throw new Error(`no guest memory at ${address.toString(16)}`);
  }

  /** State that the harness has no opinion on (MSRs) stays what the engine starts with. */
  start(state: VcpuState): void {
    this.#vcpu.setState({ ...state, msrs: this.#vcpu.state().msrs });
  }

  runUntilPortWrite(): number {
    for (let i = 0; i < MaximumRuns; i++) {
      const exit = this.#vcpu.run();
      if (exit.kind === 'pio-write') return exit.port;
      if (exit.kind !== 'interrupted') {
        const { rip } = this.#vcpu.state().regs;
        const detail = exit.kind === 'failure' ? `: ${exit.reason}` : '';
        throw new Error(`the harness guest left run() with ${exit.kind}${detail} at RIP ${rip.toString(16)}`);
      }
    }
    throw new Error(`the harness guest hangs at RIP ${this.#vcpu.state().regs.rip.toString(16)}`);
  }

  close(): void {
    this.#vm.close();
  }
}

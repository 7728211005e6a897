/** Lodger's side of exits.ts: the guest of host/exit-loop.c through the engine contract. */
import { KvmEngine } from '@lodger/kvm/engine.js';
import { gpa } from '@lodger/vmm/memory/address.js';

/** `port`: OUT to port 0x80. `mmio`: a byte written to a device. */
export type LoopKind = 'port' | 'mmio';

/** Nanoseconds an exit. */
export interface ExitLoopResult {
  readonly wall: number;
  readonly processor: number;
}

const Code = 0x1000;
const Port = 0x80;
const Device = 0xd000_0000;
const GuestCode = {
  /** out dx, al; jmp -3 */
  port: [0xee, 0xeb, 0xfd],
  /** mov [bx], al; jmp -4 */
  mmio: [0x88, 0x07, 0xeb, 0xfc],
} as const;

/** Runs a guest that does nothing but exit, and measures `exits` of them after a warm-up. */
export function exitLoop(kind: LoopKind, exits: number): ExitLoopResult {
  const clock = { now: () => performance.now() * 1e6, wallClock: () => BigInt(Date.now()) * 1_000_000n };
  const vm = new KvmEngine().createVm({ memorySize: 1 << 20, vcpus: 1, clock });
  try {
    vm.memory.write(gpa(Code), Uint8Array.from(GuestCode[kind]));
    const vcpu = vm.createVcpu(0);
    const state = structuredClone(vcpu.state());
    Object.assign(state.sregs.cs, { base: 0n, selector: 0 });
    Object.assign(state.sregs.ds, { base: BigInt(Device), selector: 0 });
    Object.assign(state.regs, { rip: BigInt(Code), rdx: BigInt(Port), rflags: 2n });
    vcpu.setState(state);
    const run = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const exit = vcpu.run();
        const isWrite =
          exit.kind === 'pio-write' ? exit.port === Port : exit.kind === 'mmio-write' && exit.address === Device;
        if (!isWrite) throw new Error(`the guest left with ${exit.kind}`);
      }
    };
    run(exits / 2);
    const used = process.cpuUsage();
    const start = performance.now();
    run(exits);
    const wall = performance.now() - start;
    const { user, system } = process.cpuUsage(used);
    return { wall: (wall * 1e6) / exits, processor: ((user + system) * 1e3) / exits };
  } finally {
    vm.close();
  }
}

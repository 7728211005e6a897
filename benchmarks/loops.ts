/**
 * Small loops on the bare engine, without an operating system: what single instructions cost. Prints millions of guest
 * instructions a second of processor time, the best of several runs.
 *
 *     node benchmarks/dist/loops.js [NAME…]
 */
import { longModeState } from '@lodger/vmm/boot/initial-state.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { Assembler, ecx, eax, mem, rax, rbx, rcx, rdx, rdi, rsi, xmm } from '#tests/guest/assembler.js';
import { createBareVm } from './bare-engine.ts';
import { table } from './tables.ts';

const MiB = 1024 * 1024;
const Runs = 3;

/** Guest-physical memory of a loop. Everything is mapped to itself with pages of 2 MiB. */
const Layout = { PageTables: 0x1000, Code: 0x1_0000, StackTop: 0x8_0000, Data: 1 * MiB, Memory: 64 * MiB } as const;
const PageFlag = { PresentWritable: 0x3n, Large: 0x80n } as const;

type Loop = (a: Assembler) => void;

/** Repeats `body`, which leaves RCX alone. */
function times(count: number, body: Loop): Loop {
  return (a) => {
    a.mov(ecx, count).label('again');
    body(a);
    a.dec(ecx).jcc('nz', 'again').hlt();
  };
}

const Loops: Readonly<Record<string, Loop>> = {
  'decrement and branch': times(50e6, () => {}),
  xorshift: (a) => {
    a.mov(rax, 12345);
    times(10e6, () => {
      for (const [name, count] of [['shl', 13] as const, ['shr', 7] as const, ['shl', 17] as const]) {
        a.mov(rdx, rax).shift(name, rdx, count).xor(rax, rdx);
      }
    })(a);
  },
  'sum of memory': times(400, (a) => {
    a.mov(rsi, Layout.Data).xor(eax, eax).label('word');
    a.add(rax, mem({ base: rsi })).add(rsi, 8).cmp(rsi, Layout.Data + 1 * MiB).jcc('b', 'word');
  }), // prettier-ignore
  'read, change, write': times(20e6, (a) => {
    a.mov(rdi, Layout.Data).add(mem({ base: rdi, size: 64 }), 3);
  }),
  calls: (a) => {
    times(5e6, () => a.call('function'))(a);
    a.label('function')
      .push(rbx)
      .mov(rbx, rcx)
      .lea(rax, mem({ base: rbx, index: rax, scale: 2, displacement: 3 }));
    a.pop(rbx).ret();
  },
  'copy by 16 bytes': times(200, (a) => {
    a.mov(rsi, Layout.Data).label('vector');
    a.op([0x0f, 0x28], xmm(0), mem({ base: rsi }), { size: 0 });
    a.op([0x0f, 0x11], xmm(0), mem({ base: rsi, displacement: 2 * MiB }), { size: 0 });
    a.add(rsi, 16).cmp(rsi, Layout.Data + 1 * MiB).jcc('b', 'vector');
  }), // prettier-ignore
  doubles: times(5e6, (a) => {
    for (const opcode of [0x58, 0x59, 0x5c, 0x5e]) a.op([0x0f, opcode], xmm(1), xmm(2), { size: 0, prefix: 0xf2 });
  }),
  'pages across the TLB': times(2000, (a) => {
    a.mov(rsi, Layout.Data).label('page');
    a.add(rax, mem({ base: rsi })).add(rsi, 4096).cmp(rsi, Layout.Data + 32 * MiB).jcc('b', 'page');
  }), // prettier-ignore
};

/** An operating system has said that it saves SSE registers (SDM Vol. 3A §2.5 "Control Registers"). */
const Cr4OsFxsr = 1n << 9n;

function withSse(state: VcpuState): VcpuState {
  return { ...state, sregs: { ...state.sregs, cr4: state.sregs.cr4 | Cr4OsFxsr } };
}

const translate = process.argv.includes('--translate');

/** Millions of instructions a second. */
function measure(loop: Loop): number {
  const assembler = new Assembler({ origin: Layout.Code, bits: 64 });
  loop(assembler);
  const vm = createBareVm(Layout.Memory, false, translate);
  const { memory } = vm;
  memory.write(gpa(Layout.Code), assembler.finish());
  memory.writeU64(gpa(Layout.PageTables), BigInt(Layout.PageTables + 0x1000) | PageFlag.PresentWritable);
  memory.writeU64(gpa(Layout.PageTables + 0x1000), BigInt(Layout.PageTables + 0x2000) | PageFlag.PresentWritable);
  for (let page = 0; page < 512; page++) {
    const entry = BigInt(page * 2 * MiB) | PageFlag.Large | PageFlag.PresentWritable;
    memory.writeU64(gpa(Layout.PageTables + 0x2000 + page * 8), entry);
  }
  const vcpu = vm.createVcpu(0);
  const registers = { entry: gpa(Layout.Code), rsp: BigInt(Layout.StackTop) };
  let best = 0;
  for (let run = 0; run < Runs; run++) {
    vcpu.setState(withSse(longModeState(registers, { base: 0x500, limit: 0x1f }, gpa(Layout.PageTables))));
    const before = vm.statistics().instructions;
    const start = process.cpuUsage();
    let exit = vcpu.run();
    while (exit.kind === 'interrupted' && vcpu.runnable) exit = vcpu.run();
    if (exit.kind !== 'interrupted' && exit.kind !== 'halt') throw new Error(`the loop ended with ${exit.kind}`);
    const { user, system } = process.cpuUsage(start);
    best = Math.max(best, (vm.statistics().instructions - before) / (user + system));
  }
  return best;
}

const wanted = process.argv.slice(2).filter((word) => word !== '--translate');
const chosen = Object.entries(Loops).filter(([name]) => wanted.length === 0 || wanted.includes(name));
const rows = chosen.map(([name, loop]) => [name, measure(loop).toFixed(0)]);
process.stdout.write(`${table([['loop', 'million instructions/s'], ...rows]).join('\n')}\n`);

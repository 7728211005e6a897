/** The instruction that a machine executes next, in words. */
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { Access } from '@lodger/vmm/engine/wasm/softmmu/access.js';
import type { DeterministicMachine } from './deterministic-machine.ts';

const LongestInstruction = 15;
const PageMask = 0xfffn;

export function describeInstruction({ vm, state }: DeterministicMachine): string {
  const { rip } = state.regs;
  const { cs, efer } = state.sregs;
  const bits = cs.l && (efer & 0x400n) !== 0n ? 64 : cs.db ? 32 : 16;
  const start = bits === 64 ? rip : BigInt.asUintN(32, rip + cs.base);
  const bytes: number[] = [];
  for (let i = 0n; i < LongestInstruction; i++) {
    const linear = start + i;
    const page = vm.core.walk(vm.layout.cpuBlocks[0]!, BigInt.asIntN(64, linear), Access.Execute);
    if (page === -1n) break;
    const host = vm.core.hostOf((page & ~PageMask) | (linear & PageMask)) >>> 0;
    bytes.push(new Uint8Array(vm.buffer)[host]!);
  }
  const decoder = new Decoder(bits, Uint8Array.from(bytes), DecoderOptions.None);
  decoder.ip = rip;
  const instruction = decoder.decode();
  const text = new Formatter(FormatterSyntax.Intel).format(instruction);
  const own = bytes.slice(0, instruction.length);
  return `${text} (${own.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')})`;
}

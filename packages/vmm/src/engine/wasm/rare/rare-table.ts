/** Every rare instruction by name. */
import { x87Rare } from '../../../x86/instructions/semantics/x87-rare.ts';
import { HandlerResult } from '../interpreter/cpu-layout.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';
import { eventInstructions } from './events.ts';
import { farTransferInstructions } from './far-transfer.ts';
import { type ProcessorHost, processorInstructions } from './processor.ts';
import type { RareInstruction } from './rare-cpu.ts';
import { updateSimdDisabled } from './mode-bits.ts';
import { segmentInstructions } from './segments.ts';

export { legacyEvent } from './events.ts';

const temp = (host: ProcessorHost): Record<string, RareInstruction> => ({
  readControl(cpu) {
    const i = Number(cpu.u64(Cpu.RareArgument2));
    cpu.setU64(
      Cpu.RareResult,
      i === 8
        ? BigInt(host.readCr8(cpu))
        : cpu.u64(i === 0 ? Cpu.Cr0 : i === 2 ? Cpu.Cr2 : i === 3 ? Cpu.Cr3 : Cpu.Cr4),
    );
    return cpu.cpl ? cpu.raise(13) : HandlerResult.Next;
  },
  writeControl(cpu) {
    if (cpu.cpl) return cpu.raise(13);
    const i = Number(cpu.u64(Cpu.RareArgument2));
    const v = cpu.u64(Cpu.RareArgument);
    if (i === 8) host.writeCr8(cpu, Number(v));
    else if (i === 3) {
      cpu.setU64(Cpu.Cr3, v & ~(1n << 63n));
      host.flushTlb(cpu, false);
    } else {
      if (i === 4 && v & ~0x150fffn & ~(1n << 20n)) return cpu.raise(13);
      cpu.setU64(i === 0 ? Cpu.Cr0 : i === 2 ? Cpu.Cr2 : Cpu.Cr4, i === 0 ? v | 16n : v);
      if (i === 0) {
        const efer = cpu.u64(Cpu.Efer);
        cpu.setU64(Cpu.Efer, v & 0x80000000n && efer & 0x100n ? efer | 0x400n : efer & ~0x400n);
      }
      host.flushTlb(cpu, true);
      updateSimdDisabled(cpu);
      cpu.updateMode();
    }
    return HandlerResult.Next;
  },
  readDebug(cpu) {
    const i = Number(cpu.u64(Cpu.RareArgument2));
    cpu.setU64(Cpu.RareResult, cpu.u64(i < 4 ? Cpu.Dr + 8 * i : i & 1 ? Cpu.Dr7 : Cpu.Dr6));
    return HandlerResult.Next;
  },
  writeDebug(cpu) {
    const i = Number(cpu.u64(Cpu.RareArgument2));
    cpu.setU64(i < 4 ? Cpu.Dr + 8 * i : i & 1 ? Cpu.Dr7 : Cpu.Dr6, cpu.u64(Cpu.RareArgument));
    return HandlerResult.Next;
  },
  invlpg(cpu) {
    host.flushPage(cpu, cpu.u64(Cpu.RareArgument));
    return HandlerResult.Next;
  },
  xgetbv(cpu) {
    const v = cpu.u64(Cpu.Xcr0);
    cpu.setGpr(0, v & 0xffffffffn);
    cpu.setGpr(2, v >> 32n);
    return HandlerResult.Next;
  },
  xsetbv(cpu) {
    cpu.setU64(Cpu.Xcr0, cpu.gpr(0) & 0xffffffffn);
    return HandlerResult.Next;
  },
  div128(cpu) {
    const d = cpu.u64(Cpu.RareArgument);
    const n = (cpu.gpr(2) << 64n) | cpu.gpr(0);
    const q = n / d;
    if (q >> 64n) return cpu.raise(0);
    cpu.setGpr(0, q);
    cpu.setGpr(2, n % d);
    return HandlerResult.Next;
  },
});

export function rareInstructions(host: ProcessorHost): Readonly<Record<string, RareInstruction>> {
  return {
    ...temp(host),
    ...processorInstructions(host),
    ...segmentInstructions,
    ...farTransferInstructions,
    ...eventInstructions,
    ...(x87Rare as Readonly<Record<string, RareInstruction>>),
  };
}

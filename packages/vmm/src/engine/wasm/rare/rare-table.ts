/** Every rare instruction by the name that semantics call it with. */
import { x87Rare } from '../../../x86/instructions/semantics/x87-rare.ts';
import { type ProcessorHost, processorInstructions } from './processor.ts';
import type { RareInstruction } from './rare-cpu.ts';
import { systemInstructions } from './system-instructions.ts';

export { legacyEvent } from './events.ts';

export function rareInstructions(host: ProcessorHost): Readonly<Record<string, RareInstruction>> {
  return {
    ...systemInstructions(host),
    ...processorInstructions(host),
    ...(x87Rare as Readonly<Record<string, RareInstruction>>),
  };
}

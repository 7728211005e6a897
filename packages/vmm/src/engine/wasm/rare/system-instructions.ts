/** All rare system instructions by the name that semantics call them with. */
import { controlInstructions } from './control-registers.ts';
import { debugInstructions } from './debug-registers.ts';
import { eventInstructions } from './events.ts';
import { farTransferInstructions } from './far-transfer.ts';
import { fastSystemCallInstructions } from './fast-system-calls.ts';
import type { RareHooks } from './hooks.ts';
import { miscellaneousInstructions } from './miscellaneous.ts';
import type { RareInstruction } from './rare-cpu.ts';
import { segmentInstructions } from './segments.ts';

export const systemInstructions = (hooks: RareHooks): Readonly<Record<string, RareInstruction>> => ({
  ...segmentInstructions,
  ...farTransferInstructions,
  ...eventInstructions,
  ...fastSystemCallInstructions,
  ...miscellaneousInstructions,
  ...controlInstructions(hooks),
  ...debugInstructions(hooks),
});

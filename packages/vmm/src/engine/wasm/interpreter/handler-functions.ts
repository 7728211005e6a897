/** Handlers in functions of their own: `(cpu, record) -> HandlerResult`. */
import type { FunctionRef } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import { i32 } from '../encoder/values.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult } from './cpu-layout.ts';
import type { InstructionForm } from '../emit/form.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import { type HandlerSite, RecordSemantics } from './record-semantics.ts';

export const HandlerParams = ['i32', 'i32'] as const;
export const HandlerResults = ['i32'] as const;

/** Defines one handler as a function. */
export function defineHandler(
  module: ModuleBuilder,
  core: CoreFunctions,
  form: InstructionForm,
  semantic: Semantic,
): FunctionRef {
  return module.function(form.key, HandlerParams, HandlerResults, (f) => {
    const cpu = f.param('i32', 0);
    const jumpTo: HandlerSite['jump'] = (target) => {
      f.store64(cpu, Cpu.Rip, target);
      f.return(i32(HandlerResult.Resync));
    };
    const site: HandlerSite = {
      f,
      cpu,
      pc: f.param('i32', 1),
      tlb: () => cpu.load32(Cpu.TlbBank),
      leave: (status) => f.return(status),
      next: () => f.return(i32(HandlerResult.Next)),
      jump: jumpTo,
      branch: jumpTo,
    };
    semantic(new RecordSemantics(site, core, form));
    f.return(i32(HandlerResult.Next));
  });
}

/** How modules beside the core reach the core's functions and JavaScript's, and the helper functions of a module. */
import type { FunctionRef } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import type { MmuFunctions } from '../softmmu/mmu.ts';
import type { CoreFunctions } from './base-semantics.ts';

/** Signatures of what such modules import from the core and from JavaScript. */
const MmuSignatures: { readonly [K in keyof MmuFunctions]: Pick<FunctionRef, 'params' | 'results'> } = {
  raise: { params: ['i32', 'i32', 'i32'], results: [] },
  walk: { params: ['i32', 'i64', 'i32'], results: ['i64'] },
  hostOf: { params: ['i64'], results: ['i32'] },
  resolve: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i32'] },
  read: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] },
  modify: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] },
  write: { params: ['i32', 'i64', 'i32', 'i32', 'i64'], results: [] },
  pointer: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i32'] },
  commit: { params: ['i32', 'i64', 'i32'], results: [] },
  device: { params: ['i32', 'i32', 'i64', 'i32', 'i64'], results: ['i64'] },
};

/** Helper functions by name: declared and defined at first use. */
export function helperRegistry(module: ModuleBuilder): CoreFunctions['helper'] {
  const known = new Map<string, FunctionRef>();
  return (name, params, results, build) => {
    let ref = known.get(name);
    if (!ref) {
      ref = module.declare(name, params, results);
      known.set(name, ref);
      module.define(ref, build);
    }
    return ref;
  };
}

/** Declares the imports of a module of handlers or of translated code. */
export function importCore(
  module: ModuleBuilder,
  environment: Pick<CoreFunctions, 'rareIndex' | 'data'>,
  helper: CoreFunctions['helper'],
): CoreFunctions {
  const mmu = Object.fromEntries(
    Object.entries(MmuSignatures).map(([name, { params, results }]) => [
      name,
      module.importFunction('core', name, params, results),
    ]),
  ) as unknown as MmuFunctions;
  return {
    mmu,
    rare: module.importFunction('env', 'rare', ['i32', 'i32', 'i32'], ['i32']),
    segmented: module.importFunction('core', 'segmented', ['i32', 'i32', 'i64', 'i32', 'i32'], ['i64']),
    updateMode: module.importFunction('core', 'updateMode', ['i32'], []),
    rareIndex: environment.rareIndex,
    data: environment.data,
    helper,
  };
}

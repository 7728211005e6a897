/**
 * The contract of an engine (packages/vmm/src/engine/engine.ts) as tiny real guests: every engine runs all of it.
 *
 *     runContract('wasm', () => createWasmEngineUnderTest(), { skip: [] });
 */
import { describe, test } from 'node:test';
import { debugTests } from './engine-debug.ts';
import { faultTests } from './engine-faults.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import { inputOutputTests } from './engine-io.ts';
import { interruptTests } from './engine-interrupts.ts';
import { memoryTests } from './engine-memory.ts';
import { processorTests } from './engine-processor.ts';
import { runningTests } from './engine-running.ts';
import { startUpTests } from './engine-start-up.ts';

/** A test's name and what it does with a fresh engine. */
export type ContractTests = Readonly<Record<string, (engine: EngineUnderTest) => void>>;

export interface ContractOptions {
  /** Tests that an engine cannot pass, by name, and why. */
  readonly skip?: readonly { readonly reason: string; readonly tests: readonly string[] }[];
}

const sections: Readonly<Record<string, ContractTests>> = {
  'ports and devices': inputOutputTests,
  memory: memoryTests,
  interrupts: interruptTests,
  'running and stopping': runningTests,
  'the processor': processorTests,
  'several processors': startUpTests,
  'paging and faults': faultTests,
  'debug exits': debugTests,
};

export function runContract(name: string, create: () => EngineUnderTest, options: ContractOptions = {}): void {
  const skipped = new Map((options.skip ?? []).flatMap(({ reason, tests }) => tests.map((test) => [test, reason])));
  for (const [section, tests] of Object.entries(sections)) {
    describe(`${name}: ${section}`, () => {
      for (const [title, body] of Object.entries(tests)) {
        test(title, { skip: skipped.get(title) ?? false }, () => {
          const engine = create();
          try {
            body(engine);
          } finally {
            engine.close?.();
          }
        });
      }
    });
  }
}

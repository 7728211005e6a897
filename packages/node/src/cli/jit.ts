/** `lodger jit dump`: boots a machine until some code of its guest has been translated, and prints what it became. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { describeEnd } from '@lodger/vmm/machine/end-reason.js';
import type { VirtualMachineOptions } from '../vm/options.ts';
import { VirtualMachine } from '../vm/virtual-machine.ts';
import { type Ending, watchForEnd } from './ending.ts';
import { exitCodeOfSignal } from './exit-codes.ts';
import { Progress } from './progress.ts';
import { attachTerminal } from './terminal.ts';

/** Seconds until a machine whose guest does not come to the code is ended. */
const DefaultTimeout = 60;

/**
 * Prints the translation of `target` on standard output; the guest's console is on standard error meanwhile.
 *
 * @throws HostError when the machine cannot be made, or the code is not translated
 */
export async function jitDumpCommand(target: string, options: VirtualMachineOptions): Promise<number> {
  const progress = new Progress(process.stderr);
  const ending = watchForEnd();
  try {
    const vm = await VirtualMachine.create({
      engine: 'wasm',
      timeout: DefaultTimeout,
      ...options,
      translationOf: target.startsWith('0x') ? BigInt(target) : target,
      interactive: process.stdin.isTTY === true,
      filter: !process.stdin.isTTY,
      onProgress: (message) => progress.step(message),
      signal: ending.signal,
    });
    progress.done();
    const text = await untilTranslated(vm, ending);
    if (ending.exitCode !== undefined) return ending.exitCode;
    if (text === undefined) throw await whyNot(vm, target);
    return await print(text);
  } catch (error) {
    progress.done();
    if (ending.exitCode !== undefined) return ending.exitCode;
    throw error;
  } finally {
    ending.dispose();
  }
}

/** The exit code: a pager may end before it has read everything. */
async function print(text: string): Promise<number> {
  return new Promise((resolve) => {
    process.stdout.on('error', () => resolve(exitCodeOfSignal('SIGPIPE')));
    process.stdout.write(text, () => resolve(0));
  });
}

/** Undefined when the machine ended before. */
async function untilTranslated(vm: VirtualMachine, ending: Ending): Promise<string | undefined> {
  // Nobody may read standard output before the listing is there: the guest talks on standard error
  const session = attachTerminal(
    vm,
    { stdin: process.stdin, stdout: process.stderr },
    {
      onEscape: () => ending.end(0),
      onHangup: () => ending.end(exitCodeOfSignal('SIGHUP')),
      onOutputError: () => {},
    },
  );
  process.on('exit', session.restore);
  const stop = () => void vm.stop();
  ending.signal.addEventListener('abort', stop);
  try {
    if (ending.signal.aborted) return undefined;
    await vm.start();
    return await vm.translation();
  } finally {
    session.restore();
    process.off('exit', session.restore);
    await vm[Symbol.asyncDispose]();
  }
}

async function whyNot(vm: VirtualMachine, target: string): Promise<HostError> {
  const { reason } = await vm.exited;
  const advice =
    'only 64-bit code that runs often is translated, and some instructions never are; "lodger run --profile F" shows ' +
    'what is hot';
  return reason.kind === 'timeout'
    ? new HostError(
        'WaitTimedOut',
        `${target} was not translated in ${reason.seconds} s: ${advice}; --timeout waits longer`,
      )
    : new HostError(
        'MachineEnded',
        `the machine ended (${describeEnd(reason)}) before ${target} was translated: ${advice}`,
      );
}

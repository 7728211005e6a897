/** `lodger run`: one virtual machine on this terminal, from its options to an exit code. */
import { describeEnd } from '@lodger/vmm/machine/end-reason.js';
import type { VirtualMachineOptions } from '../vm/options.ts';
import { VirtualMachine } from '../vm/virtual-machine.ts';
import { EndingSignals, exitCodeOfSignal } from './exit-codes.ts';
import { Progress } from './progress.ts';
import { attachTerminal, windowOf } from './terminal.ts';

/** What ends the command, whichever comes first. */
interface Ending {
  readonly signal: AbortSignal;
  /** The exit code if something other than the machine ended the command. */
  readonly exitCode: number | undefined;
  end(exitCode: number): void;
  dispose(): void;
}

/**
 * Runs a machine and returns the exit code.
 *
 * @throws HostError when the machine cannot be created
 */
export async function runCommand(options: VirtualMachineOptions): Promise<number> {
  const terminal = { stdin: process.stdin, stdout: process.stdout };
  const progress = new Progress(process.stderr);
  const ending = watchForEnd();
  try {
    const window = windowOf(terminal);
    const vm = await VirtualMachine.create({
      ...options,
      ...(window && { window }),
      interactive: terminal.stdin.isTTY === true,
      filter: !(terminal.stdin.isTTY && terminal.stdout.isTTY),
      onProgress: (message) => progress.step(message),
      signal: ending.signal,
    });
    progress.done();
    return await runOnTerminal(vm, terminal, ending, progress);
  } catch (error) {
    progress.done();
    if (ending.exitCode !== undefined) return ending.exitCode;
    throw error;
  } finally {
    ending.dispose();
  }
}

async function runOnTerminal(
  vm: VirtualMachine,
  terminal: { stdin: NodeJS.ReadStream; stdout: NodeJS.WriteStream },
  ending: Ending,
  progress: Progress,
): Promise<number> {
  if (terminal.stdin.isTTY) progress.note('Ctrl-] ends the machine');
  const session = attachTerminal(vm, terminal, {
    onEscape: () => ending.end(0),
    onHangup: () => ending.end(exitCodeOfSignal('SIGHUP')),
    onOutputError: () => ending.end(exitCodeOfSignal('SIGPIPE')),
  });
  process.on('exit', session.restore);
  const stop = () => void vm.stop();
  ending.signal.addEventListener('abort', stop);
  try {
    if (!ending.signal.aborted) await vm.start();
    else await vm.stop();
    const end = await vm.exited;
    if (ending.exitCode === undefined) await outputWritten(vm, terminal.stdout);
    session.restore();
    if (ending.exitCode !== undefined) return ending.exitCode;
    if (end.exitCode !== 0) progress.note(describeEnd(end.reason));
    return end.exitCode;
  } finally {
    session.restore();
    process.off('exit', session.restore);
    await vm[Symbol.asyncDispose]();
  }
}

/** Everything that the guest printed has gone to standard output, or nobody will read it. */
async function outputWritten(vm: VirtualMachine, stdout: NodeJS.WriteStream): Promise<void> {
  const failed = new Promise<void>((resolve) => stdout.once('error', () => resolve()));
  const ended = new Promise<void>((resolve) => {
    if (vm.console.readableEnded) resolve();
    else vm.console.once('end', resolve);
  });
  const flushed = ended.then(() => new Promise<void>((resolve) => stdout.write('', () => resolve())));
  await Promise.race([flushed, failed]);
}

function watchForEnd(): Ending {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const end = (code: number) => {
    exitCode ??= code;
    controller.abort();
  };
  const handlers = EndingSignals.map((signal) => ({ signal, handler: () => end(exitCodeOfSignal(signal)) }));
  for (const { signal, handler } of handlers) process.on(signal, handler);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    end,
    dispose: () => {
      for (const { signal, handler } of handlers) process.off(signal, handler);
    },
  };
}

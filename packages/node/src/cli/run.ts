/** `lodger run`: one virtual machine on this terminal, from its options to an exit code. */
import { describeEnd } from '@lodger/vmm/machine/end-reason.js';
import type { RunReports } from './arguments.ts';
import { statisticsText } from './statistics-text.ts';
import type { VirtualMachineOptions } from '../vm/options.ts';
import { VirtualMachine } from '../vm/virtual-machine.ts';
import { type Ending, watchForEnd } from './ending.ts';
import { exitCodeOfSignal } from './exit-codes.ts';
import { ProfileFile, profileText } from './profile-file.ts';
import { Progress } from './progress.ts';
import { attachTerminal, windowOf } from './terminal.ts';

/**
 * Runs a machine and returns the exit code.
 *
 * @throws HostError when the machine cannot be created
 */
export async function runCommand(options: VirtualMachineOptions, reports: RunReports): Promise<number> {
  const terminal = { stdin: process.stdin, stdout: process.stdout };
  const progress = new Progress(process.stderr);
  const profileFile = reports.profile === undefined ? undefined : new ProfileFile(reports.profile);
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
    return await runOnTerminal(vm, terminal, ending, progress, { ...reports, profileFile });
  } catch (error) {
    progress.done();
    if (ending.exitCode !== undefined) return ending.exitCode;
    throw error;
  } finally {
    profileFile?.discard();
    ending.dispose();
  }
}

async function runOnTerminal(
  vm: VirtualMachine,
  terminal: { stdin: NodeJS.ReadStream; stdout: NodeJS.WriteStream },
  ending: Ending,
  progress: Progress,
  reports: RunReports & { readonly profileFile: ProfileFile | undefined },
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
    await report(vm, reports, progress);
    if (ending.exitCode !== undefined) return ending.exitCode;
    if (end.exitCode !== 0) progress.note(describeEnd(end.reason));
    return end.exitCode;
  } finally {
    session.restore();
    process.off('exit', session.restore);
    await vm[Symbol.asyncDispose]();
  }
}

/** What the user wants to know of the machine, which has ended. */
async function report(
  vm: VirtualMachine,
  { statistics, profileFile }: RunReports & { readonly profileFile: ProfileFile | undefined },
  progress: Progress,
): Promise<void> {
  const found = statistics ? await vm.statistics() : undefined;
  if (found) for (const line of statisticsText(found)) progress.note(line);
  const profile = profileFile && (await vm.profile());
  if (!profile) return;
  profileFile.write(profile);
  for (const line of profileText(profile)) progress.note(line);
  progress.note(`the profile is in ${profileFile.path}`);
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

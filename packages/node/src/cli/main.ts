/** The `lodger` command. */
import { readFileSync } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { endOfError, exitCodeOf } from '@lodger/vmm/machine/end-reason.js';
import { HelpText, parseCommandLine } from './arguments.ts';
import { runCommand } from './run.ts';

/** Runs one command line and returns its exit code. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  // Whoever closed stderr does not want to hear; nothing else ends for it.
  process.stderr.on('error', () => {});
  try {
    const command = parseCommandLine(args);
    switch (command.kind) {
      case 'help':
        process.stdout.write(HelpText);
        return 0;
      case 'version':
        process.stdout.write(`lodger ${version()}\n`);
        return 0;
      case 'run':
        return await runCommand(command.options);
      default:
        return command satisfies never;
    }
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  const end = endOfError(error);
  if (end.kind === 'host-error') process.stderr.write(`lodger: ${end.message}\n`);
  if (process.env['LODGER_DEBUG'] && error instanceof HostError) process.stderr.write(`${String(error.stack)}\n`);
  return exitCodeOf(end);
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** The `lodger` command. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { endOfError, exitCodeOf } from '@lodger/vmm/machine/end-reason.js';
import { lodgerVersion } from '../version.ts';
import { parseCommandLine } from './arguments.ts';
import { doctorCommand } from './doctor.ts';
import { HelpText } from './help.ts';
import { runCommand } from './run.ts';

/** Runs one command line and returns its exit code. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  // Whoever closed stderr does not want to hear; nothing else ends for it.
  process.stderr.on('error', () => {});
  try {
    const command = parseCommandLine(args);
    switch (command.kind) {
      case 'help':
        process.stdout.write(HelpText[command.topic]);
        return 0;
      case 'version':
        process.stdout.write(`lodger ${lodgerVersion()}\n`);
        return 0;
      case 'run':
        return await runCommand(command.options);
      case 'doctor':
        return await doctorCommand(command);
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

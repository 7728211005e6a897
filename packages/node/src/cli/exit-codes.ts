/** Exit codes of the command beyond those of ends (machine/end-reason.ts) and host errors (errors/host-error.ts). */
import { constants } from 'node:os';

/** The exit code that shells use for a process ended by `signal`. */
export function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Signals that end the machine and the command. */
export const EndingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const satisfies readonly NodeJS.Signals[];

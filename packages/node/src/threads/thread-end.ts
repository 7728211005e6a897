/** What the end of a thread that nobody asked for means for its machine. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { endOfError } from '@lodger/vmm/machine/end-reason.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';

/** The thread threw. */
export function endOfThread(name: string, error: unknown): EndReason {
  if (error instanceof HostError) return endOfError(error);
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return failed(`the machine's thread ${name} failed, please report it: ${detail}`);
}

/** The thread ended without a word. */
export function endOfSilentThread(name: string, exitCode: number): EndReason {
  return failed(`the machine's thread ${name} ended by itself (exit code ${exitCode}), please report it`);
}

function failed(message: string): EndReason {
  return { kind: 'host-error', code: 'Internal', message };
}

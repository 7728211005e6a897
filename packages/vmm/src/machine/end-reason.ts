/** Why a machine ended: a discriminated union, the same on every engine and for every front end. */
import type { HostErrorCode } from '../errors/host-error.ts';
import { HostError } from '../errors/host-error.ts';

export type EndReason =
  /** The guest switched itself off (ACPI S5). */
  | { readonly kind: 'power-off' }
  /** The guest asked for a reset. The front end boots again, or ends where it must not. */
  | { readonly kind: 'reset' }
  /** The guest wrote `value` to the debug-exit port; `exitCode` is (value << 1) | 1, as QEMU's isa-debug-exit has it. */
  | { readonly kind: 'debug-exit'; readonly exitCode: number }
  /** A triple fault or an equivalent shutdown of a vCPU. */
  | { readonly kind: 'triple-fault' }
  /** The guest's kernel panicked; `message` is its own line. */
  | { readonly kind: 'guest-panic'; readonly message: string }
  /** The host's time limit passed. */
  | { readonly kind: 'timeout'; readonly seconds: number }
  /** The host stopped it. */
  | { readonly kind: 'stopped' }
  /** Something failed on the host's side, or the engine gave up on the guest. */
  | { readonly kind: 'host-error'; readonly code: HostErrorCode; readonly message: string };

/** The process exit code that stands for each end; docs/exit-codes.md is the same table for people. */
export const EndExitCode = {
  PowerOff: 0,
  Stopped: 0,
  GuestPanic: 72,
  TripleFault: 74,
  Reset: 76,
  Timeout: 124,
} as const;

/** The exit code that a command ends with for `reason`. */
export function exitCodeOf(reason: EndReason): number {
  switch (reason.kind) {
    case 'power-off':
      return EndExitCode.PowerOff;
    case 'stopped':
      return EndExitCode.Stopped;
    case 'reset':
      return EndExitCode.Reset;
    case 'debug-exit':
      return reason.exitCode & 0xff;
    case 'triple-fault':
      return EndExitCode.TripleFault;
    case 'guest-panic':
      return EndExitCode.GuestPanic;
    case 'timeout':
      return EndExitCode.Timeout;
    case 'host-error':
      return new HostError(reason.code, reason.message).exitCode;
    default:
      return reason satisfies never;
  }
}

/** One line for people: what happened and, where there is something to do, what. */
export function describeEnd(reason: EndReason): string {
  switch (reason.kind) {
    case 'power-off':
      return 'the guest powered off';
    case 'stopped':
      return 'the machine was stopped';
    case 'reset':
      return 'the guest asked for a reset';
    case 'debug-exit':
      return `the guest ended the machine through the debug-exit port with code ${reason.exitCode}`;
    case 'triple-fault':
      return 'the guest triple-faulted: its kernel could not handle an exception';
    case 'guest-panic':
      return `the guest's kernel panicked: ${reason.message}`;
    case 'timeout':
      return `the time limit of ${reason.seconds} s passed; raise it with --timeout`;
    case 'host-error':
      return reason.message;
    default:
      return reason satisfies never;
  }
}

/** The end that an exception on the host's side stands for. */
export function endOfError(error: unknown): EndReason {
  if (error instanceof HostError) return { kind: 'host-error', code: error.code, message: error.message };
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { kind: 'host-error', code: 'Internal', message: `internal error, please report it: ${detail}` };
}

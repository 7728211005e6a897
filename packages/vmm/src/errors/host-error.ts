/**
 * The one error class of the VMM for failures on the host's side.
 *
 * Guest faults are values and never appear here.
 */

/** Every reason a host-side operation fails, with the exit code that `lodger` ends with. */
export const HostErrorCode = {
  InvalidArgument: { exitCode: 2 },
  KernelUnreadable: { exitCode: 64 },
  KernelTruncated: { exitCode: 64 },
  KernelUnsupported: { exitCode: 64 },
  InitrdUnreadable: { exitCode: 64 },
  InitrdUnsupported: { exitCode: 64 },
  MemoryTooSmall: { exitCode: 65 },
  MemoryTooLarge: { exitCode: 65 },
  DiskUnreadable: { exitCode: 66 },
  DiskLocked: { exitCode: 66 },
  DiskOddSized: { exitCode: 66 },
  FetchFailed: { exitCode: 67 },
  EngineUnavailable: { exitCode: 68 },
  /** A wait for console output or a state that did not come in time. */
  WaitTimedOut: { exitCode: 69 },
  /** Something was asked of a machine that has ended. */
  MachineEnded: { exitCode: 69 },
  Internal: { exitCode: 70 },
  /** The engine gave up on a guest: it did what the engine cannot do. */
  EngineFailed: { exitCode: 71 },
  /** A machine could not be saved, or what was saved could not be read. */
  SaveFailed: { exitCode: 73 },
  SaveUnreadable: { exitCode: 73 },
} as const satisfies Record<string, { exitCode: number }>;
export type HostErrorCode = keyof typeof HostErrorCode;

/** A failure of the host's side: `message` says what happened and what to do next. */
export class HostError extends Error {
  readonly code: HostErrorCode;

  constructor(code: HostErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'HostError';
    this.code = code;
  }

  /** The exit code that a command ends with on this error. */
  get exitCode(): number {
    return HostErrorCode[this.code].exitCode;
  }
}

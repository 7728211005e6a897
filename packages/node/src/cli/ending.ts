/** Signals and keys that end a command. */
import { EndingSignals, exitCodeOfSignal } from './exit-codes.ts';

/** What ends the command, whichever comes first. */
export interface Ending {
  readonly signal: AbortSignal;
  /** The exit code if something other than the machine ended the command. */
  readonly exitCode: number | undefined;
  end(exitCode: number): void;
  dispose(): void;
}

/** Watches until {@link Ending.dispose}. */
export function watchForEnd(): Ending {
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

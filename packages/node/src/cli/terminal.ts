/**
 * The terminal that `lodger run` was started on, joined to the guest's console.
 *
 * A terminal is in raw mode meanwhile, so that every key goes to the guest; Node itself resets it when the process ends
 * by a signal that nobody handles, {@link TerminalSession.restore} in every other case. Without a terminal, standard
 * input and output are plain streams and lodger is a filter: the end of the input does not end the guest.
 */
import { spawnSync } from 'node:child_process';
import type { ReadStream, WriteStream } from 'node:tty';
import type { VirtualMachine } from '../vm/virtual-machine.ts';

/** Ctrl-], as telnet has it. */
const EscapeByte = 0x1d;

export interface Terminal {
  readonly stdin: NodeJS.ReadStream | ReadStream;
  readonly stdout: NodeJS.WriteStream | WriteStream;
}

export interface TerminalEvents {
  /** Ctrl-] was pressed. */
  readonly onEscape: () => void;
  /** Standard output cannot be written any more. */
  readonly onOutputError: (error: NodeJS.ErrnoException) => void;
  /** The terminal is gone. */
  readonly onHangup: () => void;
}

export interface TerminalSession {
  /** Gives the terminal back as it was. Idempotent, legal in an exit handler. */
  restore(): void;
}

/** The terminal's size, where there is one. */
export function windowOf({ stdout }: Terminal): { columns: number; rows: number } | undefined {
  return stdout.isTTY && stdout.columns > 0 ? { columns: stdout.columns, rows: stdout.rows } : undefined;
}

/**
 * Node's raw mode leaves the terminal's output processing on, which would add a carriage return to each line feed of a
 * guest's full-screen program. coreutils' stty turns it off; without stty, only such programs look wrong.
 */
function keepOutput(): void {
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
}

/** Joins terminal and console until {@link TerminalSession.restore}. */
export function attachTerminal(vm: VirtualMachine, terminal: Terminal, events: TerminalEvents): TerminalSession {
  const { stdin, stdout } = terminal;
  const raw = stdin.isTTY === true;
  const setRaw = () => {
    if (!raw) return;
    stdin.setRawMode(true);
    keepOutput();
  };
  const resize = () => {
    const size = windowOf(terminal);
    if (size) vm.resizeConsole(size.columns, size.rows);
  };
  const type = (bytes: Buffer) => {
    const escape = raw ? bytes.indexOf(EscapeByte) : -1;
    const typed = escape < 0 ? bytes : bytes.subarray(0, escape);
    if (typed.length > 0 && !vm.console.write(typed)) {
      stdin.pause();
      vm.console.once('drain', () => stdin.resume());
    }
    if (escape >= 0) events.onEscape();
  };

  setRaw();
  stdin.on('data', type);
  stdin.on('error', events.onHangup);
  stdout.on('resize', resize);
  stdout.on('error', events.onOutputError);
  process.on('SIGCONT', setRaw);
  vm.console.pipe(stdout, { end: false });

  let attached = true;
  return {
    restore() {
      if (!attached) return;
      attached = false;
      stdin.off('data', type);
      stdin.pause();
      if (raw) stdin.setRawMode(false);
      stdout.off('resize', resize);
      process.off('SIGCONT', setRaw);
    },
  };
}

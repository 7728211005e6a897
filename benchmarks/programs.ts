/** What is measured inside guests: programs of guest/*.c, and Debian's own with the scripts of guest/debian. */

/** The machines that programs run in; each is booted anew in every round. */
export const Guests = {
  /** The one whose boot and memory are measured. */
  plain: { title: 'one processor', processors: 1, mebibytes: 256 },
  pair: { title: 'two processors', processors: 2, mebibytes: 256 },
  /** Its initrd holds parts of a Debian, which take memory. */
  debian: { title: "Debian's programs", processors: 1, mebibytes: 768 },
} as const;
export type GuestName = keyof typeof Guests;
export const GuestNames = Object.keys(Guests) as readonly GuestName[];

export interface Program {
  /** Of its source: guest/NAME.c, or guest/debian/NAME.sh. */
  readonly name: string;
  readonly title: string;
  readonly guest: GuestName;
}

const plain = (name: string, title: string): Program => ({ name, title, guest: 'plain' });
const pair = (name: string, title: string): Program => ({ name, title, guest: 'pair' });
const debian = (name: string, title: string): Program => ({ name, title, guest: 'debian' });

export const Programs: readonly Program[] = [
  plain('loop', 'empty loop'),
  plain('xorshift', 'xorshift'),
  plain('sieve', 'sieve'),
  plain('integer', 'sieve and Collatz'),
  plain('sha256', 'SHA-256'),
  plain('chase-16k', 'pointers in 16 KB'),
  plain('chase-512k', 'pointers in 512 KB'),
  plain('chase-16m', 'pointers in 16 MB'),
  plain('matrix-double', 'matrix, double'),
  plain('matrix-float', 'matrix, float'),
  plain('nbody', 'nbody'),
  plain('x87', 'x87'),
  plain('fib', 'fib'),
  plain('qsort', 'qsort, callbacks'),
  plain('strings', 'string functions'),
  plain('copy', 'memory copy'),
  plain('copy-string', 'memory copy, REP MOVSB'),
  plain('bytecode', 'bytecode interpreter'),
  plain('hash', 'hash table'),
  plain('compress', 'compression'),
  plain('syscall', 'system calls'),
  plain('fork', 'fork'),
  plain('exec', 'fork and exec'),
  plain('pipes', 'pipe'),
  plain('faults', 'page faults'),
  plain('mmap', 'mmap, munmap'),
  plain('switch', 'context switches'),
  pair('switch-across', 'context switches across processors'),
  pair('locks', 'locks'),
  pair('parallel-one', 'two processes on one processor'),
  pair('parallel-two', 'two processes on two'),
  debian('gzip', 'gzip'),
  debian('xz', 'xz'),
  debian('python', 'python3'),
  debian('sqlite', 'sqlite3'),
  debian('openssl', 'openssl'),
  debian('gcc', 'gcc'),
];

/** Names of guests stand for all their programs. */
export function programsNamed(names: readonly string[]): readonly Program[] {
  return Programs.filter(({ name, guest }) => names.includes(name) || names.includes(guest));
}

/** Last line of a guest that has run its programs. */
export const DoneLine = 'bench: done';

/** What a program says of itself. */
export interface ProgramResult {
  readonly name: string;
  readonly seconds: number;
  readonly checksum: string;
}

/** Parses `bench: NAME NANOSECONDS CHECKSUM`. */
export function parseResult(line: string): ProgramResult | undefined {
  const match = /^bench: ([\w-]+) (\d+) ([0-9a-f]+)$/.exec(line);
  return match ? { name: match[1]!, seconds: Number(match[2]) / 1e9, checksum: match[3]! } : undefined;
}

/** The line that a program prints before its work. */
export function beginLine(name: string): string {
  return `bench: ${name} begins`;
}

/** The line that says how many processors the guest found. */
export const ProcessorsLine = /^bench: (\d+) processors$/;

/** The line of a program that ended with another status than 0. */
export const FailedLine = /^bench: ([\w-]+) failed: (\d+)$/;

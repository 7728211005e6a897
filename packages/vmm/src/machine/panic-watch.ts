/**
 * Recognizes a Linux panic on the console.
 *
 * Debian's kernels have pvpanic only as a module, so the console is where a panic shows. The default command line has
 * panic=-1: a kernel that panics resets at once, and that reset is then told from a reboot by {@link PanicWatch.message}.
 */

const Marker = 'Kernel panic - ';
/** A panic line longer than this is cut: the guest chooses its length. */
const LongestLine = 300;

export class PanicWatch {
  #line = '';
  #message: string | undefined;

  /** The kernel's panic line, once there was one. */
  get message(): string | undefined {
    return this.#message ?? this.#panicIn(this.#line);
  }

  /** Looks at console output as it passes. */
  observe(byte: number): void {
    if (this.#message !== undefined) return;
    if (byte === 0x0a || byte === 0x0d) {
      this.#message = this.#panicIn(this.#line);
      this.#line = '';
    } else if (this.#line.length < LongestLine) {
      this.#line += String.fromCharCode(byte);
    }
  }

  #panicIn(line: string): string | undefined {
    const at = line.indexOf(Marker);
    return at < 0 ? undefined : line.slice(at);
  }
}

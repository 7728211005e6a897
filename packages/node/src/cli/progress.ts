/** Progress of long steps on stderr, one line each; on a terminal, a step's line is rewritten as it goes on. */

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #lineOpen = false;
  #last = '';

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** Says what is being done; repeated messages are said once. */
  step(message: string): void {
    if (message === this.#last) return;
    this.#last = message;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\x1b[K${this.#cut(message)}`);
      this.#lineOpen = true;
    } else {
      this.#stream.write(`lodger: ${message}\n`);
    }
  }

  /** Says something that stays. */
  note(message: string): void {
    this.done();
    this.#stream.write(`lodger: ${message}\n`);
  }

  /** Takes the rewritten line away. */
  done(): void {
    if (this.#lineOpen) this.#stream.write('\r\x1b[K');
    this.#lineOpen = false;
  }

  #cut(message: string): string {
    return `lodger: ${message}`.slice(0, (this.#stream.columns || 80) - 1);
  }
}

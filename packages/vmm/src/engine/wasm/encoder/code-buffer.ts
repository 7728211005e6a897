/** Code while it is emitted: numbers of up to 16 bits, appended one by one. */
export class CodeBuffer {
  #numbers = new Uint16Array(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(number: number): void {
    if (this.#length === this.#numbers.length) this.#grow(1);
    this.#numbers[this.#length++] = number;
  }

  append(numbers: Uint16Array): void {
    if (this.#length + numbers.length > this.#numbers.length) this.#grow(numbers.length);
    this.#numbers.set(numbers, this.#length);
    this.#length += numbers.length;
  }

  /** Takes back everything behind a length. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** A view; it is good until the next change. */
  view(start = 0, end = this.#length): Uint16Array {
    return this.#numbers.subarray(start, end);
  }

  #grow(by: number): void {
    const larger = new Uint16Array(Math.max(this.#numbers.length * 2, this.#length + by));
    larger.set(this.view());
    this.#numbers = larger;
  }
}

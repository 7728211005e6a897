/** The vCPUs of a machine that have threads of their own, as the board's thread sees them. */
import type { VcpuExit } from '../engine/exit.ts';
import type { ExitCounts } from './exit-counts.ts';
import type { BoardMailbox } from './exit-mailbox.ts';

export class RemoteVcpus {
  readonly #mailboxes: readonly BoardMailbox[];
  readonly #handle: (exit: VcpuExit) => void;

  /** `handle` deals with an exit: it sets the value of a read. */
  constructor(mailboxes: readonly BoardMailbox[], handle: (exit: VcpuExit) => void) {
    this.#mailboxes = mailboxes;
    this.#handle = handle;
  }

  get counts(): readonly ExitCounts[] {
    return this.#mailboxes.map(({ counts }) => counts);
  }

  /** Answers the exits that are posted, one of each vCPU at most: how many. */
  answer(): number {
    let answered = 0;
    for (const mailbox of this.#mailboxes) {
      const exit = mailbox.posted();
      if (exit === undefined) continue;
      this.#handle(exit);
      mailbox.answer(exit);
      answered++;
    }
    return answered;
  }

  /** Gets every vCPU out of guest code; returns when all are. */
  hold(): void {
    for (const mailbox of this.#mailboxes) mailbox.hold();
    for (const mailbox of this.#mailboxes) mailbox.awaitOut(this.#handle);
  }

  run(): void {
    for (const mailbox of this.#mailboxes) mailbox.run();
  }

  /** Tells every vCPU's thread to end; {@link hold} waits until they have. */
  end(): void {
    for (const mailbox of this.#mailboxes) mailbox.end();
  }

  /** 'unknown': they have been asked, and each answer wakes the board. */
  idleState(): 'unknown' | 'busy' | 'halted' {
    const states = this.#mailboxes.map((mailbox) => mailbox.idleState());
    if (states.includes('busy')) return 'busy';
    return states.includes('unknown') ? 'unknown' : 'halted';
  }

  /** The next {@link idleState} asks again. */
  forgetIdleState(): void {
    for (const mailbox of this.#mailboxes) mailbox.forgetIdleState();
  }
}

/** The life of a vCPU that has a thread of its own; the thread with the board answers its exits (exit-mailbox.ts). */
import type { Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { Clock } from '../time/clock.ts';
import type { VcpuMailbox } from './exit-mailbox.ts';
import { HypercallUnknown } from './hypercalls.ts';
import { nextLookAround } from './look-around.ts';

type RunnableVcpu = Pick<Vcpu, 'run' | 'runnable' | 'kick' | 'leaveThread'>;

/** Runs the vCPU until the machine ends. */
export function runRemoteVcpu(vcpu: RunnableVcpu, mailbox: VcpuMailbox, clock: Clock): void {
  try {
    // The last exit's instruction has been completed.
    let settled = true;
    for (;;) {
      if (!settled && mailbox.isHeld) vcpu.kick();
      else if (!mailbox.mayRun()) return;
      if (mailbox.idleAsked) mailbox.answerIdle(!vcpu.runnable);
      const exit = vcpu.run(nextLookAround(clock.now()));
      mailbox.counts.count(exit.kind);
      settled = exit.kind === 'interrupted' || exit.kind === 'halt';
      if (!handle(exit, mailbox)) return;
    }
  } finally {
    vcpu.leaveThread?.();
    mailbox.ended();
  }
}

/** False: the vCPU runs no further. */
function handle(exit: VcpuExit, mailbox: VcpuMailbox): boolean {
  switch (exit.kind) {
    case 'interrupted':
    case 'halt':
      return true;
    case 'hypercall':
      exit.result = HypercallUnknown;
      return true;
    case 'pio-read':
    case 'pio-write':
    case 'mmio-read':
    case 'mmio-write':
      return mailbox.ask(exit);
    case 'shutdown':
    case 'debug':
    case 'failure':
      mailbox.ask(exit);
      return false;
    default:
      return exit satisfies never;
  }
}

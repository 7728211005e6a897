/**
 * The machine's worker: one boot of one machine, from start to end, in one thread that never returns to its event loop.
 * The main thread speaks to it through shared memory (control-block.ts), it answers with messages.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { endOfError } from '@lodger/vmm/machine/end-reason.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { MachineService } from './machine-service.ts';
import type { MachineMessage, MachineWorkerData } from './messages.ts';

const port = parentPort!;
const post = (message: MachineMessage) => port.postMessage(message);

function runMachine(): EndReason {
  try {
    const service = new MachineService(workerData as MachineWorkerData, post);
    return service.run();
  } catch (error) {
    return endOfError(error);
  }
}

post({ kind: 'ended', reason: runMachine() });

/**
 * The machine's worker: one boot of one machine, from start to end, in one thread that never returns to its event loop.
 * It has the board, and runs the first vCPU (kvm) or all of them (wasm). The main thread speaks to it through shared
 * memory (control-block.ts), it answers with messages.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { loadEngine } from './engine-choice.ts';
import { enterEngineWorker } from './engine-worker.ts';
import { MachineService } from './machine-service.ts';
import type { MachineMessage, MachineWorkerData } from './messages.ts';
import { endOfThread } from './thread-end.ts';
import { machineThreadName, nameThread } from './thread-name.ts';

const port = parentPort!;
const post = (message: MachineMessage) => port.postMessage(message);
const data = workerData as MachineWorkerData;
const name = machineThreadName(data.cpus - data.mailboxes.length);

async function runMachine(): Promise<EndReason> {
  try {
    nameThread(name);
    const engine = await loadEngine(data.engine);
    enterEngineWorker(engine);
    return new MachineService(engine, data, post).run();
  } catch (error) {
    return endOfThread(name, error);
  }
}

post({ kind: 'ended', reason: await runMachine() });

/**
 * The machine's worker: one boot of one machine, from start to end, in one thread that never returns to its event loop.
 * It has the board, and runs the first vCPU (kvm) or all of them (wasm). The main thread speaks to it through shared
 * memory (control-block.ts), it answers with messages.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { loadEngine } from './engine-choice.ts';
import { enterEngineWorker } from './engine-worker.ts';
import { MachineService } from './machine-service.ts';
import type { MachineMessage, MachineWorkerData } from './messages.ts';
import { endOfThread } from './thread-end.ts';
import { machineThreadName, nameThread } from './thread-name.ts';

const port = parentPort!;
const data = workerData as MachineWorkerData;
const name = machineThreadName(data.cpus - data.mailboxes.length);
let giveBack = (): void => {};

const post = (message: MachineMessage): void => port.postMessage(message);

async function runMachine(): Promise<void> {
  try {
    nameThread(name);
    const engine = await loadEngine(data.engine);
    enterEngineWorker(engine);
    const service = new MachineService(await engine.loadVms(), data, (message) => {
      if (message.kind === 'created') giveBack = () => engine.release(message.shared);
      post(message);
    });
    post({ kind: 'ended', reason: service.run() });
  } catch (error) {
    post({ kind: 'ended', reason: endOfThread(name, error) });
  }
}

await runMachine();
Atomics.wait(data.othersEnded, 0, 0);
giveBack();

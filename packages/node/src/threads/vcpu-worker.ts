/** The worker of one vCPU with a thread of its own; the machine's worker answers its exits. */
import { parentPort, workerData } from 'node:worker_threads';
import { VcpuMailbox } from '@lodger/vmm/machine/exit-mailbox.js';
import { runRemoteVcpu } from '@lodger/vmm/machine/remote-vcpu.js';
import { loadEngine } from './engine-choice.ts';
import { enterEngineWorker } from './engine-worker.ts';
import { hostClock } from './host-clock.ts';
import { VcpuEnded } from './messages.ts';
import type { VcpuWorkerData } from './messages.ts';
import { nameThread, vcpuThreadName } from './thread-name.ts';

const { shared, id, mailbox } = workerData as VcpuWorkerData;
nameThread(vcpuThreadName(id));
const engine = await loadEngine(shared.engine);
enterEngineWorker(engine);
const attachVcpu = await engine.loadVcpus();
const clock = hostClock();
const vcpu = attachVcpu(shared, id, clock);
runRemoteVcpu(vcpu, new VcpuMailbox(mailbox, () => engine.wake(shared)), clock);
parentPort!.postMessage(VcpuEnded);

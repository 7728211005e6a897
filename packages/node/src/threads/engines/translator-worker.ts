/** The translator's thread: compiles what the machine's thread asks for, several regions to a module. */
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import {
  RegionPipeline,
  type CompiledRegions,
  type RegionJob,
} from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import type { TranslatorRequest, TranslatorLink } from './translation.ts';
import { nameThread } from '../thread-name.ts';

/** Regions of one module: the first of a burst should not wait for the last. */
const MaxBatch = 8;

const { port, sent } = workerData as TranslatorLink;
nameThread('translator');
let pipeline: RegionPipeline | undefined;
const jobs: RegionJob[] = [];

function take(request: TranslatorRequest): void {
  if (request.kind === 'setup') pipeline = new RegionPipeline(request.setup);
  else jobs.push(request.job);
}

/** Jobs that cannot be compiled are left to the interpreter, each by itself. */
function compile(batch: readonly RegionJob[]): CompiledRegions[] {
  try {
    return [pipeline!.compile(batch)];
  } catch (error) {
    if (batch.length > 1) return batch.flatMap((job) => compile([job]));
    process.emitWarning(`a region was not translated: ${error instanceof Error ? error.message : String(error)}`);
    return [{ helpers: [], module: undefined, regions: [], left: batch.map(({ id }) => id) }];
  }
}

port.on('message', (first: TranslatorRequest) => {
  take(first);
  while (pipeline) {
    for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port))
      take(next.message as TranslatorRequest);
    if (jobs.length === 0) return;
    for (const result of compile(jobs.splice(0, MaxBatch))) {
      port.postMessage(result);
      Atomics.add(sent, 0, 1);
    }
  }
});

/** The translator's thread: compiles what the threads of vCPUs ask for, several regions to a module. */
import { readFileSync } from 'node:fs';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import {
  RegionPipeline,
  nothingCompiled,
  type CompiledRegions,
  type RegionJob,
} from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import type { TranslatorRequest, TranslatorLink } from './translation.ts';
import { compileTiered } from './compile-optimized.ts';
import { nameThread } from '../thread-name.ts';

/** Regions of one module: the first of a burst should not wait for the last. */
const MaxBatch = 8;

nameThread('translator');
(workerData as TranslatorLink[]).forEach(serve);

/**
 * Milliseconds of processor time of this thread (proc(5), /proc/pid/schedstat), or where the host does not tell it, of real
 * time.
 */
function threadTime(): number {
  try {
    const [nanoseconds] = readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ');
    return Number(nanoseconds) / 1e6;
  } catch {
    return performance.now();
  }
}

/** One of the threads that it compiles for. */
function serve({ port, sent }: TranslatorLink): void {
  let pipeline: RegionPipeline | undefined;
  const jobs: RegionJob[] = [];

  const take = (request: TranslatorRequest): void => {
    if (request.kind === 'setup') {
      pipeline = new RegionPipeline(request.setup, { compile: compileTiered, now: threadTime });
    } else jobs.push(request.job);
  };

  port.on('message', (first: TranslatorRequest) => {
    take(first);
    while (pipeline) {
      for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port))
        take(next.message as TranslatorRequest);
      if (jobs.length === 0) return;
      for (const result of compile(pipeline, jobs.splice(0, MaxBatch))) {
        port.postMessage(result);
        Atomics.add(sent, 0, 1);
      }
    }
  });
}

/** Jobs that cannot be compiled are left to the interpreter, each by itself. */
function compile(pipeline: RegionPipeline, batch: readonly RegionJob[]): CompiledRegions[] {
  try {
    return [pipeline.compile(batch)];
  } catch (error) {
    if (batch.length > 1) return batch.flatMap((job) => compile(pipeline, [job]));
    process.emitWarning(`a region was not translated: ${error instanceof Error ? error.message : String(error)}`);
    return [nothingCompiled(batch.map(({ id }) => id))];
  }
}

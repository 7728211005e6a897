/** Workers that use an engine: what such a thread leaves behind in the process when it ends is given back. */
import { Worker, workerData } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import type { EngineThreads } from './engine-choice.ts';

interface Leftovers {
  readonly leftovers?: SharedArrayBuffer;
}

/** Starts `script`, which calls {@link enterEngineWorker} before it uses the engine. */
export function startEngineWorker(engine: EngineThreads, script: URL, options: WorkerOptions): Worker {
  const { leftovers: kind } = engine;
  if (kind === undefined) return new Worker(script, options);
  const leftovers = new SharedArrayBuffer(kind.bytes);
  const worker = new Worker(script, { ...options, workerData: { ...options.workerData, leftovers } });
  return worker.once('exit', () => kind.release(leftovers));
}

/** In the worker. */
export function enterEngineWorker(engine: EngineThreads): void {
  const { leftovers } = workerData as Leftovers;
  if (leftovers) engine.leftovers?.note(leftovers);
}

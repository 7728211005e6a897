/** A run of the nested host from its image to the command's exit status. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { performance } from 'node:perf_hooks';
import { root } from '../setup.js';
import { ensureImage } from './build.js';
import { NestedHostError } from './host.js';
import { deadline, runMachine } from './machine.js';
import { makeRecipe } from './recipe.js';
import { isBuilt, makeRunDisk } from './run-disk.js';

/** One processor: machine.js says why (Accelerator). */
export const Defaults = { cpus: 1, memory: 3072, hugePages: 64, timeout: 900 };

/** Makes the image when the cache does not have it yet. @returns its folder */
export async function prepareNestedHost({ qemu, note, signal }) {
  if (!(await isBuilt(root))) throw new NestedHostError('build the checkout first: npm ci && npm run build');
  return ensureImage(makeRecipe({ qemu }), { note, signal });
}

/**
 * Runs `command` in a nested host of its own, in `directory` (of the checkout).
 *
 * @returns the command's exit status
 * @throws NestedHostError when there is none; TimeOut after `timeout` seconds
 */
export async function runInNestedHost(options) {
  const { command, directory, timeout, note, verbose, signal: interruption } = options;
  if (relative(root, directory).startsWith('..')) {
    throw new NestedHostError(
      `${directory} is outside the checkout, so it is not in the nested host: cd ${root} first`,
    );
  }
  const image = await prepareNestedHost(options);
  const { cacheDirectory } = await import('../../packages/node/dist/images/cache.js');
  const cache = cacheDirectory();
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(tmpdir(), 'lodger-nested-'));
  const timer = deadline(timeout);
  const signal = AbortSignal.any([interruption, timer.signal]);
  const steps = stepClock(verbose ? note : () => {});
  try {
    const runDisk = join(work, 'run.ext4');
    const { hugePages } = options;
    await makeRunDisk({ root, cache, command, directory, hugePages, work, target: runDisk, signal });
    steps('packed the checkout');
    const onReady = () => steps('booted the nested host');
    const status = await runMachine({ ...options, image, runDisk, cache, work, signal, onReady });
    steps('ran the command');
    return status;
  } catch (error) {
    if (signal.aborted) throw signal.reason; // with what the machine said last
    throw error;
  } finally {
    timer.clear();
    await rm(work, { recursive: true, force: true });
  }
}

function stepClock(note) {
  let last = performance.now();
  return (what) => {
    const now = performance.now();
    note(`${what} in ${((now - last) / 1000).toFixed(1)} s`);
    last = now;
  };
}

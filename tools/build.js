/**
 * Builds what changed: the packages, tests and benchmarks with tsc, then the bundle of packages/node, which the command
 * and users of the library run. Every thread of a machine loads its modules anew: together they load some 400 files, of
 * the bundle a few dozen, and a machine starts in two thirds of the time (docs/dependencies.md).
 *
 *     node tools/build.js
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { note, root } from './setup.js';

const Packages = ['vmm', 'kvm', 'node'];
/** What is started by name: the command, the library and the workers. Workers find each other beside them. */
const EntryPoints = [
  'cli/main.js',
  'index.js',
  'threads/machine-worker.js',
  'threads/vcpu-worker.js',
  'threads/io-worker.js',
  'threads/engines/translator-worker.js',
];
/** Milliseconds that a file of an earlier build stays: a process that was started before may still load it. */
const Leftover = 3_600_000;

const source = join(root, 'packages/node/dist');
const target = join(root, 'packages/node/bundle');

/** @returns whether everything was built */
export async function build() {
  const compiled = spawnSync(process.execPath, [join(root, 'node_modules/tsc-native/bin/tsc'), '-b'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (!bundleIsCurrent()) await bundle();
  return compiled.status === 0;
}

function bundleIsCurrent() {
  const bundled = modified(join(target, 'main.js'));
  return Packages.every((name) => modified(join(root, 'packages', name, 'tsconfig.tsbuildinfo')) < bundled);
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

async function bundle() {
  const { build: bundleWith } = await import('esbuild');
  const { metafile } = await bundleWith({
    entryPoints: EntryPoints.map((path) => join(source, path)),
    outdir: target,
    entryNames: '[name]',
    chunkNames: 'shared-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    sourcesContent: false,
    external: ['koffi', 'fzstd'],
    metafile: true,
    logLevel: 'warning',
    absWorkingDir: root,
  });
  const names = new Set(Object.keys(metafile.outputs).map((path) => basename(path)));
  for (const name of readdirSync(target)) {
    const path = join(target, name);
    if (!names.has(name) && modified(path) < Date.now() - Leftover) rmSync(path, { force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!(await build())) {
    note('the build failed');
    process.exitCode = 1;
  }
}

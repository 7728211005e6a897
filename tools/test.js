/**
 * Runs everything that CI runs: set-up, build, lint and all test suites.
 *
 *     npm test                      everything
 *     npm test -- serial ring       only test files whose path contains one of the words (no lint)
 *     npm test -- nested [word…]    only what runs in the nested host
 *
 * Prints failures in full, skips with their reasons, and one closing line: `123 passed, 0 failed, 2 skipped`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from 'node:test';
import { whyNot } from './nested-host/host.js';
import { note, root, setUp } from './setup.js';

/** Host programs that tests call, and the Debian packages that bring them. */
const HostPackages = {
  e2fsck: 'e2fsprogs',
  cpio: 'cpio',
  flock: 'util-linux',
  'qemu-system-x86_64': 'qemu-system-x86',
  mmdebstrap: 'mmdebstrap',
};

/** Whole guests come last: what is wrong with a part shows in the part's own tests first. */
const Phases = [
  { name: 'unit and contract tests', folders: ['packages', 'tests/contract', 'tests/guest', 'tests/differential'] },
  {
    name: 'translated code',
    folders: ['tests/contract', 'tests/differential'],
    files: /contract\/(system-|engine-wasm)|differential\/(instructions|programs)/,
    // Every block is translated before it is first executed
    environment: { LODGER_TEST_MODE: 'translator' },
  },
  { name: 'boots', folders: ['tests/boot'] },
];
/**
 * What nested hosts run: tests of the kvm engine where its /dev/kvm is as on real hardware. A nested host has one processor;
 * there is one for each share of the files, side by side on a host that has the cores.
 */
const Nested = {
  name: 'nested host',
  folders: ['packages/kvm', 'tests/contract', 'tests/nested'],
  files: /packages\/kvm\/|contract\/(engine-(kvm|moves|events)|io-workers|cpu-models)|dist\/nested\//,
  /** A file is in the first share that matches; all take about the same time. */
  shares: [/boot-loop|engine-moves/, /./],
  /** Seconds for each share; the whole of npm test has 40 minutes. */
  timeout: 1200,
};
/** Each guest takes a core. */
const concurrency = Math.min(2, availableParallelism());

const totals = { passed: 0, failed: 0, skipped: 0 };

function hasProgram(name) {
  return spawnSync('sh', ['-c', `command -v ${name}`], { env: searchPath() }).status === 0;
}

/** System administration programs (e2fsck) are outside an ordinary user's PATH on Debian. */
function searchPath() {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin` };
}

/** Installs host packages that tests need when this is root on a Debian; otherwise the tests concerned are skipped. */
function installHostPackages() {
  const missing = Object.entries(HostPackages).filter(([program]) => !hasProgram(program));
  if (missing.length === 0) return;
  const names = missing.map(([, debianPackage]) => debianPackage);
  if (process.getuid?.() !== 0 || !hasProgram('apt-get')) {
    note(`tests that need ${names.join(', ')} will be skipped (install with: apt-get install ${names.join(' ')})`);
    return;
  }
  note(`installing ${names.join(', ')} for the tests …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) => spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 2, 2], env }).status === 0;
  const install = () => apt('install', '-y', '--no-install-recommends', ...names);
  if (!install() && !(apt('update') && install())) note(`could not install ${names.join(', ')}`);
}

function lint() {
  const started = Date.now();
  for (const [name, args] of [
    ['eslint', ['node_modules/eslint/bin/eslint.js', '.']],
    ['prettier', ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.']],
  ]) {
    const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    if (result.status === 0) totals.passed += 1;
    else {
      totals.failed += 1;
      console.log(`FAILED ${name}`);
    }
  }
  console.log(`lint: ${seconds(started)}`);
}

function testFiles(folders, words) {
  const files = [];
  for (const folder of folders) {
    const base = join(root, folder.startsWith('tests/') ? folder.replace('tests/', 'tests/dist/') : folder);
    for (const file of listTests(base)) {
      if (words.length === 0 || words.some((word) => file.includes(word))) files.push(file);
    }
  }
  return files.sort();
}

function listTests(folder) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'src' ? [] : listTests(path);
    return entry.name.endsWith('.test.js') ? [path] : [];
  });
}

function seconds(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`;
}

async function runPhase({ name, folders, files: pattern = /./, environment = {} }, words) {
  const files = testFiles(folders, words).filter((file) => pattern.test(file));
  if (files.length === 0) return;
  const started = Date.now();
  Object.assign(process.env, environment);
  for await (const event of run({ files, concurrency, timeout: 900_000 })) {
    record(Object.keys(environment).length === 0 ? event : renamed(event, name));
  }
  for (const variable of Object.keys(environment)) delete process.env[variable];
  console.log(`${name}: ${files.length} files, ${seconds(started)}`);
}

/** There is no network in the nested host: its guests' kernels come from this host's cache. */
async function fetchGuests() {
  const { ensureGuestImage } = await import('../packages/node/dist/images/index.js');
  for (const flavour of ['cloud-amd64', 'amd64']) await ensureGuestImage({ flavour, onProgress: note });
}

async function runNested({ name, folders, files: pattern, shares, timeout }, words) {
  const files = testFiles(folders, words).filter((file) => pattern.test(file));
  if (files.length === 0) return;
  const reason = whyNot();
  if (reason !== undefined) {
    totals.skipped += 1;
    console.log(`skipped ${name}: ${files.length} test files (${reason})`);
    return;
  }
  const started = Date.now();
  await fetchGuests();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, endNestedHosts);
  const queue = shares
    .map((share) => files.filter((file) => share === shares.find((candidate) => candidate.test(file))))
    .filter((share) => share.length > 0);
  const work = async () => {
    for (let share = queue.shift(); share !== undefined; share = queue.shift()) await runInside(name, share, timeout);
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  console.log(`${name}: ${files.length} files, ${seconds(started)}`);
}

const nestedHosts = new Set();

function endNestedHosts() {
  for (const host of nestedHosts) host.kill('SIGTERM');
  process.exit(1);
}

/** Runs test files in a nested host of their own. */
async function runInside(name, files, timeout) {
  const inside = ['node', join(root, 'tools/nested-host/test-runner.js'), ...files];
  const args = [join(root, 'tools/nested-host.js'), '--verbose', '--timeout', String(timeout), '--', ...inside];
  const host = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => host.on('close', (status) => resolve(status)));
  nestedHosts.add(host);
  for await (const line of createInterface({ input: host.stdout })) {
    const event = JSON.parse(line);
    record(renamed(event, name));
  }
  const status = await ended;
  nestedHosts.delete(host);
  if (status !== 0) {
    totals.failed += 1;
    console.log(`FAILED ${name}: ended with status ${status} before its tests were done`);
  }
}

/** The same event of a test that other phases have as well. */
function renamed(event, phase) {
  return { ...event, data: { ...event.data, name: `${event.data.name} [${phase}]` } };
}

function record({ type, data }) {
  if (type === 'test:stdout' || type === 'test:stderr') return void process.stderr.write(data.message);
  if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') return;
  const where = data.file ? relative(root, data.file) : '';
  if (type === 'test:fail') {
    // A parent fails when a child does: only the child is counted and shown.
    if (data.details.error?.failureType === 'subtestsFailed') return;
    totals.failed += 1;
    const cause = data.details.error?.cause ?? data.details.error;
    console.log(`FAILED ${where}: ${data.name}\n${indent(String(cause?.stack ?? cause))}`);
  } else if (data.skip !== undefined || data.todo !== undefined) {
    totals.skipped += 1;
    const reason = data.skip ?? data.todo;
    console.log(`skipped ${where}: ${data.name}${typeof reason === 'string' ? ` (${reason})` : ''}`);
  } else {
    totals.passed += 1;
    if (data.details.duration_ms > 10_000) {
      console.log(`slow ${where}: ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)`);
    }
  }
}

function indent(text) {
  return text.replace(/^/gm, '    ');
}

const words = process.argv.slice(2);
setUp();
installHostPackages();
process.env.PATH = searchPath().PATH;
if (words.length === 0) lint();
if (words[0] === 'nested') words.shift();
else for (const phase of Phases) await runPhase(phase, words);
await runNested(Nested, words);
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;

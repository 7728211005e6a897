/**
 * Threads of a machine that die, and processes that end with a machine in them: the machine ends with a reason, the
 * process ends, nothing hangs. Each case is a process of its own, which is given a minute.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { kvm, wasm } from './engines.ts';
import type { TestedEngine } from './engines.ts';
import { hang, onBoth, print, spin, writeSmallKernel } from './small-kernel.ts';
import { lodgerCommand, root, scratchFolder } from './support.ts';

const folder = scratchFolder();
const Patience = 60_000;

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function kernel(name: string, code: readonly number[]): string {
  const path = join(folder, name);
  writeSmallKernel(path, code);
  return path;
}

interface Ended {
  readonly code: number | NodeJS.Signals | null;
  readonly stderr: string;
}

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'ignore', 'pipe'],
    timeout: Patience,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ code: code ?? signal, stderr })));
}

/**
 * Loaded by Node into every thread before Lodger: in the thread with the given name, the given call of Atomics.load does
 * the given thing. The failures are real: an exception, process.exit, V8 out of memory.
 */
const saboteur = file(
  'saboteur.cjs',
  `const { isMainThread } = require('node:worker_threads');
   const { readFileSync } = require('node:fs');
   const [victim, how, calls] = process.env.SABOTAGE.split(' ');
   const load = Atomics.load;
   let left = Number(calls);
   const fail = {
     throw() { throw new Error('sabotage'); },
     exit() { process.exit(9); },
     memory() { for (const all = []; ; ) all.push(new Array(1000).fill({})); },
   };
   if (!isMainThread) {
     Atomics.load = (...args) => {
       if (left > 0 && readFileSync('/proc/thread-self/comm', 'utf8').trim() === victim && --left === 0) fail[how]();
       return load(...args);
     };
   }`,
);

/** mov al, '.'; out dx, al; jmp to the out. */
const dots = [...print('.'), 0xee, 0xeb, 0xfd];
const busy = kernel('busy', onBoth(dots, dots));
/** With one, the machine has an I/O worker from its start. */
const disk = file('disk', '-'.repeat(4096));

const deaths: readonly (readonly [TestedEngine, thread: string, how: string, calls: number, message: RegExp])[] = [
  [kvm, 'vcpu0', 'throw', 500, /sabotage/],
  [kvm, 'vcpu0', 'exit', 500, /ended by itself.*9/],
  [kvm, 'vcpu0', 'memory', 500, /memory/],
  [kvm, 'vcpu1', 'throw', 500, /sabotage/],
  [kvm, 'vcpu1', 'exit', 500, /ended by itself.*9/],
  [kvm, 'vcpu1', 'memory', 500, /memory/],
  [kvm, 'vcpu1', 'exit', 1, /ended by itself.*9/],
  [kvm, 'io-virtio', 'throw', 1, /sabotage/],
  [kvm, 'io-virtio', 'exit', 1, /ended by itself.*9/],
  [wasm, 'vcpu0-1', 'throw', 500, /sabotage/],
  [wasm, 'vcpu0-1', 'exit', 500, /ended by itself.*9/],
];

for (const [{ name: engine, skip }, thread, how, calls, message] of deaths) {
  test(`${engine}: ${thread} dies (${how}, call ${calls}): the machine ends and says so`, { skip }, async () => {
    const machine = ['run', '--engine', engine, '--cpus', '2', '--memory', '16M', '--kernel', busy, '--disk', disk];
    // Little memory for V8, so that running out of it is quick.
    const node = ['--max-old-space-size=128', '--require', saboteur];
    const ended = await run([...node, lodgerCommand, ...machine], { SABOTAGE: `${thread} ${how} ${calls}` });
    assert.equal(ended.code, 70, ended.stderr);
    assert.match(ended.stderr, new RegExp(`thread ${thread} `));
    assert.match(ended.stderr, message);
  });
}

/** A user's program with a machine: how it ends is its first argument, the kernel its second. */
const program = file(
  'program.mjs',
  `import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
   import { isMainThread, parentPort, Worker } from 'node:worker_threads';
   const link = (path) => { try { return readlinkSync(path); } catch { return ''; } };
   const events = () => readdirSync('/proc/self/fd').filter((fd) => /kvm|eventfd/.test(link('/proc/self/fd/' + fd))).length;
   const eventsBefore = events();
   const [how, kernel, disk] = process.argv.slice(2);
   if (isMainThread && how === 'terminate') {
     const worker = new Worker(new URL(import.meta.url), { argv: [how, kernel, disk] });
     worker.on('message', async () => process.exit((await worker.terminate()) === 1 ? 21 : 1));
   } else {
     const { VirtualMachine } = await import(${JSON.stringify(new URL('packages/node/dist/index.js', `file://${root}`).href)});
     const vm = await VirtualMachine.create({ engine: 'kvm', memory: '16M', cpus: 2, kernel, disks: [{ path: disk }] });
     await vm.start();
     await vm.console.waitFor(/up/);
     if (how === 'survive') {
       const { reason } = await vm.exited;
       const left = events() - eventsBefore;
       const mappings = readFileSync('/proc/self/maps', 'latin1').match(/^.*kvm.*$/gm) ?? [];
       const threads = readdirSync('/proc/self/task').map((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim());
       console.error(JSON.stringify({ reason, left, mappings, timers: readFileSync('/proc/self/timers', 'utf8'), threads }));
     }
     if (how === 'exit') process.exit(21);
     if (how === 'throw') setImmediate(() => { throw new Error('of the user'); });
     if (how === 'terminate') parentPort.postMessage('up');
   }`,
);

const guests = {
  spins: kernel('spins', onBoth([...print('up'), ...spin], spin)),
  sleeps: kernel('sleeps', onBoth([...print('up'), ...hang], hang)),
  prints: kernel('prints', onBoth([...print('up'), ...dots], dots)),
};

for (const [guest, path] of Object.entries(guests)) {
  for (const [how, code] of [
    ['exit', 21],
    ['throw', 1],
    ['terminate', 21],
  ] as const) {
    test(`kvm: a program ends (${how}) while its guest ${guest}`, { skip: kvm.skip }, async () => {
      const ended = await run([program, how, path, disk]);
      assert.equal(ended.code, code, ended.stderr);
      if (how === 'throw') assert.match(ended.stderr, /of the user/);
    });
  }
}

for (const [thread, how, calls] of [
  ['vcpu0', 'exit', 3000],
  ['vcpu1', 'exit', 3000],
  ['vcpu1', 'throw', 500],
  ['io-virtio', 'throw', 1],
] as const) {
  test(
    `kvm: ${thread} dies (${how}) and nothing of the machine is left in the process`,
    { skip: kvm.skip },
    async () => {
      const arguments_ = ['--require', saboteur, program, 'survive', guests.prints, disk];
      const { stderr } = await run(arguments_, { SABOTAGE: `${thread} ${how} ${calls}` });
      const report = JSON.parse(stderr.trim().split('\n').at(-1)!) as Record<string, unknown>;
      const { reason, left, mappings, timers, threads } = report as {
        reason: { kind: string; message: string };
      } & typeof report;
      assert.match(reason.message, new RegExp(`thread ${thread} `));
      assert.deepEqual({ left, mappings, timers }, { left: 0, mappings: [], timers: '' });
      assert.ok(!(threads as string[]).some((name) => /^(vcpu|io-)/.test(name)), String(threads));
    },
  );
}

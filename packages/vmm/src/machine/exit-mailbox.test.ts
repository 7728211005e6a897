/** vCPUs in real threads of their own, with scripts for guests, and the board's thread here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { MmioBus } from '../bus/mmio-bus.ts';
import { PioBus } from '../bus/pio-bus.ts';
import type { Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { VcpuState } from '../engine/state.ts';
import { gpa } from '../memory/address.ts';
import type { Clock } from '../time/clock.ts';
import { HeapTimerQueue } from '../time/timer-queue.ts';
import type { EndReason } from './end-reason.ts';
import { BoardMailbox, createMailbox, VcpuMailbox } from './exit-mailbox.ts';
import { RunLoop } from './run-loop.ts';
import { ScriptWord as Word } from '../testing/scripted-vcpu.ts';
import type { ScriptedGuest, ScriptedVcpuData } from '../testing/scripted-vcpu.ts';

function startVcpu(guest: ScriptedGuest, words = new Int32Array(new SharedArrayBuffer(12))) {
  const mailbox = createMailbox();
  const workerData: ScriptedVcpuData = { guest, mailbox, words };
  const worker = new Worker(new URL('../testing/scripted-vcpu.js', import.meta.url), { workerData });
  const answers = new Promise<VcpuExit[]>((resolve) => worker.once('message', resolve));
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const kick = () => {
    Atomics.store(words, Word.Kick, 1);
    Atomics.notify(words, Word.Kick);
  };
  return { board: new BoardMailbox(mailbox, kick), mailbox, words, answers, exited };
}

type Started = ReturnType<typeof startVcpu>;

/** The guest has entered guest code at least `runs` times. */
function awaitRuns({ words }: Started, runs: number): void {
  while (Atomics.load(words, Word.Runs) < runs) Atomics.wait(words, Word.Runs, Atomics.load(words, Word.Runs), 1);
}

const start = performance.now();
const clock: Clock = { now: () => (performance.now() - start) * 1e6, wallClock: () => 0n };

/** A local vCPU whose guest spins until another thread wants attention or the deadline has passed. */
class SpinningVcpu implements Vcpu {
  readonly id = 0;
  readonly runnable = true;
  runs = 0;
  readonly #interrupted: () => boolean;

  constructor(interrupted: () => boolean) {
    this.#interrupted = interrupted;
  }

  run(deadline = Infinity): VcpuExit {
    this.runs++;
    while (clock.now() < deadline && !this.#interrupted());
    return { kind: 'interrupted' };
  }

  kick(): void {}

  state(): VcpuState {
    throw new Error('scripted');
  }

  setState(): void {}
}

function boardOf(started: readonly Started[], vcpus: Vcpu[] = [], haltsInRun = false) {
  const pio = new PioBus();
  const mmio = new MmioBus();
  const timers = new HeapTimerQueue();
  const attention = started[0]!.words;
  let idled = 0;
  const loop: RunLoop = new RunLoop({
    vcpus,
    remotes: started.map(({ board }) => board),
    pio,
    mmio,
    clock,
    timers,
    engine: { nextDeadline: () => Infinity, fireTimers() {}, haltsInRun },
    poll() {},
    host: {
      service: () => Atomics.store(attention, Word.Attention, 0),
      serviceDeadline: () => Infinity,
      idle: () => idled++,
      idleDeadline: () => (haltsInRun ? 0 : Infinity),
      sleep: (milliseconds) => void Atomics.wait(attention, Word.Attention, 0, milliseconds),
    },
  });
  return { loop, pio, mmio, timers, idled: () => idled };
}

const spun = { kind: 'pio-write', port: 0x80, size: 1, value: 0 } as const;

test('exits of every kind and width get their answers', async () => {
  const exits: VcpuExit[] = [
    { kind: 'pio-read', port: 0x60, size: 1, value: 0 },
    { kind: 'pio-read', port: 0xcf8, size: 4, value: 0 },
    { kind: 'pio-write', port: 0xffff, size: 4, value: 0xfedc_ba98 },
    { kind: 'mmio-read', address: gpa(0xfffff_ffff_f000), size: 8, value: 0n },
    { kind: 'mmio-read', address: gpa(0x9000_0000), size: 2, value: 0n },
    { kind: 'mmio-write', address: gpa(0x9000_0000), size: 8, value: 0xfedc_ba98_7654_3210n },
    { kind: 'hypercall', number: 1n, args: [], result: 0n },
    spun,
  ];
  const vcpu = startVcpu(exits);
  const { loop, pio, mmio } = boardOf([vcpu]);
  const seen: unknown[] = [];
  pio.attach({ start: 0x60, size: 1 }, { read: () => 0xa5, write() {} });
  pio.attach({ start: 0xcf8, size: 4 }, { read: () => 0xffff_fff0, write() {} });
  pio.attach({ start: 0xfffc, size: 4 }, { read: () => 0, write: (...access) => seen.push(access) });
  mmio.attach({ start: 0xfffff_ffff_f000, size: 8 }, { read: (offset) => 0xf000_0000 + offset, write() {} });
  mmio.attach(
    { start: 0x9000_0000, size: 8 },
    { read: (_, size) => 0x8000 + size, write: (...access) => seen.push(access) },
  );
  pio.attach({ start: 0x80, size: 1 }, { read: () => 0, write: () => loop.end({ kind: 'stopped' }) });
  loop.run();
  const answered = await vcpu.answers;
  assert.deepEqual(answered[0], { ...exits[0], value: 0xa5 });
  assert.deepEqual(answered[1], { ...exits[1], value: 0xffff_fff0 });
  assert.deepEqual(answered[3], { ...exits[3], value: 0xf000_0004_f000_0000n });
  assert.deepEqual(answered[4], { ...exits[4], value: 0x8002n });
  assert.equal((answered[6] as { result: bigint }).result, 0xffff_ffff_ffff_fc18n);
  assert.deepEqual(seen.slice(-2), [
    [0, 4, 0x7654_3210],
    [4, 4, 0xfedc_ba98],
  ]);
  // Whether the vCPU entered guest code once more before it heard of the end is a matter of luck.
  assert.deepEqual(
    { interrupted: 1, ...vcpu.board.counts.all },
    {
      interrupted: 1,
      'pio-read': 2,
      'pio-write': 2,
      'mmio-read': 2,
      'mmio-write': 1,
      hypercall: 1,
    },
  );
  await vcpu.exited;
});

for (const { exit, end } of [
  { exit: { kind: 'shutdown' }, end: { kind: 'triple-fault' } },
  { exit: { kind: 'failure', reason: 'no such thing' }, end: /no such thing/ },
  { exit: { kind: 'failure', reason: 'x'.repeat(20_000) }, end: /x{5000}/ },
  { exit: { kind: 'debug', reason: 'single-step', rip: 0xffff_8000_1234_5678n }, end: /single-step.*ffff800012345678/ },
] as { exit: VcpuExit; end: EndReason | RegExp }[]) {
  test(`a remote vCPU's ${exit.kind} ends the machine`, async () => {
    const vcpu = startVcpu([exit]);
    const reason = boardOf([vcpu]).loop.run();
    if (end instanceof RegExp) assert.match(reason.kind === 'host-error' ? reason.message : '', end);
    else assert.deepEqual(reason, end);
    await vcpu.exited;
  });
}

test('hold() gets vCPUs out of guest code whatever they do, run() lets them go on, end() ends them', async () => {
  const spinning = startVcpu('spin');
  const storming = startVcpu('storm');
  const asking = startVcpu([spun]);
  const all = [spinning, storming, asking];
  const { loop } = boardOf(all);
  loop.remotes.run();
  for (const vcpu of all) awaitRuns(vcpu, 1);
  for (let round = 0; round < 20; round++) {
    loop.remotes.hold();
    const runs = all.map(({ words }) => Atomics.load(words, Word.Runs));
    assert.ok(all.every(({ board }) => board.isOut));
    await new Promise((resolve) => setTimeout(resolve, 2));
    assert.deepEqual(
      all.map(({ words }) => Atomics.load(words, Word.Runs)),
      runs,
      'guest code while it was held',
    );
    loop.remotes.run();
    awaitRuns(spinning, runs[0]! + 1);
    while (loop.remotes.answer() === 0);
  }
  loop.remotes.end();
  await Promise.all(all.map(({ exited }) => exited));
});

test('a vCPU whose thread has not started yet, or is gone, does not keep hold() waiting', async () => {
  const started = startVcpu('spin');
  started.board.hold();
  started.board.awaitOut(() => {});
  const gone = startVcpu('die');
  gone.board.run();
  awaitRuns(gone, 1);
  await gone.exited;
  assert.equal(gone.board.isOut, false);
  new VcpuMailbox(gone.mailbox, () => {}).ended();
  gone.board.hold();
  gone.board.awaitOut(() => {});
  started.board.end();
  await started.exited;
  assert.equal(Atomics.load(started.words, Word.Runs), 0);
});

test('vCPUs that exit without pause starve neither each other, nor timers, nor a local vCPU', async () => {
  const words = new Int32Array(new SharedArrayBuffer(12));
  const storms = (['storm', 'storm', 'storm'] as const).map((guest) => startVcpu(guest, words));
  const local = new SpinningVcpu(() => Atomics.load(words, Word.Attention) !== 0);
  const { loop, timers } = boardOf(storms, [local], true);
  const countOf = ({ board }: Started) => board.counts.all['pio-write'] ?? 0;
  let fired = 0;
  const timer = timers.createTimer((now) => {
    fired++;
    if (storms.every((storm) => countOf(storm) >= 200) && fired >= 20) loop.end({ kind: 'stopped' });
    else timer.arm(now + 1e5);
  });
  timer.arm(0);
  assert.equal(loop.run().kind, 'stopped');
  assert.ok(local.runs > 20);
  await Promise.all(storms.map(({ exited }) => exited));
});

for (const [remote, calls] of [
  ['halt', true],
  ['spin', false],
] as const) {
  test(`idle() is called when the local vCPU is halted and the remote one ${remote}s: ${calls}`, async () => {
    const vcpu = startVcpu(remote);
    vcpu.board.run();
    awaitRuns(vcpu, 1);
    const local = {
      id: 0,
      runnable: false,
      run(deadline: number): VcpuExit {
        Atomics.wait(vcpu.words, Word.Attention, 0, Math.max(0, (deadline - clock.now()) / 1e6));
        return { kind: 'interrupted' };
      },
    } as unknown as Vcpu;
    const { loop, timers, idled } = boardOf([vcpu], [local], true);
    const timer = timers.createTimer((now) => {
      if (calls ? idled() > 0 : Atomics.load(vcpu.words, Word.Runs) > 5) loop.end({ kind: 'stopped' });
      else timer.arm(now + 1e6);
    });
    timer.arm(0);
    loop.run();
    assert.equal(idled() > 0, calls);
    await vcpu.exited;
  });
}

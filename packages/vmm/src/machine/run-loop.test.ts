import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MmioBus } from '../bus/mmio-bus.ts';
import { PioBus } from '../bus/pio-bus.ts';
import type { Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { VcpuState } from '../engine/state.ts';
import { gpa } from '../memory/address.ts';
import { ManualClock } from '../time/manual-clock.ts';
import type { BoardMailbox } from './exit-mailbox.ts';
import { RunLoop } from './run-loop.ts';
import type { RunLoopConfig } from './run-loop.ts';

/** A vCPU that comes back from run() with one scripted exit after the other, then is halted. */
class ScriptedVcpu implements Vcpu {
  readonly id = 0;
  readonly script: VcpuExit[];
  runs = 0;

  constructor(script: VcpuExit[]) {
    this.script = [...script];
  }

  get runnable(): boolean {
    return this.script.length > 0;
  }

  run(_deadline?: number): VcpuExit {
    this.runs++;
    return this.script.shift()!;
  }

  kick(): void {}

  state(): VcpuState {
    throw new Error('scripted');
  }

  setState(): void {}
}

const interrupted: VcpuExit = { kind: 'interrupted' };

function pioWrite(port: number, value: number): VcpuExit {
  return { kind: 'pio-write', port, size: 1, value };
}

/** A loop over scripted vCPUs whose port 0xf4 ends it, with virtual time: sleeping moves the clock on. */
function machine(vcpus: Vcpu[], config: Partial<RunLoopConfig> = {}) {
  const clock = new ManualClock();
  const sleeps: number[] = [];
  const pio = new PioBus();
  const mmio = new MmioBus();
  const loop = new RunLoop({
    vcpus,
    pio,
    mmio,
    clock,
    timers: clock.timers,
    engine: { nextDeadline: () => Infinity, fireTimers() {} },
    poll() {},
    host: {
      service() {},
      serviceDeadline: () => Infinity,
      idle() {},
      idleDeadline: () => Infinity,
      sleep(milliseconds) {
        sleeps.push(milliseconds);
        if (milliseconds === Infinity) loop.end({ kind: 'stopped' });
        else clock.skip(milliseconds * 1e6);
      },
    },
    ...config,
  });
  pio.attach(
    { start: 0xf4, size: 1 },
    { read: () => 0, write: (_, __, value) => loop.end({ kind: 'debug-exit', exitCode: (value << 1) | 1 }) },
  );
  return { loop, pio, mmio, clock, sleeps };
}

test('port and memory exits go to their buses, and reads get their values', () => {
  const portRead = { kind: 'pio-read', port: 0x60, size: 1, value: 0 } as const;
  const read = { kind: 'mmio-read', address: gpa(0x1000), size: 4, value: 0n } as const;
  const wideRead = { kind: 'mmio-read', address: gpa(0x1000), size: 8, value: 0n } as const;
  const exits: VcpuExit[] = [
    { ...portRead },
    { ...read },
    { ...wideRead },
    { kind: 'mmio-write', address: gpa(0x1004), size: 8, value: 0x1122_3344_5566_7788n },
    pioWrite(0xf4, 3),
  ];
  const { loop, pio, mmio } = machine([new ScriptedVcpu(exits)]);
  const writes: (readonly number[])[] = [];
  pio.attach({ start: 0x60, size: 1 }, { read: () => 0x5a, write() {} });
  mmio.attach(
    { start: 0x1000, size: 16 },
    { read: (offset) => 0xa000_0000 + offset, write: (...access) => writes.push(access) },
  );
  assert.deepEqual(loop.run(), { kind: 'debug-exit', exitCode: 7 });
  assert.deepEqual(exits[0], { ...portRead, value: 0x5a });
  assert.deepEqual(exits[1], { ...read, value: 0xa000_0000n });
  assert.deepEqual(exits[2], { ...wideRead, value: 0xa000_0004_a000_0000n });
  assert.deepEqual(writes, [
    [4, 4, 0x5566_7788],
    [8, 4, 0x1122_3344],
  ]);
});

test('runnable vCPUs take turns', () => {
  const order: string[] = [];
  const { loop, pio } = machine([
    new ScriptedVcpu([pioWrite(1, 1), interrupted, pioWrite(1, 2), interrupted]),
    new ScriptedVcpu([pioWrite(1, 101), interrupted, pioWrite(1, 102), interrupted]),
  ]);
  pio.attach({ start: 1, size: 1 }, { read: () => 0, write: (_, __, value) => order.push(String(value)) });
  assert.equal(loop.run().kind, 'stopped');
  assert.deepEqual(order, ['1', '101', '2', '102']);
});

test('a vCPU that only makes exits does not keep timers from firing', () => {
  const vcpu = new ScriptedVcpu(Array.from({ length: 10_000 }, () => pioWrite(1, 0)));
  const { loop, clock } = machine([vcpu]);
  clock.timers.createTimer(() => loop.end({ kind: 'power-off' })).arm(0);
  assert.equal(loop.run().kind, 'power-off');
  assert.ok(vcpu.runs < 1000, `${vcpu.runs} exits before the timer`);
});

test('an idle machine sleeps until its next timer, the earliest of all kinds', () => {
  const fired: string[] = [];
  let engineDeadline = 2e6;
  const { loop, clock, sleeps } = machine([new ScriptedVcpu([])], {
    engine: {
      nextDeadline: () => engineDeadline,
      fireTimers() {
        fired.push('engine');
        engineDeadline = Infinity;
      },
    },
  });
  clock.timers.createTimer(() => fired.push('device')).arm(5e6);
  assert.equal(loop.run().kind, 'stopped');
  assert.deepEqual(fired, ['engine', 'device']);
  assert.deepEqual(sleeps, [2, 3, Infinity]);
});

test('a triple fault ends the machine', () => {
  assert.deepEqual(machine([new ScriptedVcpu([{ kind: 'shutdown' }, interrupted])]).loop.run(), {
    kind: 'triple-fault',
  });
});

test('what the engine cannot do ends the machine with its reason', () => {
  const end = machine([new ScriptedVcpu([{ kind: 'failure', reason: 'no such thing' }])]).loop.run();
  assert.ok(end.kind === 'host-error' && end.code === 'EngineFailed' && end.message.includes('no such thing'));
});

test('hypercalls are answered with KVM_ENOSYS', () => {
  const call = { kind: 'hypercall', number: 1n, args: [], result: 0n } as const;
  const exits: VcpuExit[] = [{ ...call }, interrupted];
  machine([new ScriptedVcpu(exits)]).loop.run();
  assert.deepEqual(exits[0], { ...call, result: 0xffff_ffff_ffff_fc18n });
});

test('a local vCPU that remote ones interrupt without pause gets time of its own now and then', () => {
  let deferred = false;
  let interruptions = 0;
  let ownTime = 0;
  const local = new ScriptedVcpu([interrupted]);
  const { loop, clock } = machine([local], {
    engine: { nextDeadline: () => Infinity, fireTimers() {}, haltsInRun: true },
    // One that has posted an exit whenever somebody looks.
    remotes: [{ posted: () => ({ ...interrupted }), answer() {}, idleState: () => 'busy', run() {}, end() {} }].map(
      (remote) => remote as unknown as BoardMailbox,
    ),
    host: {
      service: () => void (deferred = false),
      serviceDeadline: () => Infinity,
      idle() {},
      idleDeadline: () => Infinity,
      sleep() {},
      deferAttention: () => void (deferred = true),
    },
  });
  local.run = (deadline = Infinity) => {
    if (deferred) {
      ownTime += deadline - clock.now();
      clock.skip(deadline - clock.now());
    } else if (++interruptions === 1000) loop.end({ kind: 'stopped' });
    return interrupted;
  };
  loop.run();
  assert.ok(ownTime >= 1e6, `${ownTime} ns in 1000 turns`);
});

test('with vCPUs that halt in run(), the next deadline of any kind is given to run()', () => {
  const deadlines: number[] = [];
  const vcpu = new ScriptedVcpu([interrupted]);
  let service = 7e6;
  let idle = Infinity;
  const { loop, clock, sleeps } = machine([vcpu], {
    engine: { nextDeadline: () => 9e6, fireTimers: () => loop.end({ kind: 'stopped' }), haltsInRun: true },
    host: {
      service: () => void (service = clock.now() >= 7e6 ? Infinity : 7e6),
      serviceDeadline: () => service,
      idle: () => void (idle = Infinity),
      idleDeadline: () => idle,
      sleep() {},
    },
  });
  clock.timers.createTimer(() => (idle = 6e6)).arm(5e6);
  vcpu.run = (deadline = Infinity) => {
    deadlines.push(deadline);
    vcpu.script.length = 0;
    clock.skip(deadline - clock.now());
    return interrupted;
  };
  loop.run();
  assert.deepEqual(deadlines, [5e6, 6e6, 7e6, 9e6]);
  assert.deepEqual(sleeps, []);
});

test('pause() completes the instruction of an exit whose answer a vCPU has not taken yet', () => {
  const exits = Array.from({ length: 1000 }, () => pioWrite(1, 0));
  const vcpu = new ScriptedVcpu(exits);
  let kicked = false;
  vcpu.kick = () => (kicked = true);
  let pauses = 0;
  let turns = 0;
  const { loop } = machine([vcpu], {
    poll: () => {
      if (++turns < 3) return;
      loop.pause();
      pauses++;
      loop.end({ kind: 'stopped' });
    },
  });
  const run = vcpu.run.bind(vcpu);
  vcpu.run = () => {
    if (!kicked) return run();
    kicked = false;
    vcpu.script.length = 0;
    return interrupted;
  };
  loop.run();
  assert.equal(pauses, 1);
  assert.equal(vcpu.script.length, 0, 'not settled');
});

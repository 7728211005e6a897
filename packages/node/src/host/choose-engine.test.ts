/** What `auto` takes, and what it remembers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { chooseEngine, decideEngine } from './choose-engine.ts';
import { HostFiles } from './host-files.ts';
import type { KvmDeviceReport } from './kvm-device.ts';
import type { KvmInspection } from './kvm-inspection.ts';
import { readSpeed, speedKey, writeSpeed } from './speed-cache.ts';
import { hostWith } from './testing.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodger-choice-'));
after(() => rmSync(folder, { recursive: true }));

const group = { name: 'kvm', mayUse: true, isRoot: false, joined: false, listed: false };
const device: KvmDeviceReport = { kind: 'usable', mode: 0o660, group, device: 2792 };
const inspection: KvmInspection = { kind: 'usable', capabilities: [] };
const measured = (ring0Rate: number) =>
  decideEngine(device, inspection, { kind: 'measured', speed: { ring0Rate, exitMicroseconds: 1.25 } });

test('a KVM that emulates guest kernels is not taken, and the reason has the figures', () => {
  const { engine, reason, forMore } = measured(1.3e6);
  assert.equal(engine, 'wasm');
  assert.match(reason, /1\.3 million instructions\/s, 462 times slower than the wasm engine/);
  assert.match(forMore, /--engine kvm/);
});

test('a KVM that runs guest kernels natively is taken, also under an emulator and on a busy host', () => {
  for (const rate of [4e9, 400e6, 60e6]) assert.equal(measured(rate).engine, 'kvm');
  assert.match(measured(4e9).reason, /4000 million instructions\/s, an exit costs 1\.3 µs/);
});

test('without a usable KVM it is wasm, with the reason', () => {
  const denied: KvmDeviceReport = { kind: 'not-permitted', mode: 0o660, group, device: 2792, nextStep: '' };
  const reasons = [
    [decideEngine({ kind: 'absent', nextStep: '' }, undefined, undefined), /there is no \/dev\/kvm/],
    [decideEngine(denied, undefined, undefined), /group kvm, mode 0660/],
    [decideEngine(device, { kind: 'unusable', reason: 'it lacks X' }, undefined), /lacks X/],
    [decideEngine(device, inspection, { kind: 'failed', reason: 'no memory' }), /no memory/],
  ] as const;
  for (const [{ engine, reason, forMore }, pattern] of reasons) {
    assert.equal(engine, 'wasm');
    assert.match(reason, pattern);
    assert.match(forMore, /lodger doctor/);
  }
});

test('LODGER_ENGINE is the default, and an option counts more', async () => {
  const before = process.env['LODGER_ENGINE'];
  try {
    process.env['LODGER_ENGINE'] = 'wasm';
    assert.equal((await chooseEngine(undefined)).engine, 'wasm');
    process.env['LODGER_ENGINE'] = 'qemu';
    assert.equal((await chooseEngine('wasm')).engine, 'wasm');
    await assert.rejects(chooseEngine(undefined), { code: 'InvalidArgument', message: /LODGER_ENGINE is "qemu"/ });
  } finally {
    if (before === undefined) delete process.env['LODGER_ENGINE'];
    else process.env['LODGER_ENGINE'] = before;
  }
});

const backEnds = [{ module: 'kvm_amd', description: '', nested: true }];
const key = (boot: string, number = 2792) =>
  speedKey(hostWith({ '/proc/sys/kernel/random/boot_id': `${boot}\n` }), number, backEnds)!;
const speed = { ring0Rate: 2e9, exitMicroseconds: 1.5 };

test('a measurement is remembered for one boot and one device', async () => {
  const path = join(folder, 'new', 'speed.json');
  assert.equal(await readSpeed(key('a'), path), undefined);
  assert.equal(await writeSpeed(key('a'), speed, path), true);
  assert.deepEqual(await readSpeed(key('a'), path), speed);
  assert.equal(await readSpeed(key('b'), path), undefined);
  assert.equal(await readSpeed(key('a', 7), path), undefined);
  assert.equal(speedKey(hostWith({}), 2792, backEnds), undefined);
});

test('a damaged file is no measurement, and is written over', async () => {
  const path = join(folder, 'damaged.json');
  const whole = JSON.stringify({ ...key('a'), speed });
  const others = [
    { ...key('a') },
    { ...key('a'), speed: { ...speed, ring0Rate: -1 } },
    { ...key('a'), speed: { ...speed, exitMicroseconds: 'x' } },
  ];
  for (const text of ['', '{', 'null', '[]', '7', whole.slice(0, -5), ...others.map((each) => JSON.stringify(each))]) {
    writeFileSync(path, text);
    assert.equal(await readSpeed(key('a'), path), undefined, text);
  }
  assert.equal(await writeSpeed(key('a'), speed, path), true);
  assert.deepEqual(await readSpeed(key('a'), path), speed);
});

test('a folder that cannot be written costs nothing but the memory', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'kept');
  assert.equal(await writeSpeed(key('a'), speed, join(file, 'speed.json')), false);
  assert.equal(readFileSync(file, 'utf8'), 'kept');
});

test('this host: auto chooses, the second time by memory', async () => {
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  try {
    const first = await chooseEngine('auto');
    const second = await chooseEngine('auto');
    assert.deepEqual(second, first);
    assert.ok(['wasm', 'kvm'].includes(first.engine));
    assert.equal(typeof new HostFiles().text('/proc/sys/kernel/random/boot_id'), 'string');
  } finally {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  }
});

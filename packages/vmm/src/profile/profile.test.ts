import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cpuProfile, speedscopeProfile } from './formats.ts';
import { GuestProfile, type ProfileSymbols } from './guest-profile.ts';
import { type Sample, SampleBuffer, Tier, TierName } from './samples.ts';

const sample: Sample = {
  address: 0xffff_ffff_8100_0010n,
  space: 0n,
  privilege: 0,
  time: 2,
  interpreted: 100,
  translated: 0,
};
const translated = { interpreted: 0, translated: 5000 } as const;
/** Half of the time is the interpreter's. */
const mixed = { interpreted: 1000, translated: 5000 } as const;
const symbols: ProfileSymbols = {
  kernel: (address) =>
    address === sample.address ? { name: 'schedule', address: address - 16n, offset: 16 } : undefined,
  user: () => undefined,
};

function profileOf(samples: readonly Sample[]): GuestProfile {
  const buffer = new SampleBuffer();
  for (const one of samples) buffer.add(one);
  return new GuestProfile([buffer.samples], symbols);
}

const small = (): GuestProfile =>
  profileOf([
    sample,
    { ...sample, time: 1 },
    { ...sample, ...mixed, time: 4 },
    { ...sample, ...translated, address: 0x40_1234n, privilege: 3, space: 0x1234_5801n, time: 3 },
    { ...sample, address: 0xffff_ffff_c000_0123n, time: 0.5 },
  ]);

describe('a full buffer', () => {
  const capacity = 64;
  const count = 10_000;
  const buffer = new SampleBuffer(capacity);
  const first = buffer.interval;
  for (let i = 0; i < count; i++) buffer.add({ ...sample, address: BigInt(i % 2) });
  const { samples } = buffer;

  test('keeps all of the time and of the instructions', () => {
    const sum = (values: Float64Array): number => values.reduce((all, value) => all + value, 0);
    assert.ok(samples.count <= capacity && samples.count >= capacity / 2);
    assert.equal(sum(samples.times), 2 * count);
    assert.equal(sum(samples.interpreted), 100 * count);
  });

  test('asks for fewer samples', () => assert.ok(buffer.interval >= (first * count) / capacity / 2));

  test('does not prefer one of two places that come in turns', () => {
    const once = new SampleBuffer(capacity);
    for (let i = 0; i <= capacity; i++) once.add({ ...sample, address: BigInt(i % 2) });
    const kept = [...once.samples.addresses.slice(0, capacity / 2)];
    assert.equal(kept.filter((address) => address === 0n).length, capacity / 4);
  });
});

describe('a profile', () => {
  test('names kernel code by symbol, or by page; processes by their page tables', () => {
    const frames = small().entries.map((entry) => entry.frames.join(' / '));
    assert.deepEqual(frames, [
      'kernel / schedule',
      'process with CR3 0x12344000 / page 0x401000',
      'kernel / page 0xffffffffc0000000',
    ]);
  });

  test('shares by tier and by symbol', () => {
    const profile = small();
    assert.equal(profile.samples, 5);
    const tiers = [Tier.Interpreter, Tier.Translated].map((tier) => profile.tier(tier, TierName[tier]));
    assert.deepEqual(tiers, [
      { name: 'interpreter', time: 5.5, share: 5.5 / 10.5, instructions: 1300 },
      { name: 'translated', time: 5, share: 5 / 10.5, instructions: 10_000 },
    ]);
    const [hottest] = profile.hottest();
    assert.deepEqual(hottest, { name: 'schedule', time: 7, share: 7 / 10.5, instructions: 6200 });
  });

  test('of nothing', () => {
    const profile = profileOf([]);
    assert.equal(profile.time, 0);
    assert.deepEqual(profile.hottest(), []);
    assert.equal(profile.tier(Tier.Interpreter, '').share, 0);
  });
});

describe('files', () => {
  interface Speedscope {
    readonly $schema: string;
    readonly shared: { readonly frames: readonly { readonly name: string }[] };
    readonly profiles: readonly {
      readonly type: string;
      readonly name: string;
      readonly unit: string;
      readonly startValue: number;
      readonly endValue: number;
      readonly samples: readonly (readonly number[])[];
      readonly weights: readonly number[];
    }[];
  }

  test('speedscope: sampled profiles whose weights add up to their ends', () => {
    const file = speedscopeProfile(small(), { name: 'guest', exporter: 'test' }) as Speedscope;
    assert.equal(file.$schema, 'https://www.speedscope.app/file-format-schema.json');
    for (const { type, unit, samples, weights, startValue, endValue } of file.profiles) {
      assert.equal(type, 'sampled');
      assert.ok(['milliseconds', 'none'].includes(unit));
      assert.equal(samples.length, weights.length);
      assert.equal(
        endValue - startValue,
        weights.reduce((sum, weight) => sum + weight, 0),
      );
      assert.ok(samples.flat().every((frame) => file.shared.frames[frame] !== undefined));
    }
    const ends = Object.fromEntries(file.profiles.map(({ name, endValue }) => [name, endValue]));
    assert.deepEqual(ends, {
      time: 10.5,
      'interpreter: time': 5.5,
      'translated: time': 5,
      'interpreter: instructions': 1300,
      'translated: instructions': 10_000,
    });
  });

  test('Chrome: a tree with the time of each sample up to the next', () => {
    const file = cpuProfile(small()) as {
      nodes: { id: number; callFrame: { functionName: string }; hitCount: number; children: number[] }[];
      startTime: number;
      endTime: number;
      samples: number[];
      timeDeltas: number[];
    };
    const byId = new Map(file.nodes.map((node) => [node.id, node]));
    const path = (id: number): string[] => {
      const parent = file.nodes.find(({ children }) => children.includes(id));
      return [...(parent ? path(parent.id) : []), byId.get(id)!.callFrame.functionName];
    };
    assert.deepEqual(
      file.samples.map((id) => path(id).join(' / ')),
      [
        '(root) / interpreter / kernel / schedule',
        '(root) / translated / kernel / schedule',
        '(root) / translated / process with CR3 0x12344000 / page 0x401000',
        '(root) / interpreter / kernel / page 0xffffffffc0000000',
      ],
    );
    assert.deepEqual(file.timeDeltas, [0, 5000, 2000, 3000]);
    assert.equal(file.endTime - file.startTime, 10_500);
    assert.equal(
      file.nodes.reduce((sum, { hitCount }) => sum + hitCount, 0),
      file.samples.length,
    );
  });
});

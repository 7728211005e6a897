import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeState, encodeState } from './state-json.ts';

test('everything that saved state consists of comes back the same', () => {
  const state = {
    version: 1,
    text: 'äöü "\\',
    yes: true,
    nothing: null,
    numbers: [0, -1, 1.5, 2 ** 53, Infinity, -Infinity, NaN, -0],
    wide: [0n, -5n, (1n << 80n) + 3n],
    bytes: Uint8Array.from({ length: 300 }, (_, i) => i & 0xff),
    empty: new Uint8Array(),
    list: [undefined, [undefined, {}]],
    nested: { deep: { deeper: [{ value: 1n }] } },
  };
  assert.deepEqual(decodeState(encodeState(state)), state);
  assert.deepEqual(decodeState(encodeState({ left: undefined, kept: 1 })), { kept: 1 });
});

test('bytes in shared memory, and views of a part, are copied', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(8), 2, 3).fill(7);
  assert.deepEqual(decodeState(encodeState([shared])), [Uint8Array.of(7, 7, 7)]);
});

test('what cannot be saved is refused with its place', () => {
  const refused: [unknown, RegExp][] = [
    [{ a: { b: () => 1 } }, /state\.a\.b is a function/],
    [[1, new Map()], /state\[1\] is a Map/],
    [{ $bigint: '1' }, /state\.\$bigint has a name/],
    [Symbol('x'), /state is a symbol/],
  ];
  for (const [value, message] of refused) assert.throws(() => encodeState(value), { code: 'Internal', message });
});

test('damaged text is a HostError and nothing else', () => {
  const texts = [
    '',
    '{',
    'x',
    '{"a":{"$bigint":"zz"}}',
    '{"$bytes":"0"}',
    '{"$bytes":5}',
    '{"$what":1}',
    '{"$number":"5"}',
  ];
  for (const text of texts) assert.throws(() => decodeState(text), { code: 'InvalidArgument' }, text);
});

test('a name that JavaScript treats specially is data', () => {
  const state = decodeState('{"__proto__":{"polluted":1}}') as Record<string, unknown>;
  assert.equal(Object.getPrototypeOf(state), Object.prototype);
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

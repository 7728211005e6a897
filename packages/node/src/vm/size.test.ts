import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatSize, parseSize } from './size.ts';

test('sizes with and without units', () => {
  assert.equal(parseSize('256M', 'memory'), 256 * 2 ** 20);
  assert.equal(parseSize('1g', 'memory'), 2 ** 30);
  assert.equal(parseSize('1.5GiB', 'memory'), 1.5 * 2 ** 30);
  assert.equal(parseSize('65536', 'memory'), 65536);
  assert.equal(parseSize(4096, 'memory'), 4096);
});

test('what is no size is refused with an example', () => {
  for (const bad of ['', 'M', '-1', '1X', '0.3', '1e9', '9999999T', Number.NaN, -5, 1.5]) {
    assert.throws(() => parseSize(bad, 'memory'), { name: 'HostError', code: 'InvalidArgument', message: /256M/ });
  }
});

test('sizes print in their largest whole unit', () => {
  assert.equal(formatSize(2 ** 30), '1 GiB');
  assert.equal(formatSize(300 * 2 ** 20), '300 MiB');
  assert.equal(formatSize(1000), '1000 bytes');
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { withLock } from './lock.ts';

const name = (what: string) => `lock.test ${what} ${process.pid}`;

describe('withLock', () => {
  it('lets one holder in at a time', async () => {
    let inside = 0;
    let waits = 0;
    const work = async () => {
      assert.equal(++inside, 1);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      return 'done';
    };
    const all = Array.from({ length: 8 }, () => withLock(name('one'), { onWait: () => waits++ }, work));
    assert.deepEqual(
      await Promise.all(all),
      Array.from({ length: 8 }, () => 'done'),
    );
    assert.ok(waits >= 7);
  });
  it('is free again after a failure', async () => {
    await assert.rejects(
      withLock(name('failure'), {}, () => Promise.reject(new Error('failed'))),
      /failed/,
    );
    assert.equal(await withLock(name('failure'), {}, () => Promise.resolve(1)), 1);
  });
  it('is free again when its holder is killed', async () => {
    const script = `
      import { withLock } from ${JSON.stringify(new URL('./lock.js', import.meta.url).href)};
      const alive = setInterval(() => {}, 1000);
      await withLock(${JSON.stringify(name('killed'))}, {}, () => { console.log('held'); return new Promise(() => {}); });
    `;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    let waited = false;
    const got = withLock(name('killed'), { onWait: () => (waited = child.kill('SIGKILL')) }, () =>
      Promise.resolve('got'),
    );
    assert.equal(await got, 'got');
    assert.ok(waited);
  });
  it('can be given up', async () => {
    const controller = new AbortController();
    await withLock(name('abort'), {}, async () => {
      const second = withLock(
        name('abort'),
        { signal: controller.signal, onWait: () => setImmediate(() => controller.abort()) },
        () => Promise.resolve(assert.fail('it was held')),
      );
      await assert.rejects(second, { name: 'AbortError' });
    });
  });
});

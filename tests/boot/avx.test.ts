/** Debian on the x86-64-v3 model: the kernel saves the state of AVX, and programs compute with it what processors do. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeCpio } from '#lodger/images/cpio.js';
import { ensureGuestImage } from '#lodger/images/guest-image.js';
import { bootedGuest, noLinux, noProgram, root, scratchFolder, shell } from './support.ts';

const Flags = ['-O3', '-static', '-mavx2', '-mfma', '-mf16c', '-mbmi2', '-ffp-contract=fast'];

/** What programs/avx2.c computes (seen on Intel Xeon; it does not depend on the processor). */
const Checksum = '9d75ab830699732b';

const folder = scratchFolder();

/** An initrd with the program as /avx2. */
async function initrdWithProgram(): Promise<string> {
  const program = join(folder, 'avx2');
  const source = join(root, 'tests/boot/programs/avx2.c');
  const built = spawnSync('gcc', [...Flags, '-o', program, source], { encoding: 'utf8' });
  assert.equal(built.status, 0, built.stderr);
  const { initrd } = await ensureGuestImage();
  const archive = writeCpio([{ kind: 'file', path: 'avx2', bytes: readFileSync(program), mode: 0o755 }]);
  const path = join(folder, 'initrd');
  writeFileSync(path, Buffer.concat([readFileSync(initrd), archive]));
  return path;
}

test('two programs at once compute with AVX2, FMA and F16C', { skip: noLinux || noProgram('gcc') }, async () => {
  await using vm = await bootedGuest({ engine: 'wasm', cpu: 'x86-64-v3', initrd: await initrdWithProgram() });
  const flags = (await shell(vm, 'grep -m1 ^flags /proc/cpuinfo')).split(/\s+/);
  for (const flag of ['avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'movbe', 'abm', 'xsave', 'xsaveopt']) {
    assert.ok(flags.includes(flag), flag);
  }
  const both = await shell(vm, '/avx2 > /a & /avx2 > /b; wait; cat /a /b');
  assert.deepEqual(both.match(/^[0-9a-f]{16}$/gm), [Checksum, Checksum]);
});

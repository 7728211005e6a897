/** Debian's own kernel, where it has been fetched before: the boot protocols and the initramfs on real input. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadKernel } from '@lodger/vmm/boot/load-kernel.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { ArrayMemory } from '@lodger/vmm/memory/array-memory.js';
import { cacheDirectory } from './cache.ts';
import { ensureGuestImage } from './guest-image.ts';
import type { Flavour } from './guest-image.ts';
import { loadInitrdFile } from './initrd-file.ts';
import { loadKernelFile } from './kernel-file.ts';

const MiB = 1024 * 1024;

for (const flavour of ['cloud-amd64', 'amd64'] as const satisfies readonly Flavour[]) {
  const skip = !existsSync(join(cacheDirectory(), 'guests', flavour)) && `linux-image-${flavour} is not in the cache`;

  describe(`linux-image-${flavour}`, { skip }, () => {
    it('is entered where its ELF header and its PVH note say', async () => {
      const { kernel, vmlinux } = await ensureGuestImage({ flavour });
      const fromBzImage = await loadKernelFile(kernel);
      const fromElf = await loadKernelFile(vmlinux);
      assert.deepEqual(Buffer.compare(fromBzImage.kernel, fromElf.kernel), 0);
      const memory = new ArrayMemory(128 * MiB);
      const { protocol, entry } = loadKernel(memory, fromBzImage);
      assert.deepEqual([protocol, entry], ['linux64', 16 * MiB]);
      // startup_64 begins with "lea …(%rip), %rsp" or "mov %rsi, %r15": REX.W code, never zeros.
      assert.ok([0x48, 0x49, 0x4c].includes(memory.readU8(gpa(16 * MiB)) ?? 0));
      const pvh = loadKernel(memory, { ...fromElf, bootProtocol: 'pvh' });
      assert.ok(pvh.entry > 16 * MiB && pvh.entry < 64 * MiB);
      // pvh_start_xen begins with cld.
      assert.equal(memory.readU8(pvh.entry), 0xfc);
    });
    it('gets an initramfs with the modules for its devices', async () => {
      const { initrd, release } = await ensureGuestImage({ flavour });
      const names = Buffer.from(await loadInitrdFile(initrd)).toString('latin1');
      for (const module of ['virtio_pci', 'virtio_blk', 'virtio_console', 'virtio-rng', 'virtio_net']) {
        assert.match(names, new RegExp(`lib/modules/${release}/kernel/[\\w/]+/${module}\\.ko\\0`));
      }
      assert.match(names, /\n {4}0x0002\) load kernel\/drivers\/block\/virtio_blk\.ko ;;\n/);
    });
  });
}

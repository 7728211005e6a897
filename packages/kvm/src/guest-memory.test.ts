/** Guest memory in one mapping: its ranges, accesses on and across their edges, its options, and memory that can't be had. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmGuestMemory } from './guest-memory.ts';
import { allocateRam, allocateSlotMemory, type HostMemoryOptions, releaseRam } from './host-memory.ts';
import { munmap } from './linux/libc.ts';
import { WrittenPages } from './written-pages.ts';

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;

function withMemory(size: number, use: (memory: KvmGuestMemory) => void, options?: HostMemoryOptions): void {
  const memory = new KvmGuestMemory(allocateRam(size, options));
  try {
    use(memory);
  } finally {
    releaseRam(memory.shared);
  }
}

/** What /proc/self/smaps says of the mapping at `address`. */
function mapping(address: bigint): string {
  const maps = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const own = maps.find((map) => {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(map) ?? [];
    return from !== undefined && BigInt(`0x${from}`) <= address && address < BigInt(`0x${to}`);
  });
  return own ?? '';
}

/** A value of it in KiB. */
function mapped(address: bigint, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(mapping(address))?.[1]);
}

test('RAM has a hole for the VGA window, and no more', () => {
  withMemory(4 * MiB, (memory) => {
    assert.deepEqual(
      memory.ranges.map(({ start, length }) => [start, length]),
      [
        [0, 0xa_0000],
        [0xc_0000, 4 * MiB - 0xc_0000],
      ],
    );
    assert.equal(memory.size, 4 * MiB - 0x2_0000);
    assert.equal(memory.writeU8(gpa(0x9_ffff), 1), true);
    assert.equal(memory.writeU8(gpa(0xa_0000), 1), false);
    assert.equal(memory.writeU16(gpa(0x9_ffff), 1), false);
    assert.equal(memory.readU32(gpa(0xb_fffe)), undefined);
    assert.equal(memory.readU32(gpa(0xc_0000)), 0);
    assert.equal(memory.readU64(gpa(4 * MiB - 8)), 0n);
    assert.equal(memory.readU64(gpa(4 * MiB - 7)), undefined);
    assert.equal(memory.view(gpa(0x9_f000), 0x1001), undefined);
    assert.equal(memory.read(gpa(0x9_fff0), new Uint8Array(0x2_0020)), false);
  });
});

test('values of all widths, little-endian, and bytes by copy and by view', () => {
  withMemory(2 * MiB, (memory) => {
    const at = gpa(0x10_0001);
    assert.equal(memory.writeU64(at, 0x8877_6655_4433_2211n), true);
    assert.equal(memory.readU8(at), 0x11);
    assert.equal(memory.readU16(at), 0x2211);
    assert.equal(memory.readU32(at), 0x4433_2211);
    assert.equal(memory.readU64(at), 0x8877_6655_4433_2211n);
    memory.writeU8(at, 0xff);
    memory.writeU16(gpa(at + 1), 0xabcd);
    memory.writeU32(gpa(at + 3), 0xdead_beef);
    const bytes = new Uint8Array(8);
    assert.equal(memory.read(at, bytes), true);
    assert.deepEqual([...bytes], [0xff, 0xcd, 0xab, 0xef, 0xbe, 0xad, 0xde, 0x88]);
    assert.deepEqual(memory.view(at, 8), bytes);
    memory.view(at, 8)!.fill(3);
    assert.equal(memory.readU16(at), 0x0303);
    assert.equal(memory.write(gpa(2 * MiB - 2), new Uint8Array(3)), false);
    assert.equal(memory.write(gpa(2 * MiB - 3), Uint8Array.of(1, 2, 3)), true);
    assert.equal(memory.readU8(gpa(2 * MiB - 1)), 3);
  });
});

test('accesses reach added slots, and span what lies side by side', () => {
  withMemory(2 * MiB, (memory) => {
    const address = allocateSlotMemory(8192);
    memory.setSlots([{ start: gpa(2 * MiB), length: 8192, address }]);
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
    assert.equal(memory.write(gpa(2 * MiB - 2), bytes), true);
    assert.equal(memory.readU32(gpa(2 * MiB)), 0x0605_0403);
    const back = new Uint8Array(6);
    assert.equal(memory.read(gpa(2 * MiB - 2), back), true);
    assert.deepEqual(back, bytes);
    assert.equal(memory.view(gpa(2 * MiB - 2), 6), undefined);
    memory.setSlots([]);
    assert.equal(memory.readU32(gpa(2 * MiB)), undefined);
    munmap(address, 8192);
  });
});

const noRoom = totalmem() < 10 * GiB && 'the host has less than 10 GiB of memory';

test('memory of more than 4 GiB: beyond the hole, and across the views that it is made of', { skip: noRoom }, () => {
  withMemory(10 * GiB, (memory) => {
    const high = memory.ranges[2]!;
    assert.deepEqual([high.start, high.length], [4 * GiB, 7 * GiB]);
    for (const at of [0, 2 * GiB - 4, 4 * GiB - 4, 6 * GiB - 4, 7 * GiB - 8]) {
      assert.equal(memory.writeU64(gpa(high.start + at), BigInt(at) + 1n), true);
      assert.equal(memory.readU64(gpa(high.start + at)), BigInt(at) + 1n);
      assert.equal(memory.view(gpa(high.start + at), 8)!.length, 8);
    }
    assert.equal(memory.writeU64(gpa(11 * GiB - 7), 1n), false);
    assert.equal(memory.readU8(gpa(3 * GiB)), undefined);
    // Longer than a view, over pages that nobody touched
    assert.equal(memory.view(gpa(high.start + GiB), 5 * GiB), undefined);
  });
});

test('pages are taken when they are touched, or all at once by option', () => {
  withMemory(64 * MiB, ({ shared }) => assert.equal(mapped(shared.address, 'Rss'), 0));
  const check = ({ shared }: KvmGuestMemory): void => assert.equal(mapped(shared.address, 'Rss') >= 63 * 1024, true);
  withMemory(64 * MiB, check, { prefault: true });
});

test('the mapping starts where a huge page can, and asks for them by option', (context) => {
  withMemory(64 * MiB, ({ shared }) => assert.equal(shared.address % BigInt(2 * MiB), 0n));
  const options = { prefault: true, hugePages: 'transparent' } as const;
  withMemory(
    64 * MiB,
    ({ shared }) => {
      assert.match(mapping(shared.address), /^VmFlags:.* hg/m);
      context.diagnostic(`${mapped(shared.address, 'AnonHugePages') / 1024} of 64 MiB are huge pages`);
    },
    options,
  );
});

const free = Number(/^HugePages_Free: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
const noHugePages = free < 5 && 'fewer than 5 huge pages of 2 MiB are reserved and free (sysctl vm.nr_hugepages)';

test('hugetlb pages from the reserved pool', { skip: noHugePages }, () => {
  const use = (memory: KvmGuestMemory): void => {
    assert.equal(memory.writeU32(gpa(9 * MiB - 4), 5), true);
    assert.equal(mapped(memory.shared.address, 'KernelPageSize'), 2048);
  };
  withMemory(9 * MiB, use, { hugePages: 'hugetlb' });
  withMemory(
    9 * MiB,
    (memory) => {
      assert.equal(mapped(memory.shared.address, 'Private_Hugetlb'), 10 * 1024);
      use(memory);
    },
    { hugePages: 'hugetlb', prefault: true },
  );
});

test('hugetlb pages that are not reserved: how to reserve them', (context) => {
  const size = (free + 8) * 2 * MiB;
  const message = new RegExp(`^${free + 8} huge pages of 2 MiB are not to be had.*vm.nr_hugepages=${free + 8}`);
  assert.throws(() => allocateRam(size, { hugePages: 'hugetlb' }), { code: 'MemoryTooLarge', message });
  context.diagnostic(`${free} huge pages are reserved and free`);
});

test('more memory than the host has, or a machine can have, is refused in words', () => {
  const code = 'MemoryTooLarge';
  // Swap is at most as large as memory on the hosts that run this
  const beyond = Math.min(2 * totalmem() + GiB, 511 * GiB);
  const message = /^the host has \d+ MiB of memory.*use a smaller --memory/;
  assert.throws(() => allocateRam(Math.floor(beyond / MiB) * MiB), { code, message });
  assert.throws(() => allocateRam(1024 * GiB), { code, message: /^a machine has at most 523264 MiB of memory/ });
  for (const size of [0, -4096, 5000, NaN]) assert.throws(() => allocateRam(size), { code: 'InvalidArgument' });
});

test('a process whose address space is limited gets a reason', () => {
  const module = new URL('./host-memory.js', import.meta.url).href;
  const script = `
    const { allocateRam } = await import(${JSON.stringify(module)});
    try { allocateRam(2 ** 31); } catch (error) { console.log(error.code + ': ' + error.message); }
  `;
  const command = [
    '-c',
    'ulimit -v 2000000; exec "$0" --jitless --input-type=module -e "$1"',
    process.execPath,
    script,
  ];
  const { stdout } = spawnSync('sh', command, { encoding: 'utf8' });
  assert.match(stdout, /^MemoryTooLarge: the host refuses 2048 MiB of memory \(ENOMEM\): use a smaller --memory/);
});

test('another thread makes its own object of the same memory', async () => {
  const shared = allocateRam(2 * MiB);
  const memory = new KvmGuestMemory(shared);
  memory.writeU32(gpa(0x1000), 41);
  new WrittenPages(shared.written).start();
  const source = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.module).then(({ KvmGuestMemory }) => {
      const memory = new KvmGuestMemory(workerData.shared);
      memory.writeU32(0x2000, memory.readU32(0x1000) + 1);
      parentPort.postMessage(memory.size);
    });
  `;
  const module = new URL('./guest-memory.js', import.meta.url).href;
  const worker = new Worker(source, { eval: true, workerData: { shared, module } });
  const size = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
  assert.equal(size, memory.size);
  assert.equal(memory.readU32(gpa(0x2000)), 42);
  const written: number[] = [];
  new WrittenPages(shared.written).take((page, count) => written.push(page, count));
  assert.deepEqual(written, [2, 1]);
  releaseRam(shared);
});

test('written pages: runs across words, marked from bytes, bits and bitmaps', () => {
  withMemory(2 * MiB, ({ shared }) => {
    const written = new WrittenPages(shared.written);
    const taken = (): string[] => {
      const runs: string[] = [];
      written.take((page, count) => runs.push(`${page}+${count}`));
      return runs;
    };
    written.mark(0x1fff, 2);
    for (let page = 30; page < 70; page++) written.markPage(page);
    written.markWords(96, Uint32Array.of(0x8000_0001, 0, 1));
    assert.deepEqual(taken(), ['1+2', '30+40', '96+1', '127+1', '160+1']);
    assert.deepEqual(taken(), []);
  });
});

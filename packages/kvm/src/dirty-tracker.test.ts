/** Pages written by tiny guests and by devices, as the dirty log and the dirty rings report them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmExit } from './api/exits.ts';
import { DirtyLog } from './dirty-log.ts';
import {
  DirtyRings,
  DirtyRingTracker,
  enableDirtyRings,
  largestDirtyRing,
  mapDirtyRing,
  type MappedDirtyRing,
  type SharedDirtyRings,
  unmapDirtyRing,
} from './dirty-ring.ts';
import type { DirtyTracker } from './dirty-tracker.ts';
import { KvmSystem } from './system.ts';
import { Code, noKvm, TinyGuest } from './testing/tiny-guest.ts';

const MiB = 1024 * 1024;
const MemorySize = 64 * MiB;
/** Smallest ring that a host with Intel's page-modification log takes: it reserves 576 entries of 16 bytes. */
const SmallRing = 16 * 1024;

function noRings(): string | false {
  const without = noKvm();
  if (without !== false) return without;
  const system = KvmSystem.open();
  try {
    return largestDirtyRing(system.fd) > 0 ? false : 'this host’s KVM lacks KVM_CAP_DIRTY_LOG_RING';
  } finally {
    system.close();
  }
}

/** `1100+2` is two pages from 0x1100000 on. */
function pages(tracker: DirtyTracker): string[] {
  return tracker.collect().map(({ start, length }) => `${(start / 4096).toString(16)}+${length / 4096}`);
}

/** What every tracker does; the guest's code page, which the host writes, is page 1. */
function checkTracking(guest: TinyGuest, tracker: DirtyTracker): void {
  const write = (...addresses: number[]): void =>
    guest.runToHalt([...addresses.flatMap((address) => Code.store(address, 7)), ...Code.halt]);
  write(0x5000, 0x20_0000);
  tracker.start();
  assert.deepEqual(pages(tracker), [], 'what was written before the start is not reported');

  write(0x9_f000, 0xc_0000, 0x20_0fff, 0x20_1000, 0x300_0000);
  assert.deepEqual(pages(tracker), ['1+1', '9f+1', 'c0+1', '200+2', '3000+1']);
  assert.deepEqual(pages(tracker), [], 'reported once');

  write(0x20_1004);
  guest.memory.writeU32(gpa(0x10_0ffc), 1);
  guest.memory.write(gpa(0x30_0fff), new Uint8Array(2));
  assert.deepEqual(pages(tracker), ['1+1', '100+1', '201+1', '300+2'], 'written again: reported again');

  guest.runToHalt([...Code.load(0x300_0000), ...Code.halt]);
  guest.memory.readU32(gpa(0x50_0000));
  assert.deepEqual(pages(tracker), ['1+1'], 'pages that were only read since are not reported');

  write(0x60_0000);
  tracker.stop();
  write(0x70_0000);
  tracker.start();
  write(0x80_0000);
  assert.deepEqual(pages(tracker), ['1+1', '800+1'], 'a new start begins with nothing');
  tracker.stop();
}

test('the dirty log reports the pages that the guest and devices wrote', { skip: noKvm() }, () => {
  using guest = new TinyGuest(MemorySize);
  checkTracking(guest, new DirtyLog(guest.vm, guest.slots, guest.memory));
});

test('a dirty log of more pages than a word of the bitmap has', { skip: noKvm() }, () => {
  using guest = new TinyGuest(MemorySize);
  const tracker = new DirtyLog(guest.vm, guest.slots, guest.memory);
  tracker.start();
  guest.runToHalt([...Code.touchPages(0x20_1000, 1000), ...Code.halt], (reason) => assert.equal(reason, KvmExit.Io));
  assert.deepEqual(pages(tracker), ['1+1', '201+1000']);
  tracker.stop();
});

describe('dirty rings', { skip: noRings() }, () => {
  interface Ringed {
    readonly guest: TinyGuest;
    readonly shared: SharedDirtyRings;
    readonly ring: MappedDirtyRing;
  }

  function withRings(size: number, use: (ringed: Ringed) => void): void {
    let shared: SharedDirtyRings;
    using guest = new TinyGuest(MemorySize, {
      beforeVcpu: (vm, memory) => void (shared = enableDirtyRings(vm, memory, 1, size)),
    });
    const ring = mapDirtyRing(shared!, 0, guest.vcpu);
    try {
      use({ guest, shared: shared!, ring });
    } finally {
      unmapDirtyRing(shared!, ring);
    }
  }

  test('report the pages that the guest and devices wrote', () => {
    withRings(64 * 1024, ({ guest, shared, ring }) => {
      checkTracking(guest, new DirtyRingTracker(shared, [ring], guest.slots));
    });
  });

  test('a ring that is full is harvested by the vCPU’s thread, and nothing is lost', (context) => {
    withRings(SmallRing, ({ guest, shared, ring }) => {
      const tracker = new DirtyRingTracker(shared, [ring], guest.slots);
      const rings = new DirtyRings(shared, [ring]);
      let full = 0;
      tracker.start();
      guest.runToHalt([...Code.touchPages(0x20_0000, 3000), ...Code.halt], (reason) => {
        // A KVM that emulates guest code looks at its rings only between such exits
        if (reason === KvmExit.Io) return;
        assert.equal(reason, KvmExit.DirtyRingFull);
        full++;
        rings.harvest();
      });
      context.diagnostic(`the ring was full ${full} times`);
      assert.ok(full >= 2);
      assert.deepEqual(pages(tracker), ['1+1', '200+3000']);
      assert.equal(guest.memory.readU8(gpa(0x20_0000 + 2999 * 4096)), 1);
      tracker.stop();
    });
  });

  test('a size that KVM refuses is named', () => {
    using guest = new TinyGuest(MemorySize);
    assert.throws(() => enableDirtyRings(guest.vm, guest.memory.shared, 1, 5000), {
      code: 'InvalidArgument',
      message: /5000 bytes.*power of two/,
    });
  });
});

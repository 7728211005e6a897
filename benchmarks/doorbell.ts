/**
 * How long a request of a guest takes on the kvm engine when it is nothing but wake-ups: a doorbell (ioeventfd), an I/O
 * worker that fills 16 bytes with random numbers, an interrupt (irqfd) that ends the guest's HLT. No vCPU exit is in it.
 * The loop's own instructions are measured apart: kvm-pvm emulates them.
 *
 *     node benchmarks/dist/doorbell.js [REQUESTS]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gpa } from '@lodger/vmm/memory/address.js';
import { IoGuest, doorbell, enableApic, store, wait } from '#tests/contract/io-guest.js';
import { done } from '#tests/contract/engine-guest.js';
import { ebx, ecx, mem, rbx } from '#tests/guest/assembler.js';
import { median } from './medians.ts';

const Rounds = 7;
const WriteFlag = 2;
const Buffer = 0x50_0000;
const BufferBytes = 16;
/** A word of memory that nobody looks at. */
const Nowhere = 0x60_0000;

/** Nanoseconds. */
export interface DoorbellResult {
  /** From one doorbell to the next one. */
  readonly request: number;
  /** The same loop without doorbell and halt. */
  readonly loop: number;
}

/** Medians of some rounds of `requests` each. */
export async function measureDoorbell(requests: number): Promise<DoorbellResult> {
  const directory = mkdtempSync(join(tmpdir(), 'lodger-bench-'));
  const io = await IoGuest.create(join(directory, 'disk.img'));
  try {
    io.start(io.entropy);
    const queue = io.entropy.driver.queues[0]!;
    // One buffer, again and again: every entry of the available ring names it.
    queue.writeDescriptor(0, { address: Buffer, length: BufferBytes, flags: WriteFlag, next: 0 });
    const availableIndex = queue.available + 2;
    const round = (withDevice: boolean): number => {
      io.guest.start((a) => {
        enableApic(a).mov(ecx, requests).label('next');
        a.mov(ebx, withDevice ? availableIndex : Nowhere).inc(mem({ base: rbx, size: 16 }));
        store(a, withDevice ? doorbell(io.entropy) : Nowhere, 0, 16);
        if (withDevice) wait(a);
        done(a.dec(ecx).jcc('nz', 'next'));
      });
      const start = performance.now();
      const { end } = io.run();
      if (!end.startsWith('done')) throw new Error(`the guest ended with ${end}`);
      return ((performance.now() - start) * 1e6) / requests;
    };
    // The worker's thread starts, and its code becomes warm.
    round(true);
    const results = Array.from({ length: Rounds }, () => ({ request: round(true), loop: round(false) }));
    const used = io.vm.memory.readU16(gpa(queue.used + 2));
    if (used !== ((Rounds + 1) * requests) % 2 ** 16) throw new Error(`the device used ${used} buffers`);
    return {
      request: median(results.map(({ request }) => request))!,
      loop: median(results.map(({ loop }) => loop))!,
    };
  } finally {
    await io.close();
    rmSync(directory, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const requests = Number(process.argv[2] ?? 2000);
  const { request, loop } = await measureDoorbell(requests);
  const microseconds = (nanoseconds: number): string => `${(nanoseconds / 1000).toFixed(1)} us`;
  console.log(
    `doorbell to I/O worker to interrupt: ${microseconds(request)} a request, of which the guest's own loop is ` +
      `${microseconds(loop)} (medians of ${Rounds} rounds of ${requests})`,
  );
}

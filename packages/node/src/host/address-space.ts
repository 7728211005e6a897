/**
 * Whether a machine fits into the address space that this process may have (RLIMIT_AS, `ulimit -v`). V8 ends the process
 * where it finds no room for a thread, so the room is counted before the threads are started.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { EngineName } from '../threads/engine-name.ts';
import { HostFiles } from './host-files.ts';
import { probeMemory } from './memory.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** What V8 reserves for a worker: 590 to 780 MiB with Node 20. */
const ThreadSpace = 800 * MiB;
/** What V8 reserves for a WebAssembly memory of any size, so that accesses beyond its end meet no other memory. */
const WasmMemorySpace = 10 * GiB;
/** Workers for devices. */
const DeviceThreads = 2;

export interface AddressSpaceUse {
  readonly engine: EngineName;
  readonly memorySize: number;
  /** Threads that run guest code. */
  readonly guestThreads: number;
}

/** @throws HostError MemoryTooLarge */
export function checkAddressSpace(use: AddressSpaceUse, host = new HostFiles()): void {
  const { addressSpace: limit } = probeMemory(host).limits;
  const used = Number.parseInt(host.field('/proc/self/status', 'VmSize') ?? '0') * KiB;
  if (limit === undefined || limit === Infinity) return;
  const memory = use.engine === 'wasm' ? WasmMemorySpace : use.memorySize;
  const needed = memory + (use.guestThreads + DeviceThreads) * ThreadSpace;
  const left = Math.max(0, limit - used);
  if (needed <= left) return;
  const smaller = use.engine === 'wasm' ? '' : ', or use a smaller --memory';
  throw new HostError(
    'MemoryTooLarge',
    `a machine on the ${use.engine} engine needs ${gibibytes(needed)} of address space and this process may have ` +
      `${gibibytes(left)} more: raise the limit with "ulimit -v unlimited"${smaller}`,
  );
}

function gibibytes(bytes: number): string {
  return `${(bytes / GiB).toFixed(1)} GiB`;
}

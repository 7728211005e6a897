/**
 * From struct kvm_run to the contract's exits (KVM API documentation, section 5 "The kvm_run structure").
 *
 * One exit of KVM can be several of the contract: string I/O brings all elements that fit into a page at once, and a
 * memory access need not be 1, 2, 4 or 8 bytes long where it crosses a page. They are handed out one by one; the kernel
 * goes on with the instruction when all have been answered.
 *
 * Exit objects are made once and filled anew: an exit allocates nothing but the bigint of a memory value.
 */
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { IoDirection } from './api/exits.ts';
import { RunOffset } from './api/run-layout.ts';

type Mutable<Exit> = { -readonly [Field in keyof Exit]: Exit[Field] };
type ExitOf<Kind extends VcpuExit['kind']> = Mutable<Extract<VcpuExit, { kind: Kind }>>;

const TwoTo32 = 2 ** 32;
const HypercallArguments = 6;

/** Vector of the breakpoint exception, and DR6.BS (SDM Vol. 3B "Debug Status Register (DR6)"). */
const BreakpointVector = 3;
const SingleStepBit = 1n << 14n;

export class KvmExits {
  readonly #run: DataView;
  /** The exit that waits for the caller's answer. */
  #asked: 'nothing' | 'port' | 'memory' | 'hypercall' = 'nothing';
  /** Where the element at hand is in the run structure, and the bytes of the exit that are not handed out yet. */
  #at = 0;
  #left = 0;
  /** Of the exit at hand: `port`, `memory`. */
  #source: 'port' | 'memory' = 'port';
  #isWrite = false;

  readonly #pioRead: ExitOf<'pio-read'> = { kind: 'pio-read', port: 0, size: 1, value: 0 };
  readonly #pioWrite: ExitOf<'pio-write'> = { kind: 'pio-write', port: 0, size: 1, value: 0 };
  readonly #mmioRead: ExitOf<'mmio-read'> = { kind: 'mmio-read', address: gpa(0), size: 1, value: 0n };
  readonly #mmioWrite: ExitOf<'mmio-write'> = { kind: 'mmio-write', address: gpa(0), size: 1, value: 0n };
  readonly #hypercall: ExitOf<'hypercall'> = { kind: 'hypercall', number: 0n, args: [], result: 0n };
  readonly #debug: ExitOf<'debug'> = { kind: 'debug', reason: 'breakpoint', rip: 0n };

  constructor(run: ArrayBuffer) {
    this.#run = new DataView(run);
  }

  /** The first exit of a KVM_EXIT_IO. */
  port(): VcpuExit {
    const run = this.#run;
    const size = run.getUint8(RunOffset.IoSize) as 1 | 2 | 4;
    this.#source = 'port';
    this.#at = run.getUint32(RunOffset.IoDataOffset, true);
    this.#left = size * run.getUint32(RunOffset.IoCount, true);
    this.#isWrite = run.getUint8(RunOffset.IoDirection) === IoDirection.Out;
    const exit = this.#isWrite ? this.#pioWrite : this.#pioRead;
    exit.port = run.getUint16(RunOffset.IoPort, true);
    exit.size = size;
    return this.#portElement();
  }

  /** The first exit of a KVM_EXIT_MMIO. */
  memory(): VcpuExit {
    const run = this.#run;
    this.#source = 'memory';
    this.#at = RunOffset.MmioData;
    this.#left = run.getUint32(RunOffset.MmioLength, true);
    this.#isWrite = run.getUint8(RunOffset.MmioIsWrite) !== 0;
    const low = run.getUint32(RunOffset.MmioAddress, true);
    const address = low + run.getUint32(RunOffset.MmioAddress + 4, true) * TwoTo32;
    const exit = this.#isWrite ? this.#mmioWrite : this.#mmioRead;
    exit.address = gpa(address);
    exit.size = 1;
    return this.#memoryElement(address);
  }

  /** KVM_EXIT_HYPERCALL. */
  hypercall(): VcpuExit {
    const run = this.#run;
    const exit = this.#hypercall;
    exit.number = run.getBigUint64(RunOffset.HypercallNumber, true);
    exit.args = Array.from({ length: HypercallArguments }, (_, index) =>
      run.getBigUint64(RunOffset.HypercallArgs + index * 8, true),
    );
    exit.result = 0n;
    this.#asked = 'hypercall';
    return exit;
  }

  /** KVM_EXIT_DEBUG. */
  debug(): VcpuExit {
    const exit = this.#debug;
    const isBreakpoint = this.#run.getUint32(RunOffset.DebugException, true) === BreakpointVector;
    const isStep = !isBreakpoint && (this.#run.getBigUint64(RunOffset.DebugDr6, true) & SingleStepBit) !== 0n;
    exit.reason = isStep ? 'single-step' : 'breakpoint';
    exit.rip = this.#run.getBigUint64(RunOffset.DebugPc, true);
    return exit;
  }

  /** Puts the answer to the exit that was handed out last, if it wants one, where the kernel looks for it. */
  takeAnswer(): void {
    const run = this.#run;
    switch (this.#asked) {
      case 'nothing':
        return;
      case 'port':
        this.#storePort(this.#pioRead.value);
        break;
      case 'memory':
        this.#storeMemory(this.#mmioRead.value);
        break;
      case 'hypercall':
        run.setBigUint64(RunOffset.HypercallReturn, this.#hypercall.result, true);
        break;
      default:
        this.#asked satisfies never;
    }
    this.#asked = 'nothing';
  }

  /** True while elements of the exit are left to hand out. */
  get hasMore(): boolean {
    return this.#left > 0;
  }

  /** The next element. The one before it has been answered. */
  next(): VcpuExit {
    if (this.#source === 'port') return this.#portElement();
    const exit = this.#isWrite ? this.#mmioWrite : this.#mmioRead;
    return this.#memoryElement(exit.address + exit.size);
  }

  /** Forgets the exit at hand: reads that were not answered read what lies there. */
  drop(): void {
    this.#asked = 'nothing';
    this.#left = 0;
  }

  #portElement(): VcpuExit {
    const exit = this.#isWrite ? this.#pioWrite : this.#pioRead;
    if (this.#isWrite) exit.value = this.#loadPort(exit.size);
    else {
      exit.value = 0;
      this.#asked = 'port';
    }
    this.#left -= exit.size;
    if (this.#isWrite) this.#at += exit.size;
    return exit;
  }

  #loadPort(size: 1 | 2 | 4): number {
    const run = this.#run;
    if (size === 1) return run.getUint8(this.#at);
    return size === 2 ? run.getUint16(this.#at, true) : run.getUint32(this.#at, true);
  }

  #storePort(value: number): void {
    const run = this.#run;
    const { size } = this.#pioRead;
    if (size === 1) run.setUint8(this.#at, value);
    else if (size === 2) run.setUint16(this.#at, value, true);
    else run.setUint32(this.#at, value, true);
    this.#at += size;
  }

  /** The largest naturally aligned part of what is left at `address`. */
  #memoryElement(address: number): VcpuExit {
    const exit = this.#isWrite ? this.#mmioWrite : this.#mmioRead;
    exit.address = gpa(address);
    exit.size = partSize(address, this.#left);
    this.#left -= exit.size;
    if (this.#isWrite) {
      exit.value = this.#loadMemory(exit.size);
      this.#at += exit.size;
    } else {
      exit.value = 0n;
      this.#asked = 'memory';
    }
    return exit;
  }

  #loadMemory(size: 1 | 2 | 4 | 8): bigint {
    const run = this.#run;
    switch (size) {
      case 1:
        return BigInt(run.getUint8(this.#at));
      case 2:
        return BigInt(run.getUint16(this.#at, true));
      case 4:
        return BigInt(run.getUint32(this.#at, true));
      case 8:
        return run.getBigUint64(this.#at, true);
      default:
        return size satisfies never;
    }
  }

  #storeMemory(value: bigint): void {
    const run = this.#run;
    const { size } = this.#mmioRead;
    if (size === 8) run.setBigUint64(this.#at, value, true);
    else {
      const low = Number(value & 0xffff_ffffn);
      if (size === 4) run.setUint32(this.#at, low, true);
      else if (size === 2) run.setUint16(this.#at, low, true);
      else run.setUint8(this.#at, low);
    }
    this.#at += size;
  }
}

/** Whole accesses stay whole, whatever their alignment; others are cut where they are aligned. */
function partSize(address: number, length: number): 1 | 2 | 4 | 8 {
  if (length === 1 || length === 2 || length === 4 || length === 8) return length;
  if (address % 2 !== 0) return 1;
  return address % 4 !== 0 || length < 4 ? 2 : 4;
}

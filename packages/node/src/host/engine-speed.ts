/**
 * How fast an engine runs the privileged code of a guest, and what an exit to the host costs: measured with two endless
 * loops of a few bytes in 64-bit mode at ring 0, through the engine contract, so that engines can be compared.
 *
 * Every turn ends by the engine's deadline, so the time is bounded whatever the guest code costs.
 */
import { longModeState } from '@lodger/vmm/boot/initial-state.js';
import type { EngineVm, Vcpu } from '@lodger/vmm/engine/engine.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import type { Clock } from '@lodger/vmm/time/clock.js';

export interface EngineSpeed {
  /** Guest instructions a second in a ring-0 loop. */
  readonly ring0Rate: number;
  /** Microseconds from one port write of a guest to its next. */
  readonly exitMicroseconds: number;
}

export interface SpeedOptions {
  /** The ring-0 loop is measured again, up to {@link Windows} times, until it was this fast: a busy host gets more time. */
  readonly enough?: number;
  /** Takes longer, so that an exit's cost is that of JavaScript which has been compiled. */
  readonly thorough?: boolean;
}

/** Memory that the measuring guest needs. */
export const SpeedGuestMemory = 2 * 1024 * 1024;

const NanosecondsPerSecond = 1e9;
const NanosecondsPerMicrosecond = 1e3;
/** Nanoseconds of one look at a loop. */
const Window = 3e6;
const Windows = 4;
const LongWindow = 100e6;
const ExitsPerBatch = 16;
/** Nanoseconds that the first exit may take. */
const Patience = 15e6;

/** Guest-physical memory: one page of 2 MiB maps all of it to itself. */
const Layout = { Gdt: 0x500, PageTables: 0x1000, Code: 0x1_0000, StackTop: 0x8_0000 } as const;
const PageEntry = { PresentWritable: 0x3n, Large: 0x80n } as const;
const TableBytes = 0x1000;
const GdtLimit = 0x27;

/** again: inc rax; dec rcx; jnz again. RCX starts at 0: 2^64 rounds. */
const CountingLoop = Uint8Array.of(0x48, 0xff, 0xc0, 0x48, 0xff, 0xc9, 0x75, 0xf8);
const InstructionsPerRound = 3;
/** again: out 0x80, al; jmp again. No controller of an engine has port 0x80. */
const WritingLoop = Uint8Array.of(0xe6, 0x80, 0xeb, 0xfc);

/** Measures with a vCPU of `vm`, on this thread; the guest's memory is written over. */
export function measureEngine(
  vm: EngineVm,
  vcpu: Vcpu,
  clock: Clock,
  { enough = Infinity, thorough = false }: SpeedOptions = {},
): EngineSpeed {
  writePageTables(vm);
  const exitMicroseconds = exitCost(vm, vcpu, clock, thorough ? LongWindow : Window);
  return { ring0Rate: ring0Rate(vm, vcpu, clock, enough), exitMicroseconds };
}

function ring0Rate(vm: EngineVm, vcpu: Vcpu, clock: Clock, enough: number): number {
  start(vm, vcpu, CountingLoop);
  let best = 0;
  for (let window = 0; window < Windows && best < enough; window++) {
    const before = vcpu.state().regs.rax;
    const started = clock.now();
    while (clock.now() < started + Window) {
      if (vcpu.run(started + Window).kind !== 'interrupted') return best;
    }
    const nanoseconds = clock.now() - started;
    const rounds = Number(vcpu.state().regs.rax - before);
    best = Math.max(best, (rounds * InstructionsPerRound * NanosecondsPerSecond) / nanoseconds);
  }
  return best;
}

/** Of the best batch: the others shared the processor with somebody, or ran code that V8 had not compiled yet. */
function exitCost(vm: EngineVm, vcpu: Vcpu, clock: Clock, window: number): number {
  start(vm, vcpu, WritingLoop);
  // The first exit pays for pages that are touched for the first time.
  untilWrite(vcpu, clock.now() + Patience);
  const deadline = clock.now() + window;
  let best = window;
  for (let from = clock.now(); from < deadline; from = clock.now()) {
    let exits = 0;
    while (exits < ExitsPerBatch && untilWrite(vcpu, deadline)) exits++;
    if (exits > 0) best = Math.min(best, (clock.now() - from) / exits);
    if (exits < ExitsPerBatch) break;
  }
  return best / NanosecondsPerMicrosecond;
}

/** Runs to the next port write. False when the deadline came first, or anything else. */
function untilWrite(vcpu: Vcpu, deadline: number): boolean {
  return vcpu.run(deadline).kind === 'pio-write';
}

function start(vm: EngineVm, vcpu: Vcpu, code: Uint8Array): void {
  vm.memory.write(gpa(Layout.Code), code);
  const registers = { entry: gpa(Layout.Code), rsp: BigInt(Layout.StackTop) };
  vcpu.setState(longModeState(registers, { base: Layout.Gdt, limit: GdtLimit }, gpa(Layout.PageTables)));
}

function writePageTables({ memory }: EngineVm): void {
  const table = (level: number) => Layout.PageTables + level * TableBytes;
  memory.writeU64(gpa(table(0)), BigInt(table(1)) | PageEntry.PresentWritable);
  memory.writeU64(gpa(table(1)), BigInt(table(2)) | PageEntry.PresentWritable);
  memory.writeU64(gpa(table(2)), PageEntry.Large | PageEntry.PresentWritable);
}

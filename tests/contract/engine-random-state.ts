/** Random states that a guest could have come to, of what every engine keeps. */
import type { FpuState, LocalApicState, VcpuState, VmState } from '@lodger/vmm/engine/state.js';
import type { Random } from '../differential/random.ts';

const StatusFlags = [0, 2, 4, 6, 7, 10, 11];
const RflagsFixed = 2n;
const InterruptFlag = 1n << 9n;

/** Bits of a mask in place, at random. */
const within = (random: Random, mask: number): number => (random.u32() & mask) >>> 0;
const canonical = (random: Random): bigint => BigInt.asUintN(64, BigInt.asIntN(47, random.u64()));

export function randomVcpuState(random: Random, start: VcpuState, id: number): VcpuState {
  const state = structuredClone(start);
  const regs = Object.fromEntries(Object.keys(state.regs).map((name) => [name, random.u64()]));
  const flags = StatusFlags.filter(() => random.chance(50)).reduce(
    (all, bit) => all | (1n << BigInt(bit)),
    RflagsFixed,
  );
  Object.assign(state.regs, regs, { rip: canonical(random), rflags: flags | (random.chance(50) ? InterruptFlag : 0n) });
  Object.assign(state.sregs, { cr2: random.u64() });
  state.sregs.fs.base = canonical(random);
  state.sregs.gs.base = canonical(random);
  const localApic = randomLocalApic(random, start.localApic!);
  state.sregs.cr8 = BigInt(localApic.taskPriority >> 4);
  const db = Array.from({ length: 4 }, () => canonical(random)) as VcpuState['debug']['db'];
  const mpStates =
    id === 0 ? (['runnable', 'halted'] as const) : (['runnable', 'halted', 'uninitialized', 'init-received'] as const);
  return {
    ...state,
    fpu: randomFpu(random),
    debug: {
      db,
      dr6: 0xffff_0ff0n | BigInt(within(random, 0xe00f)),
      dr7: 0x400n | BigInt(within(random, 0xffff_0000)),
    },
    msrs: randomMsrs(random, state.msrs),
    events: randomEvents(random, state.events),
    mpState: random.pick<VcpuState['mpState']>(mpStates),
    localApic,
  };
}

function randomFpu(random: Random): FpuState {
  const wide = (): bigint => (random.u64() << 64n) | random.u64();
  return {
    st: Array.from({ length: 8 }, () => ({ significand: random.u64(), signExponent: random.below(0x1_0000) })),
    fcw: 0x40 | within(random, 0x0f3f),
    fsw: within(random, 0x7f00) | 0x01,
    ftw: random.below(0x100),
    lastOpcode: random.below(0x800),
    lastIp: canonical(random),
    lastDp: canonical(random),
    xmm: Array.from({ length: 16 }, wide),
    mxcsr: within(random, 0xffff),
  };
}

/** SYSCALL and the swapped GS. */
const AddressMsrs = [0xc000_0082, 0xc000_0083, 0xc000_0102];
/** SYSENTER: KVM keeps 32 bits of them for guests of AMD's. */
const NarrowMsrs = [0x174, 0x175, 0x176];
const MemoryTypes = [0, 1, 4, 5, 6, 7];

function randomMsrs(random: Random, start: VcpuState['msrs']): VcpuState['msrs'] {
  const pat = Array.from({ length: 8 }, () => BigInt(random.pick(MemoryTypes))).reduce(
    (all, type) => (all << 8n) | type,
    0n,
  );
  const values = new Map<number, bigint>([
    ...start,
    ...AddressMsrs.map((index) => [index, canonical(random)] as const),
    ...NarrowMsrs.map((index) => [index, BigInt(random.u32())] as const),
    [0x277, pat],
    [0xc000_0081, random.u64()],
    [0xc000_0084, BigInt(random.u32())],
  ]);
  return [...values];
}

function randomEvents(random: Random, start: VcpuState['events']): VcpuState['events'] {
  const what = random.pick(['nothing', 'exception', 'interrupt', 'nmi']);
  return {
    ...start,
    exception:
      what === 'exception'
        ? random.pick([
            { vector: 13, errorCode: random.below(0x1_0000) },
            { vector: 6, errorCode: undefined },
          ])
        : undefined,
    interrupt: what === 'interrupt' ? { vector: random.between(32, 255), soft: false } : undefined,
    interruptShadow: what === 'nothing' ? random.pick(['none', 'sti']) : 'none',
    nmi: { injected: what === 'nmi', pending: random.chance(30), masked: what === 'nmi' || random.chance(30) },
  };
}

function randomLocalApic(random: Random, start: LocalApicState): LocalApicState {
  const vectors = (): number[] =>
    Array.from({ length: 8 }, (_, word) => (random.chance(20) && word > 0 ? random.u32() : 0));
  const lint = (): number => within(random, 0x1_a0ff) | (random.pick([0, 4, 7]) << 8);
  return {
    ...start,
    taskPriority: random.below(0x100),
    logicalDestination: within(random, 0xff00_0000),
    destinationFormat: random.pick([0xffff_ffff, 0x0fff_ffff]),
    spuriousVector: 0x100 | random.below(0x100),
    commandLow: within(random, 0xc_cfff),
    commandHigh: within(random, 0xff00_0000),
    lvt: {
      ...start.lvt,
      timer: within(random, 0x3_00ff),
      thermal: within(random, 0x1_04ff),
      performance: within(random, 0x1_04ff),
      lint0: lint(),
      lint1: lint(),
      error: within(random, 0x1_00ff),
    },
    requests: vectors(),
    inService: vectors(),
    triggerMode: vectors(),
    // A timer that runs is a matter of time: see the moves
    timer: { divide: within(random, 0xb), initialCount: 0, currentCount: 0 },
  };
}

const IoApicLevel = 1 << 15;
const IoApicMask = 1 << 16;
const RemoteIrr = 1 << 14;

export function randomVmState(random: Random, start: VmState): VmState {
  // Pins that would interrupt at once do not stay as they are set
  const entries = start.ioapic.entries.map(() => {
    const quiet = random.pick([IoApicMask, IoApicLevel | RemoteIrr, 0]);
    return { low: (within(random, 0x1_afff) & ~RemoteIrr) | quiet, high: within(random, 0xff00_0000) };
  });
  const quietLevels = entries.reduce((pins, { low }, pin) => {
    const quiet = (low & IoApicLevel) !== 0 && (low & (IoApicMask | RemoteIrr)) !== 0;
    return quiet && random.chance(40) ? pins | (1 << pin) : pins;
  }, 0);
  const master = randomPic(random, start.pic.master, 0xf8);
  const slave = { ...randomPic(random, start.pic.slave, 0xde), requests: 0, lines: 0 };
  const cascade = ~4;
  return {
    ...start,
    ioapic: { version: 1, select: random.below(0x40), id: within(random, 0x0f00_0000), lines: quietLevels, entries },
    pic: {
      version: 1,
      master: { ...master, requests: master.requests & cascade, lines: master.lines & cascade },
      slave,
    },
    pit: randomPit(random, start.pit),
    speaker: { version: 1, kept: within(random, 2) },
    clock: { ...start.clock, kvmClock: start.clock.kvmClock + (random.u64() >> 8n) },
  };
}

function randomPic(random: Random, start: VmState['pic']['master'], elcr: number): VmState['pic']['master'] {
  const byte = (): number => random.below(0x100);
  const lines = byte();
  const flag = (): boolean => random.chance(50);
  return {
    ...start,
    requests: byte() & lines,
    inService: byte(),
    mask: byte(),
    lines,
    levelTriggered: byte() & elcr,
    vectorBase: byte() & 0xf8,
    lowestPin: random.below(8),
    initStep: random.pick(['ready', 'icw2', 'icw3', 'icw4']),
    needsIcw4: flag(),
    autoEoi: flag(),
    rotateInAutoEoi: flag(),
    specialMask: flag(),
    specialFullyNested: flag(),
    readIsr: flag(),
    poll: flag(),
  };
}

const TwoBytes = 3;
const SquareWave = 3;

/** Periodic counters: of a one-shot, KVM is told what is left. */
function randomPit(random: Random, start: VmState['pit']): VmState['pit'] {
  return {
    ...start,
    counters: start.counters.map((counter) => ({
      ...counter,
      mode: random.pick([2, SquareWave]),
      bcd: false,
      gate: true,
      modulus: random.between(0x1000, 0x1_0000),
      pendingModulus: 0,
      loaded: true,
      running: true,
      age: 0,
    })),
    ports: start.ports.map(() => {
      const access = random.between(1, TwoBytes);
      const twoBytes = access === TwoBytes;
      return {
        access,
        writtenLow: twoBytes && random.chance(50) ? random.below(0x100) : undefined,
        readHighNext: twoBytes && random.chance(50),
        latchedCount: random.chance(50) ? random.below(0x1_0000) : undefined,
        latchedStatus: random.chance(50) ? random.below(0x100) : undefined,
      };
    }),
  };
}

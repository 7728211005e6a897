/**
 * Model-specific registers: the numbers of those that exist in the portable CPU models, and the behaviour of those
 * that are mere constants (AMD APM Vol. 2 Appendix A "MSR Cross-Reference"; the constants follow KVM's for an AMD guest).
 *
 * Every MSR that is neither here nor the local APIC's nor the paravirtual interface's raises #GP: machine checks, MTRRs,
 * SVM, speculation control and performance monitoring are not part of the models.
 */

/** MSRs with state, which the engine keeps. */
export const Msr = {
  TimeStampCounter: 0x10,
  ApicBase: 0x1b,
  TscAdjust: 0x3b,
  SysenterCs: 0x174,
  SysenterEsp: 0x175,
  SysenterEip: 0x176,
  PageAttributeTable: 0x277,
  TscDeadline: 0x6e0,
  X2ApicFirst: 0x800,
  X2ApicLast: 0x8ff,
  Efer: 0xc000_0080,
  Star: 0xc000_0081,
  LongStar: 0xc000_0082,
  CompatibilityStar: 0xc000_0083,
  SyscallFlagMask: 0xc000_0084,
  FsBase: 0xc000_0100,
  GsBase: 0xc000_0101,
  KernelGsBase: 0xc000_0102,
  TscAux: 0xc000_0103,
} as const;
export type Msr = (typeof Msr)[keyof typeof Msr];

/** EFER (AMD APM Vol. 2 "Extended Feature Enable Register (EFER)"). */
export const Efer = {
  SyscallEnable: 1n << 0n,
  LongModeEnable: 1n << 8n,
  LongModeActive: 1n << 10n,
  NoExecuteEnable: 1n << 11n,
  /** Automatic IBRS: has no effect that a guest could see. */
  AutomaticIbrs: 1n << 21n,
} as const;
/** Bits of EFER that software can write; LMA keeps its value, others raise #GP. */
export const EferWritable = Efer.SyscallEnable | Efer.LongModeEnable | Efer.NoExecuteEnable | Efer.AutomaticIbrs;

/** An MSR that always reads the same. */
export interface ConstantMsr {
  readonly index: number;
  readonly name: string;
  readonly value: bigint;
  /** Bits that a write may have set; it has no effect. Other bits raise #GP. Undefined: every write raises #GP. */
  readonly ignoredBits: bigint | undefined;
}

const Any = (1n << 64n) - 1n;
const ReadOnly = undefined;

/** HWCR.TscFreqSel: the TSC counts at the frequency of the P0 state; Linux warns without it. */
const HwcrTscFrequency = 1n << 24n;
/** HWCR bits that KVM accepts and ignores: FFDIS, IGNNE emulation, McStatusWrEn. */
const HwcrIgnored = HwcrTscFrequency | (1n << 3n) | (1n << 6n) | (1n << 8n) | (1n << 18n);
/** DE_CFG: LFENCE is serializing. */
const LfenceSerializing = 1n << 1n;
/** What KVM shows as the microcode's version on AMD. */
const PatchLevel = 0x0100_0065n;
/** DEBUGCTL: last-branch records and single-stepping on branches, neither of which is implemented. */
const DebugControlIgnored = 3n;

const constant = (index: number, name: string, value: bigint, ignoredBits: bigint | undefined): ConstantMsr => ({
  index,
  name,
  value,
  ignoredBits,
});

/** In order of their numbers. */
export const constantMsrs: readonly ConstantMsr[] = [
  constant(0x8b, 'PATCH_LEVEL', PatchLevel, ReadOnly),
  constant(0x1d9, 'DEBUGCTL', 0n, DebugControlIgnored),
  constant(0x1db, 'LAST_BRANCH_FROM', 0n, ReadOnly),
  constant(0x1dc, 'LAST_BRANCH_TO', 0n, ReadOnly),
  constant(0x1dd, 'LAST_INT_FROM', 0n, ReadOnly),
  constant(0x1de, 'LAST_INT_TO', 0n, ReadOnly),
  // Counters of the K7: they read 0 whatever is written, from which Linux sees that there are none
  constant(0xc001_0000, 'PERF_EVT_SEL0', 0n, Any),
  constant(0xc001_0001, 'PERF_EVT_SEL1', 0n, Any),
  constant(0xc001_0002, 'PERF_EVT_SEL2', 0n, Any),
  constant(0xc001_0003, 'PERF_EVT_SEL3', 0n, Any),
  constant(0xc001_0004, 'PERF_CTR0', 0n, Any),
  constant(0xc001_0005, 'PERF_CTR1', 0n, Any),
  constant(0xc001_0006, 'PERF_CTR2', 0n, Any),
  constant(0xc001_0007, 'PERF_CTR3', 0n, Any),
  constant(0xc001_0010, 'SYSCFG', 0n, ReadOnly),
  constant(0xc001_0015, 'HWCR', HwcrTscFrequency, HwcrIgnored),
  constant(0xc001_001f, 'NB_CFG', 0n, Any),
  constant(0xc001_0020, 'PATCH_LOADER', 0n, Any),
  constant(0xc001_0055, 'INT_PENDING_MSG', 0n, ReadOnly),
  constant(0xc001_0058, 'MMIO_CONF_BASE', 0n, ReadOnly),
  constant(0xc001_0112, 'TSEG_ADDR', 0n, ReadOnly),
  constant(0xc001_0113, 'TSEG_MASK', 0n, ReadOnly),
  constant(0xc001_0114, 'VM_CR', 0n, ReadOnly),
  constant(0xc001_0117, 'VM_HSAVE_PA', 0n, Any),
  constant(0xc001_1020, 'LS_CFG', 0n, Any),
  constant(0xc001_1021, 'IC_CFG', 0n, Any),
  constant(0xc001_1022, 'DC_CFG', 0n, Any),
  constant(0xc001_1029, 'DE_CFG', LfenceSerializing, Any),
  constant(0xc001_102a, 'BU_CFG2', 0n, Any),
];

const byIndex = new Map(constantMsrs.map((msr) => [msr.index, msr]));

/** RDMSR of a constant; undefined is #GP. */
export function readConstantMsr(index: number): bigint | undefined {
  return byIndex.get(index)?.value;
}

/** WRMSR of a constant; false is #GP. */
export function writeConstantMsr(index: number, value: bigint): boolean {
  const ignored = byIndex.get(index)?.ignoredBits;
  return ignored !== undefined && (value & ~ignored) === 0n;
}

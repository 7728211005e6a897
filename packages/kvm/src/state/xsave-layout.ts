/** Where XSAVE keeps what: SDM Vol. 1 "XSAVE-Managed State", standard (not compacted) format. */
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';

/** Numbers of state components: bits of XSTATE_BV. */
export const XsaveComponentNumber = { X87: 0, Sse: 1, YmmHigh: 2 } as const;

/** The legacy region, laid out as FXSAVE64 does (SDM Vol. 1 "Legacy Region of an XSAVE Area"). */
export const LegacyArea = {
  Control: 0,
  Status: 2,
  /** Abridged. */
  Tags: 4,
  LastOpcode: 6,
  LastIp: 8,
  LastDp: 16,
  Mxcsr: 24,
  MxcsrMask: 28,
  /** ST(0) to ST(7), 16 bytes each. */
  Registers: 32,
  /** XMM0 to XMM15. */
  Xmm: 160,
} as const;
export const VectorBytes = 16;
export const StackRegisters = 8;
export const VectorRegisters = 16;

/** SDM Vol. 1 "XSAVE Header". */
export const XsaveHeader = { XstateBv: 512, XcompBv: 520 } as const;

/** A component beyond the legacy region. */
export interface XsaveComponent {
  readonly number: number;
  readonly offset: number;
  readonly size: number;
}

const ExtendedStateLeaf = 0xd;
/** Subleaves 0 and 1 are about XSAVE itself. */
const FirstSubleaf = 2;
/** ECX bit 0: the component is a supervisor's, in no standard-format image. */
const SupervisorState = 1;

/** By CPUID leaf 0xD of the host, which the kernel's images follow (KVM API documentation 4.42 "KVM_GET_XSAVE"). */
export function findXsaveComponents(supported: readonly CpuidEntry[]): XsaveComponent[] {
  return supported
    .filter(({ leaf, subleaf = 0 }) => leaf === ExtendedStateLeaf && subleaf >= FirstSubleaf)
    .filter(({ eax, ecx }) => eax !== 0 && (ecx & SupervisorState) === 0)
    .map(({ subleaf = 0, eax, ebx }) => ({ number: subleaf, offset: ebx, size: eax }));
}

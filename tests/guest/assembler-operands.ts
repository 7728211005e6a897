/** Operands of the test assembler (assembler.ts): registers, memory and labels. */

export type RegisterKind = 'gpr' | 'segment' | 'control' | 'debug' | 'xmm' | 'mmx';

export interface Register {
  readonly kind: RegisterKind;
  readonly number: number;
  /** Bits. */
  readonly size: 8 | 16 | 32 | 64 | 128;
  /** AH, CH, DH, BH. */
  readonly high: boolean;
}

/** A label (resolved when the code is finished) or an absolute number. */
export type Target = string | number | bigint;

export interface Memory {
  readonly kind: 'memory';
  /** Bits of the operand, needed where no register operand tells it. */
  readonly size: number | undefined;
  readonly base: Register | undefined;
  readonly index: Register | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  /** Displacement, or a label for its address. */
  readonly displacement: Target;
  readonly segment: Register | undefined;
  /** 64-bit code: relative to the next instruction; `displacement` is the absolute target. */
  readonly ripRelative: boolean;
}

export interface MemoryParts {
  readonly size?: number;
  readonly base?: Register;
  readonly index?: Register;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly displacement?: Target;
  readonly segment?: Register;
  readonly ripRelative?: boolean;
}

/** A memory operand: `mem({ base: rax, displacement: 8 })`. */
export function mem(parts: MemoryParts): Memory {
  return {
    kind: 'memory',
    size: parts.size,
    base: parts.base,
    index: parts.index,
    scale: parts.scale ?? 1,
    displacement: parts.displacement ?? 0,
    segment: parts.segment,
    ripRelative: parts.ripRelative ?? false,
  };
}

/** Memory at an absolute address or label: `at(0x1000, 32)`. */
export function at(displacement: Target, size?: number): Memory {
  return mem(size === undefined ? { displacement } : { displacement, size });
}

const register = (kind: RegisterKind, number: number, size: Register['size'], high = false): Register => ({
  kind,
  number,
  size,
  high,
});

/** General register by number and size; with a REX prefix where the size is 8 and the number 4 to 7. */
export const gpr = (number: number, size: 8 | 16 | 32 | 64): Register => register('gpr', number, size);
export const xmm = (number: number): Register => register('xmm', number, 128);
export const mmx = (number: number): Register => register('mmx', number, 64);

export const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = Array.from(
  { length: 16 },
  (_, number) => gpr(number, 64),
) as SixteenRegisters;
export const [eax, ecx, edx, ebx, esp, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d] = Array.from(
  { length: 16 },
  (_, number) => gpr(number, 32),
) as SixteenRegisters;
export const [ax, cx, dx, bx, sp, bp, si, di] = Array.from({ length: 8 }, (_, number) => gpr(number, 16)) as Eight;
export const [al, cl, dl, bl, spl, bpl, sil, dil] = Array.from({ length: 8 }, (_, number) => gpr(number, 8)) as Eight;
export const [ah, ch, dh, bh] = Array.from({ length: 4 }, (_, number) => register('gpr', number + 4, 8, true)) as Four;
export const [es, cs, ss, ds, fs, gs] = Array.from({ length: 6 }, (_, number) => register('segment', number, 16)) as [
  ...Four,
  Register,
  Register,
];
export const cr = (number: number): Register => register('control', number, 64);
export const dr = (number: number): Register => register('debug', number, 64);

type Four = [Register, Register, Register, Register];
type Eight = [...Four, ...Four];
type SixteenRegisters = [...Eight, ...Eight];

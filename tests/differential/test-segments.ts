/**
 * Segments of the local descriptor table for cases outside of 64-bit code: limits in the middle of a window, expand-down,
 * read-only and execute-read segments at four bases.
 *
 * A process makes them by modify_ldt, the harness guest has them as descriptors.
 */
import { Window1 } from './harness-layout.ts';
import type { Mode } from './forms.ts';
import type { Random } from './random.ts';

/** Contents as modify_ldt has them: bits 2 and 3 of the type field. */
export const Contents = { Data: 0, ExpandDown: 1, Code: 2 } as const;

export interface TestSegment {
  readonly base: number;
  /** In bytes, or in pages with `pages`. */
  readonly limit: number;
  readonly contents: (typeof Contents)[keyof typeof Contents];
  /** D/B. */
  readonly big: boolean;
  readonly pages: boolean;
  /** Data: read-only. Code: not readable. */
  readonly restricted: boolean;
}

/** Nothing special; offset 0 in a window; wrap-around at 4 GiB; offset 64 Ki in a window, with wrap-around. */
const Bases = [0, Window1.start + 0x40, 0xffff_f000, 0xffff_4000] as const;
/** Linear addresses at which segments end and expand-down segments begin. */
export const Border = { Up: Window1.start + 0x300, Down: Window1.start + 0x100 } as const;

const offsetOf = (linear: number, base: number): number => (linear - base) >>> 0;

/** The segments of one base. */
function segmentsAt(base: number): TestSegment[] {
  const up = { base, limit: offsetOf(Border.Up, base) - 1, contents: Contents.Data, pages: false, restricted: false };
  const down = { ...up, limit: offsetOf(Border.Down, base) - 1, contents: Contents.ExpandDown };
  const wide = { ...up, limit: 0xf_ffff, pages: true, big: true };
  return [
    { ...up, big: false },
    { ...up, big: true },
    { ...down, big: false },
    { ...down, big: true },
    wide,
    { ...wide, restricted: true },
    { ...wide, contents: Contents.Code },
  ];
}

const PerBase = segmentsAt(0).length;
const StackSegments = 5;

/** 16-bit and 32-bit code where the cases are; the first one is {@link Selector.UserCode16}. */
const code = (base: number, limit: number, big: boolean): TestSegment => ({
  base,
  limit,
  contents: Contents.Code,
  big,
  pages: false,
  restricted: false,
});
export const CodeBase = 0x7000;

/** Entries of the table, in order. */
export const testSegments: readonly TestSegment[] = [
  code(0, 0xffff, false),
  code(CodeBase, 0xffff - CodeBase, false),
  code(CodeBase, 0xffff - CodeBase, true),
  ...Bases.flatMap(segmentsAt),
];
const FirstData = testSegments.length - Bases.length * PerBase;

const selectorOf = (index: number): number => (index << 3) | 7;

/** A descriptor (SDM Vol. 3A Figure 3-8 "Segment Descriptor"): present, accessed, DPL 3. */
export function descriptorOf(segment: TestSegment): bigint {
  const isCode = segment.contents === Contents.Code;
  const type = (segment.contents << 2) | (segment.restricted ? 0 : 2) | 1;
  const access = 0xf0 | type;
  const flags = (segment.pages ? 8 : 0) | (segment.big ? 4 : 0);
  if (isCode && type < 8) throw new Error('not a code segment');
  return (
    BigInt(segment.limit & 0xffff) |
    (BigInt(segment.base & 0xff_ffff) << 16n) |
    (BigInt(access) << 40n) |
    (BigInt((segment.limit >> 16) | (flags << 4)) << 48n) |
    (BigInt(segment.base >>> 24) << 56n)
  );
}

/** struct user_desc of modify_ldt (asm/ldt.h). */
export function userDescriptor(segment: TestSegment, index: number): readonly number[] {
  const flags =
    (segment.big ? 1 : 0) | (segment.contents << 1) | (segment.restricted ? 8 : 0) | (segment.pages ? 16 : 0);
  return [index, segment.base, segment.limit, flags];
}

/** A selector's segment in words. */
export function describeSelector(selector: number): string {
  const segment = selector & 4 ? testSegments[selector >> 3] : undefined;
  if (segment === undefined) return selector.toString(16);
  const limit = segment.pages ? segment.limit * 0x1000 + 0xfff : segment.limit;
  const kind = ['data', 'down', 'code'][segment.contents];
  const size = segment.big ? 32 : 16;
  return `${selector.toString(16)}(${kind}${size}${segment.restricted ? ' restricted' : ''} ${segment.base.toString(16)}+${limit.toString(16)})`;
}

/** The segments that a case runs with. */
export interface CaseSegments {
  /** Of all data segments. */
  readonly base: bigint;
  /** Selectors of ES, CS, SS, DS, FS. */
  readonly selectors: readonly [number, number, number, number, number];
  /** Base of CS. */
  readonly codeBase: number;
  /** Bits of the stack pointer. */
  readonly stackBits: 16 | 32;
}

/** Picks segments of one base. Code is at `codeSelector` or in a segment with a base of its own. */
export function pickSegments(random: Random, mode: Mode, codeSelector: number): CaseSegments {
  const first = FirstData + random.below(Bases.length) * PerBase;
  const data = (): number => (random.chance(3) ? 0 : selectorOf(first + random.below(PerBase)));
  const stack = first + random.below(StackSegments);
  const based = random.chance(30);
  const ownCode = selectorOf(mode === 16 ? 1 : 2);
  return {
    base: BigInt(testSegments[first]!.base),
    selectors: [data(), based ? ownCode : codeSelector, selectorOf(stack), data(), data()],
    codeBase: based ? CodeBase : 0,
    stackBits: testSegments[stack]!.big ? 32 : 16,
  };
}

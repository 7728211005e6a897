/** Makes the batches of a form: records for the harness guest, code slots, and what is not to be compared. */
import type { InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';
import { OperandMethod } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import { CaseBuilder } from './case-builder.ts';
import { CaseState, Rcx } from './case-state.ts';
import { formName, harnessOf } from './forms.ts';
import type { Form, Mode } from './forms.ts';
import {
  BatchSize,
  CaseFlags,
  Control,
  HighSize,
  InputFields,
  RecordSize,
  Selector,
  Slot,
  slotAddress,
} from './harness-layout.ts';
import { hashText, Random } from './random.ts';
import { specialCases } from './special-cases.ts';
import { pickSegments } from './test-segments.ts';
import type { CaseSegments } from './test-segments.ts';
import { Approximate, resultUndefined, undefinedConditions, undefinedFlags } from './undefined-state.ts';
import type { ValueType } from './values.ts';

/** What the comparison of one case needs to know. */
export interface CaseInfo {
  readonly index: number;
  readonly mode: Mode;
  readonly code: Uint8Array;
  readonly address: number;
  /** RFLAGS bits, and bits of the x87 status word, that are not compared. */
  readonly ignoredFlags: number;
  readonly ignoredStatus: number;
  /** The operand is accessed in parts, in an order of the processor's own: CR2 tells the page only. */
  readonly coarseCr2: boolean;
  /** Segment registers are in the output. */
  readonly savesSegments: boolean;
  readonly ignored: readonly { readonly offset: number; readonly length: number }[];
}

export interface Batch {
  readonly form: Form;
  readonly cases: readonly CaseInfo[];
  /** ST(0) and ST(1) hold results that may be rounded differently. */
  readonly approximate: boolean;
  /** Input records. */
  readonly input: Uint8Array;
  /** Contents of the code slots, from slotAddress(0) on. */
  readonly code: Uint8Array;
  /** Upper halves of vector registers, of groups that use them. */
  readonly high: Uint8Array | undefined;
}

const InParts = /^(FXSAVE|FXRSTOR|FLDENV|FNSTENV|FRSTOR|FNSAVE|VP?MASKMOV[DQP].?|VMASKMOVDQU)$/;

/** Exceptions are unmasked in so many of a hundred floating-point cases. */
const UnmaskedPercent = 18;

/** Makes all batches of a form, one after the other. `exit`: where landing pads go to. */
export function* generateBatches(form: Form, exit: number): Generator<Batch> {
  const random = new Random(hashText(formName(form)));
  for (let start = 0; start < form.cases; start += BatchSize) {
    yield generateBatch(form, start, Math.min(BatchSize, form.cases - start), random, exit);
  }
}

function generateBatch(form: Form, start: number, count: number, random: Random, exit: number): Batch {
  const input = new Uint8Array(count * RecordSize);
  const code = new Uint8Array((count + 2) * Slot.Size).fill(0xcc);
  const high = harnessOf(form.row.group) === 'avx' ? new Uint8Array(count * HighSize) : undefined;
  const cases: CaseInfo[] = [];
  for (let index = 0; index < count; index++) {
    const view = new DataView(input.buffer, index * RecordSize, RecordSize);
    const upper = high && new DataView(high.buffer, index * HighSize, HighSize);
    const info = generateCase(form, start + index, index, random, view, upper);
    cases.push(info);
    const base = index * Slot.Size;
    const writePad = (offset: number, marker: number) =>
      code.set(landingPad(form, marker, slotAddress(0) + base + offset, exit), base + offset);
    code.set(info.code, base + Slot.Instruction);
    writePad(Slot.Instruction + info.code.length, 1);
    writePad(Slot.Forward, 2);
    writePad(Slot.Backward, 3);
  }
  return { form, cases, approximate: Approximate.includes(form.row.mnemonic), input, code, high };
}

/** Notes which pad it is, and goes to the driver's exit; changes no register and no flag. */
function landingPad({ mode, segmented }: Form, marker: number, address: number, exit: number): Uint8Array {
  const little = (value: number, bytes: number) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
  if (mode === 64) {
    // MOV byte [Marker], marker; JMP exit
    const move = [0xc6, 0x04, 0x25, ...little(Control.Marker, 4), marker];
    return Uint8Array.from([...move, 0xe9, ...little(exit - (address + move.length + 5), 4)]);
  }
  // MOV byte [Marker], marker, through GS where DS is not flat; JMP FAR UserCode64:exit
  const segment = segmented ? [0x65] : [];
  const store = mode === 32 ? [0xc6, 0x05, ...little(Control.Marker, 4)] : [0xc6, 0x06, ...little(Control.Marker, 2)];
  const jump = mode === 32 ? [0xea] : [0x66, 0xea];
  const target = [...little(exit, 4), ...little(Selector.UserCode64, 2)];
  return Uint8Array.from([...segment, ...store, marker, ...jump, ...target]);
}

function generateCase(
  form: Form,
  index: number,
  slot: number,
  random: Random,
  view: DataView,
  upper?: DataView,
): CaseInfo {
  const variant = form.variants[index % form.variants.length]!;
  for (;;) {
    const own = { 64: 0, 32: Selector.UserCode32, 16: Selector.UserCode16 }[form.mode];
    const segments = form.segmented ? pickSegments(random, form.mode, own) : undefined;
    const start = slotAddress(slot) - (segments?.codeBase ?? 0);
    const places = {
      address: start + Slot.Instruction,
      forward: start + Slot.Forward,
      backward: start + Slot.Backward,
    };
    const state = new CaseState(random, view, upper);
    state.randomizeIntegers(integerBits(form.row, variant.operandSize));
    state.randomizeFx(usesFloat(form.row) ? UnmaskedPercent : 0);
    state.randomizeWindows();
    const builder = new CaseBuilder(form, variant, random, state, places, segments);
    const type = valueType(form.row, random);
    if (form.row.group === 'x87') state.fillX87();
    const { mnemonic } = form.row;
    const special = specialCases[mnemonic] ?? (upper ? specialCases[mnemonic.slice(1)] : undefined);
    special?.before?.(builder);
    builder.pickOperands(type);
    special?.after?.(builder);
    if (builder.discard) continue;
    const bits = variant.operandSize;
    const count = shiftCount(builder);
    if (resultUndefined(form.row, bits, count)) continue;
    state.finish();
    writeHeader(builder, segments?.selectors ?? [0, own, 0, 0, 0], view);
    return {
      index,
      mode: form.mode,
      code: builder.encode(),
      address: slotAddress(slot) + Slot.Instruction,
      ignoredFlags: undefinedFlags(form.row, bits, count),
      ignoredStatus: undefinedConditions(form.row),
      coarseCr2: InParts.test(form.row.mnemonic),
      savesSegments: builder.savesSegments,
      ignored: builder.ignored,
    };
  }
}

function writeHeader(builder: CaseBuilder, selectors: CaseSegments['selectors'], view: DataView): void {
  const [es, cs, ss, ds, fs] = selectors;
  view.setUint32(InputFields.Target, builder.address, true);
  view.setUint16(InputFields.Target + 4, cs, true);
  // GS is flat: landing pads store through it
  [es, ss, ds, fs, Selector.UserData].forEach((selector, index) => {
    view.setUint32(InputFields.Selectors + index * 8, selector, true);
  });
  const far = builder.mode === 64 ? 0 : CaseFlags.Far;
  const load = builder.segments === undefined ? 0 : CaseFlags.LoadSegments;
  view.setUint32(InputFields.Flags, far | load | (builder.savesSegments ? CaseFlags.Segments : 0), true);
}

/** The width whose edges general registers hold. */
function integerBits(row: InstructionRow, operandSize: number): number {
  const narrow = row.operands.find(({ registerSize, method }) => method <= OperandMethod.VexGpr && registerSize === 1);
  return narrow !== undefined ? 8 : operandSize;
}

const usesFloat = (row: InstructionRow): boolean => row.group === 'x87' || /^(sse|avx|fma|f16c)/.test(row.group);

/** What the operands of a row are. */
function valueType(row: InstructionRow, random: { pick<T>(choices: readonly T[]): T }): ValueType {
  const { mnemonic, group } = row;
  if (group === 'x87') return x87Type(row);
  if (group === 'f16c' && mnemonic === 'VCVTPH2PS') return random.pick(['i16', 'any']);
  if (group === 'mmx' || usesFloat(row)) {
    const conversion = /^V?CVTT?(PS|SS|PD|SD|PI|SI|DQ)2/.exec(mnemonic)?.[1];
    if (conversion !== undefined) return ({ PS: 'f32', SS: 'f32', PD: 'f64', SD: 'f64' } as const)[conversion] ?? 'i32';
    const notation = row.operands.map((operand) => operand.notation).join();
    if (/[VWUM](ss|ps)/.test(notation)) return 'f32';
    if (/[VWUM](sd|pd)/.test(notation)) return 'f64';
    if (row.vex && /[PS]S$/.test(mnemonic)) return 'f32';
    if (row.vex && /[PS]D$/.test(mnemonic)) return 'f64';
    const lane = ({ B: 'i8', W: 'i16', D: 'i32', Q: 'i64' } as const)[mnemonic.at(-1) ?? ''];
    return random.pick([lane ?? 'i32', lane ?? 'i8', 'any', 'i16']);
  }
  const bits = row.operands.some(({ notation }) => ['Eb', 'Xb', 'Yb', 'Ob', 'Mb'].includes(notation))
    ? 'i8'
    : undefined;
  return bits ?? random.pick(['i16', 'i32', 'i64', 'i64', 'any']);
}

function x87Type(row: InstructionRow): ValueType {
  const memory = row.operands.find(({ notation }) => notation.startsWith('M'))?.notation;
  if (memory === undefined || /^F(N|LDCW|LDENV|RSTOR)/.test(row.mnemonic)) return 'any';
  const integer = /^FI/.test(row.mnemonic);
  return ({ Mw: 'i16', Md: integer ? 'i32' : 'f32', Mq: integer ? 'i64' : 'f64', Mt: 'f80' } as const)[memory] ?? 'any';
}

/** Count of a shift or rotate, else undefined. */
function shiftCount(builder: CaseBuilder): number | undefined {
  if (builder.row.group !== 'shift') return undefined;
  const last = builder.row.operands.at(-1);
  if (last?.notation === 'CL') return Number((builder.state.gpr[Rcx] ?? 0n) & 0xffn);
  if (last?.notation === '1') return 1;
  return last?.notation === 'Ib' ? Number(builder.immediate(0) & 0xffn) : undefined;
}

/** Makes the batches of a form: records for the harness guest, code slots, and what is not to be compared. */
import type { InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';
import { OperandMethod } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import { CaseBuilder } from './case-builder.ts';
import { CaseState, Rcx } from './case-state.ts';
import { formName } from './forms.ts';
import type { Form, Mode } from './forms.ts';
import {
  BatchSize,
  CaseFlags,
  Control,
  InputFields,
  RecordSize,
  Selector,
  Slot,
  slotAddress,
} from './harness-layout.ts';
import { hashText, Random } from './random.ts';
import { specialCases } from './special-cases.ts';
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
}

const InParts = /^(FXSAVE|FXRSTOR|FLDENV|FNSTENV|FRSTOR|FNSAVE)$/;

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
  const cases: CaseInfo[] = [];
  for (let index = 0; index < count; index++) {
    const view = new DataView(input.buffer, index * RecordSize, RecordSize);
    const info = generateCase(form, start + index, index, random, view);
    cases.push(info);
    const base = index * Slot.Size;
    const writePad = (offset: number, marker: number) =>
      code.set(landingPad(form.mode, marker, slotAddress(0) + base + offset, exit), base + offset);
    code.set(info.code, base + Slot.Instruction);
    writePad(Slot.Instruction + info.code.length, 1);
    writePad(Slot.Forward, 2);
    writePad(Slot.Backward, 3);
  }
  return { form, cases, approximate: Approximate.includes(form.row.mnemonic), input, code };
}

/** Notes which pad it is, and goes to the driver's exit; changes no register and no flag. */
function landingPad(mode: Mode, marker: number, address: number, exit: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(mode === 64 ? 13 : mode === 32 ? 14 : 13));
  const bytes = new Uint8Array(view.buffer);
  if (mode === 64) {
    bytes.set([0xc6, 0x04, 0x25]); // MOV byte [Marker], marker
    view.setUint32(3, Control.Marker, true);
    bytes.set([marker, 0xe9], 7); // JMP exit
    view.setInt32(9, exit - (address + 13), true);
    return bytes;
  }
  const far = mode === 32 ? 7 : 5;
  bytes.set([0xc6, mode === 32 ? 0x05 : 0x06]);
  view.setUint16(2, Control.Marker, true);
  bytes.set(mode === 32 ? [marker, 0xea] : [marker, 0x66, 0xea], far - 1); // JMP FAR UserCode64:exit
  const offset = mode === 32 ? far + 1 : far + 2;
  view.setUint32(offset, exit, true);
  view.setUint16(offset + 4, Selector.UserCode64, true);
  return bytes;
}

function generateCase(form: Form, index: number, slot: number, random: Random, view: DataView): CaseInfo {
  const variant = form.variants[index % form.variants.length]!;
  const places = {
    address: slotAddress(slot) + Slot.Instruction,
    forward: slotAddress(slot) + Slot.Forward,
    backward: slotAddress(slot) + Slot.Backward,
  };
  for (;;) {
    const state = new CaseState(random, view);
    state.randomizeIntegers(integerBits(form.row, variant.operandSize));
    state.randomizeFx(usesFloat(form.row) ? UnmaskedPercent : 0);
    state.randomizeWindows();
    const builder = new CaseBuilder(form, variant, random, state, places);
    const type = valueType(form.row, random);
    if (form.row.group === 'x87') state.fillX87();
    const special = specialCases[form.row.mnemonic];
    special?.before?.(builder);
    builder.pickOperands(type);
    special?.after?.(builder);
    if (builder.discard) continue;
    const bits = variant.operandSize;
    const count = shiftCount(builder);
    if (resultUndefined(form.row, bits, count)) continue;
    state.finish();
    writeHeader(builder, view);
    return {
      index,
      mode: form.mode,
      code: builder.encode(),
      address: places.address,
      ignoredFlags: undefinedFlags(form.row, bits, count),
      ignoredStatus: undefinedConditions(form.row),
      coarseCr2: InParts.test(form.row.mnemonic),
      savesSegments: builder.savesSegments,
      ignored: builder.ignored,
    };
  }
}

function writeHeader(builder: CaseBuilder, view: DataView): void {
  const selector = { 64: 0, 32: Selector.UserCode32, 16: Selector.UserCode16 }[builder.mode];
  view.setUint32(InputFields.Target, builder.address, true);
  view.setUint16(InputFields.Target + 4, selector, true);
  const flags = (builder.mode === 64 ? 0 : CaseFlags.Far) | (builder.savesSegments ? CaseFlags.Segments : 0);
  view.setUint32(InputFields.Flags, flags, true);
}

/** The width whose edges general registers hold. */
function integerBits(row: InstructionRow, operandSize: number): number {
  const narrow = row.operands.find(({ registerSize, method }) => method <= OperandMethod.VexGpr && registerSize === 1);
  return narrow !== undefined ? 8 : operandSize;
}

const usesFloat = (row: InstructionRow): boolean => row.group === 'x87' || /^sse/.test(row.group);

/** What the operands of a row are. */
function valueType(row: InstructionRow, random: { pick<T>(choices: readonly T[]): T }): ValueType {
  const { mnemonic, group } = row;
  if (group === 'x87') return x87Type(row);
  if (group === 'mmx' || group.startsWith('sse')) {
    const conversion = /^CVTT?(PS|SS|PD|SD|PI|SI|DQ)2/.exec(mnemonic)?.[1];
    if (conversion !== undefined) return ({ PS: 'f32', SS: 'f32', PD: 'f64', SD: 'f64' } as const)[conversion] ?? 'i32';
    const notation = row.operands.map((operand) => operand.notation).join();
    if (/[VWUM](ss|ps)/.test(notation)) return 'f32';
    if (/[VWUM](sd|pd)/.test(notation)) return 'f64';
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

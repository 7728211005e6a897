/**
 * Lowering: guest bytes to blocks of records.
 *
 * A block starts where execution enters and runs to an unconditional transfer, the page's end or the size limit;
 * conditional branches fall through inside it. An instruction that straddles two pages is a block of its own.
 */
import type { DecodedInstruction, DecodedOperand, Decoder } from '../../../x86/decode/decoder.ts';
import { OperandKind, RegisterClass, SegmentRegister, createDecodedInstruction } from '../../../x86/decode/decoder.ts';
import { allRows } from '../../../x86/instructions/table/rows.ts';
import { BlockHeader, BlockHeaderSize, ModeKey } from '../softmmu/block-header.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';
import type { AddressForm } from './address-operations.ts';
import { BranchFlag, FixedHandler, blockBucket } from './core-module.ts';
import { Cpu, SegmentField, gprOffset, segmentOffset, x87Offset, xmmOffset } from './cpu-layout.ts';
import { formNumber, formOf, isStringRow } from '../emit/form.ts';
import type { HandlerTable } from './handler-table.ts';
import { Record, RecordSize, SegmentShift, StackOperand } from './record.ts';

const Rsp = 4;

/** Most instructions in a block: Record.Count has 8 bits. */
const MaxBlockInstructions = 96;

/** Mnemonics after which control never reaches the next instruction, or RIP and mode may have changed. */
const BlockEnds = new Set([
  'JMP', 'JMPF', 'CALL', 'CALLF', 'RET', 'RETF', 'IRET', 'SYSCALL', 'SYSRET', 'SYSENTER', 'SYSEXIT', 'INT', 'INT3',
  'INT1', 'UD0', 'UD1', 'UD2', 'HLT', 'RSM', 'WRMSR', 'LMSW', 'INVLPG', 'XSETBV',
]); // prettier-ignore

export interface LoweringTarget {
  readonly buffer: ArrayBufferLike;
  readonly layout: VmLayout;
  readonly handlers: HandlerTable;
  readonly decoder: Decoder;
}

/** What a block is decoded for. */
export interface BlockRequest {
  readonly vcpu: number;
  readonly cpu: number;
  /** Host address of the first byte. */
  readonly host: number;
  readonly physical: number;
  readonly key: number;
  /** Bytes from the first one to the code segment's limit. */
  readonly room: number;
  /**
   * Host address of the page after the first one in linear order, or 0 with a fault recorded: asked only when an
   * instruction straddles the boundary.
   */
  nextPage(): number;
}

/** Why no block could be made: the vector to raise, or a fault that is recorded already. */
export type LoweringFault = { readonly vector: number } | 'recorded' | 'arena-full';

export class Lowering {
  readonly #target: LoweringTarget;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #straddle = new Uint8Array(32);
  readonly #arenaNext: number[];
  readonly #instruction: DecodedInstruction = createDecodedInstruction(allRows[0]!);
  /** Handler numbers by form number. */
  readonly #handlers = new Map<number, number>();

  constructor(target: LoweringTarget) {
    this.#target = target;
    this.#bytes = new Uint8Array(target.buffer);
    this.#view = new DataView(target.buffer);
    this.#words = new Int32Array(target.buffer);
    this.#arenaNext = target.layout.arena.map(({ start }) => start);
  }

  /** Forgets all blocks of a vCPU; the caller clears hash and page lists. */
  reset(vcpu: number): void {
    this.#arenaNext[vcpu] = this.#target.layout.arena[vcpu]!.start;
  }

  /** Decodes a block and enters it into the vCPU's hash and page list: its first record, or why there is none. */
  lower(request: BlockRequest): number | LoweringFault {
    const { vcpu } = request;
    const arena = this.#target.layout.arena[vcpu]!;
    const header = this.#arenaNext[vcpu]!;
    const room = BlockHeaderSize + (2 * MaxBlockInstructions + 4) * RecordSize;
    if (header + room > arena.end) return 'arena-full';
    const first = header + BlockHeaderSize;
    this.#clear(header, BlockHeaderSize);
    const emitted = this.#decodeRun(request, first);
    if (typeof emitted !== 'number') return emitted;
    this.#arenaNext[vcpu] = emitted;
    this.#enter(request, header, first, (emitted - first) / RecordSize);
    return first;
  }

  /** Zeroes a record, or `bytes` bytes. */
  #clear(at: number, bytes = RecordSize): void {
    const words = this.#words;
    for (let i = at >> 2; i < (at + bytes) >> 2; i++) words[i] = 0;
  }

  #secondPage = 0;

  /** Emits records from `at`; answers the address after the last one. */
  #decodeRun(request: BlockRequest, first: number): number | LoweringFault {
    const { host, key } = request;
    const codeSize = key & ModeKey.CodeMask ? (key & ModeKey.Code64 ? 64 : 32) : 16;
    const pageOffset = host & 4095;
    const pageStart = host - pageOffset;
    const limit = key & ModeKey.Step ? 1 : MaxBlockInstructions;
    const end = Math.min(4096, pageOffset + request.room);
    let at = first;
    let offset = pageOffset;
    let count = 0;
    let shadow = false;
    this.#secondPage = 0;
    while (count < limit && offset < end) {
      const status = this.#target.decoder.decode(
        this.#bytes,
        pageStart + offset,
        pageStart + end,
        codeSize,
        this.#instruction,
      );
      if (status === 'need-more') {
        if (count > 0) break;
        if (end < 4096) return { vector: 13 };
        const straddling = this.#decodeStraddling(request, pageStart + offset, codeSize);
        if (straddling !== 'ok') return straddling;
      } else if (status !== 'ok') {
        if (count > 0) break;
        return { vector: status === 'invalid' ? 6 : 13 };
      }
      const emitted = this.#emit(at, offset, count + 1, key);
      if (emitted === undefined) {
        if (count > 0) break;
        return { vector: 6 };
      }
      at = emitted;
      count++;
      offset += this.#instruction.length;
      const { mnemonic } = this.#instruction.row;
      if (shadow) {
        this.#fixed(at, FixedHandler.ShadowEnd, offset, count);
        at += RecordSize;
      }
      shadow = mnemonic === 'STI';
      if (BlockEnds.has(mnemonic)) return at;
    }
    this.#fixed(at, FixedHandler.End, offset, count);
    this.#view.setBigInt64(at + Record.Immediate, BigInt(offset), true);
    if (offset < 4096) this.#bytes[at + Record.Extra] = BranchFlag.SamePage;
    return at + RecordSize;
  }

  #fixed(at: number, handler: number, offset: number, count: number): void {
    this.#clear(at);
    this.#view.setUint16(at + Record.Handler, handler, true);
    this.#view.setUint16(at + Record.Offset, offset, true);
    this.#bytes[at + Record.Count] = count;
  }

  /** The one instruction of a block whose bytes end in the next page. */
  #decodeStraddling(request: BlockRequest, host: number, codeSize: 16 | 32 | 64): 'ok' | LoweringFault {
    const next = request.nextPage();
    if (next === 0) return 'recorded';
    const inFirst = 4096 - (host & 4095);
    this.#straddle.set(this.#bytes.subarray(host, host + inFirst), 0);
    this.#straddle.set(this.#bytes.subarray(next, next + 16), inFirst);
    const status = this.#target.decoder.decode(
      this.#straddle,
      0,
      Math.min(inFirst + 15, request.room),
      codeSize,
      this.#instruction,
    );
    if (status !== 'ok') return { vector: status === 'invalid' ? 6 : 13 };
    this.#secondPage = (next - this.#target.layout.ram) / 4096 + 1;
    return 'ok';
  }

  /** Emits the records of the decoded instruction; undefined when nothing implements it. */
  #emit(at: number, offset: number, count: number, key: number): number | undefined {
    const instruction = this.#instruction;
    const handler = this.#form(instruction, (key & ModeKey.Stack32) !== 0);
    if (handler === undefined) return undefined;
    let record = at;
    if (!isStringRow(instruction)) {
      for (let i = 0; i < instruction.operandCount; i++) {
        const operand = instruction.operands[i]!;
        if (operand.kind === OperandKind.Memory && !this.#isSimple(instruction, operand)) {
          this.#emitAddressOperation(record, offset, count, instruction, operand);
          record += RecordSize;
        }
      }
    }
    this.#common(record, offset, count);
    this.#view.setUint16(record + Record.Handler, handler, true);
    if (!isStringRow(instruction)) this.#operands(record, offset, instruction, record !== at);
    if (instruction.row.group === 'x87')
      this.#immediate(record, ((instruction.opcode & 7) << 8) | instruction.modrm, 0);
    return record + RecordSize;
  }

  /** The instruction's form with its handler, remembered by form number. */
  #form(instruction: DecodedInstruction, stack32: boolean): number | undefined {
    const number = formNumber(instruction, stack32);
    let handler = this.#handlers.get(number);
    if (handler === undefined) {
      handler = this.#target.handlers.handlerOf(formOf(instruction, stack32));
      if (handler !== undefined) this.#handlers.set(number, handler);
    }
    return handler;
  }

  #common(record: number, offset: number, count: number): void {
    this.#clear(record);
    const view = this.#view;
    this.#bytes[record + Record.Length] = this.#instruction.length;
    this.#bytes[record + Record.Count] = count;
    view.setUint16(record + Record.Offset, offset, true);
    view.setUint16(record + Record.Base, Cpu.Zero, true);
    view.setUint16(record + Record.Index, Cpu.Zero, true);
  }

  /** Whether the record's own base + index * scale + disp32 holds the address. */
  #isSimple(instruction: DecodedInstruction, operand: DecodedOperand): boolean {
    if (instruction.codeSize !== 64 || instruction.addressSize !== 64) return false;
    const unbased = instruction.row.mnemonic === 'LEA' || operand.vectorIndex;
    const based = !unbased && operand.segment >= 4;
    if (based && operand.index >= 0) return false;
    if (operand.ripRelative) return Math.abs(operand.low) < 0x7fff_0000;
    return operand.high === operand.low >> 31;
  }

  #emitAddressOperation(
    record: number,
    offset: number,
    count: number,
    instruction: DecodedInstruction,
    operand: DecodedOperand,
  ): void {
    const unbased = instruction.row.mnemonic === 'LEA' || operand.vectorIndex;
    const based = instruction.codeSize === 64 && operand.segment >= 4 && !unbased;
    const form: AddressForm = { addressWidth: instruction.addressSize, segment: based ? operand.segment : -1 };
    this.#common(record, offset, count);
    const view = this.#view;
    view.setUint16(record + Record.Handler, this.#target.handlers.addressHandler(form), true);
    let displacement = (BigInt(operand.high) << 32n) | BigInt(operand.low >>> 0);
    if (operand.ripRelative) {
      view.setUint16(record + Record.Base, Cpu.RipPage, true);
      displacement += BigInt(offset + instruction.length);
    } else if (operand.base >= 0) view.setUint16(record + Record.Base, gprOffset(operand.base), true);
    if (operand.index >= 0 && !operand.vectorIndex) {
      view.setUint16(record + Record.Index, gprOffset(operand.index), true);
      this.#bytes[record + Record.Scale] = operand.scale;
    }
    // POP's address through RSP is the one after the increment
    if (instruction.row.mnemonic === 'POP' && operand.base === Rsp) displacement += BigInt(operand.size);
    view.setBigInt64(record + Record.Immediate, displacement, true);
  }

  #operands(record: number, offset: number, instruction: DecodedInstruction, computed: boolean): void {
    const pointers = [Record.Pointer1, Record.Pointer2, Record.Pointer3, Record.Pointer4];
    for (let i = 0; i < instruction.operandCount; i++) {
      const operand = instruction.operands[i]!;
      switch (operand.kind) {
        case OperandKind.Register:
          this.#view.setUint32(record + pointers[i]!, this.#registerPointer(operand), true);
          break;
        case OperandKind.Memory:
          if (operand.segment === SegmentRegister.Ss) this.#bytes[record + Record.Length]! |= StackOperand;
          this.#bytes[record + Record.Length]! |= operand.segment << SegmentShift;
          if (operand.vectorIndex) this.#vectorIndex(record, operand);
          if (computed) this.#view.setUint16(record + Record.Base, Cpu.EffectiveAddress, true);
          else this.#simpleMemory(record, offset, instruction, operand);
          break;
        case OperandKind.Relative:
          this.#relative(record, offset, instruction, operand);
          break;
        case OperandKind.FarPointer:
          this.#immediate(record, operand.low, operand.selector);
          break;
        default:
          if (instruction.row.mnemonic === 'ENTER' && i === 1) {
            this.#view.setInt32(record + Record.Immediate + 4, operand.low, true);
          } else if (i === 3) {
            this.#view.setInt32(record + Record.Pointer4, operand.low, true);
          } else {
            this.#immediate(record, operand.low, operand.high);
            if (i === 1) this.#view.setUint32(record + Record.Pointer2, record + Record.Immediate, true);
          }
      }
    }
  }

  #immediate(record: number, low: number, high: number): void {
    this.#view.setInt32(record + Record.Immediate, low, true);
    this.#view.setInt32(record + Record.Immediate + 4, high, true);
  }

  #cpu = 0;

  /** Sets the vCPU whose state block register pointers name. */
  bind(cpu: number): void {
    this.#cpu = cpu;
  }

  #registerPointer(operand: DecodedOperand): number {
    switch (operand.registerClass) {
      case RegisterClass.Gpr:
        return this.#cpu + gprOffset(operand.register) + (operand.highByte ? 1 : 0);
      case RegisterClass.Xmm:
        return this.#cpu + xmmOffset(operand.register);
      case RegisterClass.Mmx:
        return this.#cpu + x87Offset(operand.register);
      default:
        return 0;
    }
  }

  /** A vector of indices is no part of the address: the record names its register. */
  #vectorIndex(record: number, operand: DecodedOperand): void {
    this.#view.setUint16(record + Record.Index, xmmOffset(operand.index), true);
    this.#bytes[record + Record.Scale] = operand.scale;
  }

  #simpleMemory(record: number, offset: number, instruction: DecodedInstruction, operand: DecodedOperand): void {
    const view = this.#view;
    let displacement = operand.low;
    if (operand.ripRelative) {
      view.setUint16(record + Record.Base, Cpu.RipPage, true);
      displacement += offset + instruction.length;
    } else if (operand.base >= 0) view.setUint16(record + Record.Base, gprOffset(operand.base), true);
    if (operand.vectorIndex) {
      // #vectorIndex
    } else if (operand.index >= 0) {
      view.setUint16(record + Record.Index, gprOffset(operand.index), true);
      this.#bytes[record + Record.Scale] = operand.scale;
    } else if (operand.segment >= 4 && instruction.row.mnemonic !== 'LEA') {
      view.setUint16(record + Record.Index, segmentOffset(operand.segment) + SegmentField.Base, true);
    }
    view.setInt32(record + Record.Displacement, displacement, true);
  }

  #relative(record: number, offset: number, instruction: DecodedInstruction, operand: DecodedOperand): void {
    const target = offset + instruction.length + operand.low;
    this.#view.setBigInt64(record + Record.Immediate, BigInt(target), true);
    if (target >= 0 && target < 4096 && instruction.operandSize !== 16) {
      this.#bytes[record + Record.Extra] = BranchFlag.SamePage;
    }
  }

  /** Links the block into its hash bucket and page lists and marks its code lines. */
  #enter(request: BlockRequest, header: number, first: number, records: number): void {
    const { vcpu, host, physical, key } = request;
    const view = this.#view;
    const { layout } = this.#target;
    view.setBigInt64(header + BlockHeader.Physical, BigInt(physical), true);
    view.setUint32(header + BlockHeader.Key, key, true);
    view.setUint32(header + BlockHeader.Records, records, true);
    view.setUint32(header + BlockHeader.SecondPage, this.#secondPage, true);
    const bucket = layout.blockHash[vcpu]! + blockBucket(physical | 0, key);
    view.setUint32(header + BlockHeader.NextInBucket, view.getUint32(bucket, true), true);
    view.setUint32(bucket, first, true);
    const page = (host - layout.ram) >>> 12;
    view.setUint32(header + BlockHeader.Page, page, true);
    const list = layout.pageBlocks[vcpu]! + page * 4;
    view.setUint32(header + BlockHeader.NextInPage, view.getUint32(list, true), true);
    view.setUint32(list, first, true);
    const last = view.getUint16(first + (records - 1) * RecordSize + Record.Offset, true);
    const lastLength = this.#bytes[first + (records - 1) * RecordSize + Record.Length]! & 15;
    const end = Math.min(last + Math.max(lastLength, 1), 4096);
    this.markLines(page, host & 4095, end);
    if (this.#secondPage) {
      const second = layout.pageBlocks[vcpu]! + (this.#secondPage - 1) * 4;
      view.setUint32(header + BlockHeader.NextInSecondPage, view.getUint32(second, true), true);
      view.setUint32(second, first, true);
      this.markLines(this.#secondPage - 1, 0, 16);
    }
  }

  /** Notes that bytes of a RAM page are code: writes to them are seen from now on. */
  markLines(page: number, start: number, end: number): void {
    const at = this.#target.layout.codeLines + page * 8;
    let low = this.#view.getUint32(at, true);
    let high = this.#view.getUint32(at + 4, true);
    const fresh = (low | high) === 0;
    for (let line = start >> 6; line <= (end - 1) >> 6; line++) {
      if (line < 32) low |= 1 << line;
      else high |= 1 << (line - 32);
    }
    this.#view.setUint32(at, low >>> 0, true);
    this.#view.setUint32(at + 4, high >>> 0, true);
    if (fresh) this.onCodePage(page);
  }

  /** Called with a RAM page index when a page gets its first code: writes to it must be seen from now on. */
  onCodePage: (page: number) => void = () => {};
}

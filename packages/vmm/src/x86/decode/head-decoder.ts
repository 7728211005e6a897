/**
 * First half of the decoder: prefixes, opcode and ModRM byte to a row of the instruction table (SDM Vol. 2A §2.1
 * "Instruction Format for Protected Mode, Real-Address Mode, and Virtual-8086 Mode", §2.2 "IA-32e Mode").
 */
import { RowPrefix } from '../instructions/table/notation.ts';
import type { InstructionRow } from '../instructions/table/notation.ts';
import { allRows } from '../instructions/table/rows.ts';
import { SegmentRegister } from './decoded-instruction.ts';
import type { CodeSize } from './decoded-instruction.ts';
import { cellIndex, leafIndex, RegisterSlots, slotIndex, TableSet, vexMap } from './dispatch.ts';
import type { DispatchTables } from './dispatch.ts';

/**
 * ok; need-more: the bytes ended inside the instruction; invalid: #UD; too-long: more than 15 bytes, #GP(0).
 * What is left in the record is meaningful only after ok.
 */
export type DecodeStatus = 'ok' | 'need-more' | 'invalid' | 'too-long';

const MaxLength = 15;

/** REX bits (SDM Vol. 2A §2.2.1.2 "More on REX Prefix Fields"). */
export const Rex = { B: 1, X: 2, R: 4, W: 8 } as const;

/** What a byte is before the opcode. */
const ByteRole = { Opcode: 0, Segment: 1, OperandSize: 2, AddressSize: 3, Lock: 4, Repeat: 5, Rex: 6 } as const;

function byteRoles(long: boolean): Uint8Array {
  const roles = new Uint8Array(256);
  for (const prefix of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) roles[prefix] = ByteRole.Segment;
  roles[0x66] = ByteRole.OperandSize;
  roles[0x67] = ByteRole.AddressSize;
  roles[0xf0] = ByteRole.Lock;
  roles[0xf2] = roles[0xf3] = ByteRole.Repeat;
  if (long) roles.fill(ByteRole.Rex, 0x40, 0x50);
  return roles;
}

const LegacyRoles = byteRoles(false);
const LongRoles = byteRoles(true);

/** State of the instruction that is being decoded, and the way to its row. */
export class HeadDecoder {
  protected readonly tables: DispatchTables;

  protected bytes: Uint8Array = new Uint8Array(0);
  protected limit = 0;
  protected limitIsLength = false;
  protected repeat: 0 | 0xf2 | 0xf3 = 0;
  protected rexPresent = false;
  protected position = 0;
  protected status: DecodeStatus = 'ok';

  // Prefixes. After a VEX prefix `rex` has its W, R, X, B and `vexRegister` the vvvv field until an operand takes it.
  protected codeSize: CodeSize = 32;
  protected operandPrefix = false;
  protected addressPrefix = false;
  protected lock = false;
  protected segment = -1;
  protected rex = 0;
  protected vexRegister = -1;
  protected vexL: 0 | 1 = 0;

  protected opcode = 0;
  /** ModRM byte, or -1. */
  protected modrm = -1;

  constructor(tables: DispatchTables) {
    this.tables = tables;
  }

  protected start(bytes: Uint8Array, position: number, end: number, codeSize: CodeSize): void {
    this.bytes = bytes;
    this.position = position;
    this.limitIsLength = end - position >= MaxLength;
    this.limit = this.limitIsLength ? position + MaxLength : end;
    this.status = 'ok';
    this.codeSize = codeSize;
  }

  /** Prefixes, opcode and ModRM byte; undefined with `status` set when there is no row. */
  protected decodeRow(): InstructionRow | undefined {
    const first = this.scanPrefixes();
    if (first < 0) return undefined;
    let map: number = 0;
    let opcode = first;
    let prefixState: number =
      this.repeat !== 0 ? (this.repeat === 0xf3 ? RowPrefix.PF3 : RowPrefix.PF2) : RowPrefix.None;
    if (prefixState === RowPrefix.None && this.operandPrefix) prefixState = RowPrefix.P66;
    this.vexRegister = -1;
    this.vexL = 0;
    if (first === 0x0f) {
      opcode = this.fetch();
      map = 1;
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.fetch();
      }
    } else if ((first & 0xfe) === 0xc4 && this.isVex()) {
      const vex = this.decodeVex(first);
      if (vex < 0) return undefined;
      map = vex >> 2;
      prefixState = vex & 3;
      opcode = this.fetch();
    }
    if (this.status !== 'ok') return undefined;
    this.opcode = opcode;
    return this.lookUp(map, opcode, prefixState);
  }

  protected lookUp(map: number, opcode: number, prefixState: number): InstructionRow | undefined {
    const { hasModrm, leaves, slots, exchange } = this.tables;
    let set: number = TableSet.Legacy;
    if (this.codeSize === 64) set = (this.rex & Rex.W) !== 0 ? TableSet.LongRexW : TableSet.Long;
    const cell = cellIndex(set, map, opcode);
    let found = leaves[leafIndex(cell, prefixState)]!;
    this.modrm = -1;
    if (found === 0) return this.fail('invalid');
    if (hasModrm[cell] !== 0) {
      const modrm = this.fetch();
      if (this.status !== 'ok') return undefined;
      this.modrm = modrm;
      if (found < 0) {
        found = slots[slotIndex(-found - 1, modrm >= 0xc0 ? RegisterSlots + (modrm & 0x3f) : (modrm >> 3) & 7)]!;
        if (found === 0) return this.fail('invalid');
      }
    }
    const row = allRows[found - 1]!;
    return row.noRexB && (this.rex & Rex.B) !== 0 ? exchange : row;
  }

  protected fail(status: DecodeStatus): undefined {
    this.status = status;
    return undefined;
  }

  /** The next byte; on the end of the bytes 0, with `status` set. */
  protected fetch(): number {
    if (this.position >= this.limit) {
      if (this.status === 'ok') this.status = this.limitIsLength ? 'too-long' : 'need-more';
      return 0;
    }
    return this.bytes[this.position++]!;
  }

  protected fetch16(): number {
    const low = this.fetch();
    return low | (this.fetch() << 8);
  }

  protected fetch32(): number {
    const low = this.fetch16();
    return low | (this.fetch16() << 16);
  }

  /** Reads prefixes; returns the first byte that is none, or -1. */
  protected scanPrefixes(): number {
    const roles = this.codeSize === 64 ? LongRoles : LegacyRoles;
    this.operandPrefix = false;
    this.addressPrefix = false;
    this.lock = false;
    this.repeat = 0;
    this.segment = -1;
    let rex = 0;
    for (;;) {
      const byte = this.fetch();
      if (this.status !== 'ok') return -1;
      const role = roles[byte];
      if (role === ByteRole.Opcode) {
        this.rex = rex;
        this.rexPresent = rex !== 0;
        return byte;
      }
      if (role === ByteRole.Rex) {
        rex = byte;
        continue;
      }
      // A REX prefix that is not directly before the opcode has no effect.
      rex = 0;
      if (role === ByteRole.OperandSize) this.operandPrefix = true;
      else if (role === ByteRole.AddressSize) this.addressPrefix = true;
      else if (role === ByteRole.Lock) this.lock = true;
      else if (role === ByteRole.Repeat) this.repeat = byte === 0xf2 ? 0xf2 : 0xf3;
      else this.setSegment(byte);
    }
  }

  /** In 64-bit mode only FS and GS override; the other prefixes are ignored (APM Vol. 3 §1.2.4). */
  protected setSegment(prefix: number): void {
    if (prefix >= 0x64) this.segment = prefix === 0x64 ? SegmentRegister.Fs : SegmentRegister.Gs;
    else if (this.codeSize !== 64) this.segment = (prefix >> 3) & 3;
  }

  /** Outside of 64-bit mode C4 and C5 are LES and LDS unless a register form follows, which those do not have. */
  protected isVex(): boolean {
    if (this.codeSize === 64) return true;
    return this.position < this.limit && this.bytes[this.position]! >= 0xc0;
  }

  /** Rest of a VEX prefix (SDM Vol. 2A §2.3.5 "The VEX Prefix"): map and prefix state, or -1 with `status` set. */
  protected decodeVex(first: number): number {
    if (this.rexPresent || this.operandPrefix || this.repeat !== 0 || this.lock) {
      this.status = 'invalid';
      return -1;
    }
    let byte = this.fetch();
    let map = 1;
    let rex = (byte & 0x80) === 0 ? Rex.R : 0;
    if (first === 0xc4) {
      rex |= (~byte >> 5) & (Rex.X | Rex.B);
      map = byte & 0x1f;
      byte = this.fetch();
      rex |= (byte & 0x80) >> 4;
    }
    if (this.status !== 'ok') return -1;
    if (map < 1 || map > 3) {
      this.status = 'invalid';
      return -1;
    }
    const long = this.codeSize === 64;
    this.rex = long ? rex : 0;
    this.rexPresent = true;
    this.vexRegister = (~byte >> 3) & 15;
    this.vexL = ((byte >> 2) & 1) as 0 | 1;
    return (
      (vexMap(map, this.vexL, (rex & Rex.W) >> 3) << 2) | (((byte & 3) === 2 ? RowPrefix.PF3 : byte & 3) as number)
    );
  }
}

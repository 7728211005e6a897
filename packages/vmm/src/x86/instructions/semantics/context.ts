/**
 * What an instruction's semantic is written against.
 *
 * A semantic is a function that emits the wasm of one instruction form: once with operands read from a decoded record
 * (interpreter handler), once with operands known (translator). Everything about the form (sizes, operand kinds, mode)
 * is static while emitting; everything else is a wasm value.
 *
 * Precise faults: all memory accesses that can fault come before the first architectural change, except that a write
 * whose page was already probed by `readModify` of the same operand does not fault.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import type { F32, F64, I32, I32Like, I64, I64Like, Local, V128, Value } from '../../../engine/wasm/encoder/values.ts';

export type Width = 8 | 16 | 32 | 64;

/** Letter and size of an operand form: what the handler is specialised for. */
export type OperandKind =
  /** general register; immediates of operand 1 come as this kind as well */
  | 'gpr'
  | 'xmm'
  | 'mmx'
  | 'memory'
  /** memory at a vector of indices: `effective` is base and displacement without them */
  | 'vector-memory'
  | 'immediate'
  /** `index` is static */
  | 'segment'
  | 'control'
  | 'debug'
  | 'st'
  | 'relative'
  | 'far';

/** Accesses of the stack segment to addresses that are not canonical raise #SS. As a value: Access.Stack or 0. */
export type StackAccess = boolean | I32;

/** Both halves of 256 bits. */
export interface V256 {
  readonly low: Local<V128>;
  readonly high: Local<V128>;
}

export interface Operand {
  readonly kind: OperandKind;
  /** Size in bits of the operand as the table says. */
  readonly bits: number;
  /** Static register number of segment, control, debug and st operands; -1 otherwise. */
  readonly index: number;

  /** An immediate's value, sign-extended, where it is known while emitting. */
  readonly constant?: bigint;
  /** Integer value, sign-extended from `width` (default: bits) to 64. May fault for memory. Evaluate once: `let` inside. */
  read(width?: Width): Local<I64>;
  /** The same, zero-extended. */
  readUnsigned(width?: Width): Local<I64>;
  /** Like `read`, for an operand that is written later in the same instruction: write access is checked first. */
  readModify(width?: Width): Local<I64>;
  /** Writes the low `width` bits. A 32-bit general register write clears the upper half; 8 and 16 keep the rest. */
  write(value: I64, width?: Width): void;

  /** xmm or memory. Memory of less than 16 bytes is zero-extended. (mmx: `read` and `writePointer`.) */
  readV128(): Local<V128>;
  writeV128(value: V128): void;
  /** ymm or memory of 32 bytes. */
  readV256(): V256;
  /** Of a register all 256 bits; memory: 32 bytes. */
  writeV256(low: V128, high: V128): void;
  /** vector-memory only: the index register, and by how much each index is shifted left. */
  indices(): V256 & { readonly scale: I64 };
  readF64(): Local<F64>;
  readF32(): Local<F32>;
  /** Writes the low lane only: xmm registers keep the rest. */
  writeF64(value: F64): void;
  writeF32(value: F32): void;
  /** Low 64 (or 32) bits of an xmm register with the rest cleared; memory: just the bytes. */
  writeLowZeroing(value: I64, width: 32 | 64): void;
  /** 80-bit and other wide memory: host pointer to `bytes` readable bytes (a copy when the access is not plain RAM). May fault. */
  readPointer(bytes: number): Local<I32>;
  /** Probes for writing `bytes` bytes; `commit` copies from the returned pointer's bytes when it was a bounce buffer. May fault. */
  writePointer(bytes: number): { pointer: Local<I32>; commit(): void };
  /** memory only: raises #GP(0) when the linear address is not a multiple of `bytes` (a power of two). */
  requireAligned(bytes: number): void;
  /** memory only: for accesses to parts of the operand by linear address, whether they are of the stack segment. */
  readonly stack: StackAccess;
  /**
   * memory only: the linear address of `bytes` bytes at `offset` from the operand's start, with segment checks of their own
   * outside of 64-bit code. For instructions that address parts of their operand or what lies beside it (form.ts). `wraps`:
   * offsets beyond the address size start again at zero; otherwise they are inside of one operand.
   */
  part(offset: I64Like, bytes: number, write: boolean, wraps?: boolean): Local<I64>;
  /** memory only: the linear address (segment base included); outside of 64-bit code with the segment checks of an access. */
  linear(write?: boolean): Local<I64>;
  /** memory only: the linear address without segment checks. */
  uncheckedLinear(): Local<I64>;
  /** memory only: the selector of its segment. */
  selector(): I32;
  /** memory only: the offset (no segment base), truncated to the address size: LEA */
  effective(): Local<I64>;
}

export interface FlagsWriter {
  /** r = a + b; all sign-extended from the operand width. */
  add(a: I64, b: I64, r: I64): void;
  /** r = a - b */
  sub(a: I64, b: I64, r: I64): void;
  /** r = a + 1, CF stays */
  increment(a: I64, r: I64): void;
  /** r = a - 1, CF stays */
  decrement(a: I64, r: I64): void;
  /** CF = OF = AF = 0 */
  logic(r: I64): void;
  /** Only what is named changes. `result` (sign-extended) sets ZF, SF and PF and clears AF unless `adjust` is given. 0/1 conditions otherwise. */
  assign(change: { result?: I64; carry?: I32; overflow?: I32; adjust?: I32 }): void;
  /** Arithmetic flags from an RFLAGS image (bits CF PF AF ZF SF OF). */
  load(rflags: I32): void;
  /** Arithmetic flags as an RFLAGS image (only those six bits). */
  image(): Local<I32>;
  carry(): I32;
  zero(): I32;
  sign(): I32;
  overflow(): I32;
  parity(): I32;
  /** Condition code 0 to 15 as in Jcc/SETcc/CMOVcc: 0 or 1. */
  condition(code: number): I32;
}

/** Static description of the form. */
export interface Form {
  readonly mnemonic: string;
  /** Effective operand size in bits. */
  readonly width: Width;
  readonly addressWidth: 16 | 32 | 64;
  /** Size of code: 64 is long mode proper. */
  readonly codeSize: 16 | 32 | 64;
  /** Stack address size: 64 in 64-bit code, else SS.B. */
  readonly stackWidth: 16 | 32 | 64;
  readonly rep: 0 | 0xf3 | 0xf2;
  readonly lock: boolean;
  /** Segment for implicit memory operands (string source, XLAT, MASKMOV), override applied: SegmentIndex. */
  readonly segment: number;
  /** REX.W was present (for rows where width is not what REX.W decides). */
  readonly rexW: boolean;
  /** VEX.L was set. */
  readonly vexL: boolean;
  /** Condition code of Jcc, SETcc, CMOVcc; -1 otherwise. */
  readonly condition: number;
}

/** Exception vectors (SDM Vol. 3A "Exceptions and Interrupts"; AMD APM Vol. 2 "Exceptions and Interrupts"). */
export const Vector = {
  DivideError: 0,
  Debug: 1,
  Nmi: 2,
  Breakpoint: 3,
  Overflow: 4,
  BoundRange: 5,
  InvalidOpcode: 6,
  DeviceNotAvailable: 7,
  DoubleFault: 8,
  InvalidTss: 10,
  SegmentNotPresent: 11,
  StackFault: 12,
  GeneralProtection: 13,
  PageFault: 14,
  MathFault: 16,
  AlignmentCheck: 17,
  MachineCheck: 18,
  SimdFault: 19,
} as const;

/** One 128-bit part of a VEX instruction, for which the semantic of an SSE instruction is emitted (vex.ts). */
export interface VectorPart {
  /** Takes the floating-point exceptions of the part instead of raising them: when there are several parts. */
  collect?(): void;
}

export interface Semantics {
  readonly form: Form;
  readonly f: FunctionBuilder;
  /** Pointer to the vCPU's state block (engine/wasm/interpreter/cpu-layout.ts). */
  readonly cpu: I32;
  readonly flags: FlagsWriter;
  /** Explicit operands in table order. */
  readonly operands: readonly Operand[];
  /** operands[0] / [1] / [2]; throws at build time when absent. */
  readonly op0: Operand;
  readonly op1: Operand;
  readonly op2: Operand;

  /** While a semantic is emitted for a part: what makes the instruction available was checked. */
  readonly part: VectorPart | undefined;
  /** Emits `body` with other operands in place of the instruction's own. */
  withOperands(operands: readonly Operand[], part: VectorPart, body: () => void): void;

  let<T extends Value>(value: T): Local<T>;
  /** Implicit general register `index` (0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP…): sign-extended read of `width` bits. */
  gpr(index: number, width: Width): I64;
  gprUnsigned(index: number, width: Width): I64;
  setGpr(index: number, width: Width, value: I64): void;
  /** Implicit vector register `index`. */
  xmm(index: number): Local<V128>;
  setXmm(index: number, value: V128): void;
  /** Bits 128 to 255 of a vector register. */
  setYmmHigh(index: number, value: V128): void;
  /** State field at `offset` of the state block. */
  state32(offset: number): I32;
  state64(offset: number): I64;
  setState32(offset: number, value: I32Like): void;
  setState64(offset: number, value: I64Like): void;

  /** Raises an exception at this instruction and leaves the handler. */
  raise(vector: number, errorCode?: I32Like): void;
  raiseIf(condition: I32, vector: number, errorCode?: I32Like): void;
  /** Leaves the handler, Cpu.Rip (and mode) having been set by the semantic. */
  resync(): void;
  /** Leaves the handler: near jump to RIP `target` (already truncated to the operand size). */
  jump(target: I64): void;
  /** Leaves the handler: near jump to the target of the relative operand. */
  branch(): void;
  /** Where `branch` goes to. */
  branchTarget(): Local<I64>;
  /** Leaves the handler: the instruction is done. */
  done(): void;
  /** To be called after Cpl, CS, SS or EFER changed, before `resync`. */
  updateMode(): void;
  /** The 11-bit x87 opcode of this instruction: low three bits of the escape byte, ModRM byte. Without this it reads as 0. */
  x87Opcode?(): I32;
  /** RIP of this and of the next instruction. */
  rip(): I64;
  nextRip(): I64;

  /** Linear address of offset in segment `segment` for `bytes` bytes: limit and type checks outside 64-bit code. `offset` zero-extended. */
  segmented(segment: number, offset: I64, bytes: number, write: boolean): Local<I64>;
  /** Memory by linear address with the current privilege; may fault. Reads are sign-extended. */
  load(linear: I64, width: Width, stack?: StackAccess): Local<I64>;
  store(linear: I64, width: Width, value: I64, stack?: StackAccess): void;
  /** Reads for a later `write` of the same bytes: write access is checked first. */
  modify(linear: I64, width: Width, stack?: StackAccess): { value: Local<I64>; write(value: I64): void };
  /**
   * Host address of a linear address whose page is plain RAM that may be accessed up to its end without further checks;
   * 0 otherwise (device, code page). May fault.
   */
  bulkPointer(linear: I64, write: boolean): Local<I32>;
  /** A port access by a device, replayed when the instruction runs again (string I/O). `port` is zero-extended. */
  port(write: boolean, port: I64, bytes: number, value: I64): Local<I64>;
  loadV128(linear: I64): Local<V128>;
  /** Host pointer to `bytes` readable (writable) bytes, as Operand.readPointer / writePointer. */
  loadPointer(linear: I64, bytes: number, stack?: StackAccess): Local<I32>;
  storePointer(linear: I64, bytes: number, stack?: StackAccess): { pointer: Local<I32>; commit(): void };
  push(width: Width, value: I64): void;
  /** Reads the top of the stack without moving RSP. */
  peek(width: Width, offset: number): Local<I64>;
  /** Leaves the handler with a HandlerResult (cpu-layout.ts), for what the named ways out do not cover. */
  leave(status: I32): void;
  /** RSP += bytes with the stack's address size. */
  dropStack(bytes: I64Like): void;
  /** Calls a JavaScript implementation registered under `name` (rare.ts) with (cpu, record); its HandlerResult is obeyed. */
  rare(name: string): void;
  /**
   * Calls a shared helper function of the engine, defined once per module: `build` emits it at first use. Answers the call
   * as an expression (to be evaluated once), so that one helper's `build` can call another helper. No results: emits the
   * call into this handler.
   */
  helper(
    name: string,
    params: readonly Value['type'][],
    results: readonly Value['type'][],
    build: (f: FunctionBuilder) => void,
    ...args: Value[]
  ): Value;
  /** Address of constant data in the engine's memory, 16-byte aligned, placed once per engine: `bytes` makes it at first use. */
  data(name: string, bytes: () => Uint8Array): I32;
}

export type Semantic = (s: Semantics) => void;

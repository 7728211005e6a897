/** Inline guest memory access for handlers: the TLB probe, with the slow paths out of line (JIT-LIMITS rules 3 and 4). */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32 } from '../encoder/values.ts';
import type { Width } from '../../../x86/instructions/semantics/context.ts';
import { Access } from '../softmmu/access.ts';
import { type MmuFunctions, tlbIndex } from '../softmmu/mmu.ts';
import { Cpu, TlbEntry, TlbTableSize } from '../interpreter/cpu-layout.ts';

/** What emitting a memory access needs from its surroundings. */
export interface AccessContext {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly mmu: MmuFunctions;
  /** Access.User at CPL 3, else 0. */
  userFlag(): I32;
  /** Pointer to the current TLB bank. */
  tlb(): I32;
  /** Emits: leave the handler with HandlerResult `status`. */
  leave(status: I32): void;
}

/** A pointer to writable bytes; after storing through it, `commit` moves a bounce buffer to its place. */
export interface WritePointer {
  readonly pointer: Local<I32>;
  commit(): void;
}

export function loadRaw(host: I32, width: Width): I64 {
  return width === 64
    ? host.load64()
    : width === 32
      ? host.load64_32s()
      : width === 16
        ? host.load64_16s()
        : host.load64_8s();
}

export function storeRaw(f: FunctionBuilder, host: I32, width: Width, value: I64, offset = 0): void {
  if (width === 64) f.store64(host, offset, value);
  else if (width === 32) f.store32(host, offset, value);
  else if (width === 16) f.store16(host, offset, value);
  else f.store8(host, offset, value);
}

/** `stack` as a value is Access.Stack or 0. */
const accessFlags = (context: AccessContext, write: boolean, stack: boolean | I32): I32 => {
  const flags = context.userFlag();
  if (typeof stack !== 'boolean') return flags.or(stack).or(write ? Access.Write : 0);
  return flags.or((write ? Access.Write : 0) | (stack ? Access.Stack : 0));
};

function leaveOnSlowStatus(context: AccessContext): void {
  const status = context.f.let(context.cpu.load32(Cpu.SlowStatus));
  context.f.unlikely(status, () => context.leave(status));
}

/** Emits `hit(host)` when the TLB holds the page and the access stays inside it, otherwise `miss()`. */
function probe(
  context: AccessContext,
  linear: Local<I64>,
  bytes: number,
  write: boolean,
  hit: (host: Local<I32>) => void,
  miss: () => void,
): void {
  const { f } = context;
  const low = f.let(linear.toI32());
  const entry = f.let(context.tlb().add(tlbIndex(low)));
  const table = write ? TlbTableSize : 0;
  const inPage = linear.xor(entry.load64(table + TlbEntry.Tag)).ltU(4096 - bytes + 1);
  f.if(inPage, () => hit(f.let(low.add(entry.load32(table + TlbEntry.Addend)))), miss, true);
}

/** Reads `width` bits at a linear address, sign-extended. */
export function emitLoad(
  context: AccessContext,
  linear: Local<I64>,
  width: Width,
  stack: boolean | I32 = false,
): Local<I64> {
  const { f, cpu, mmu } = context;
  const value = f.local('i64');
  probe(
    context,
    linear,
    width / 8,
    false,
    (host) => f.set(value, loadRaw(host, width)),
    () => {
      const slow = f.callValue('i64', mmu.read, cpu, linear, i32(width / 8), accessFlags(context, false, stack));
      leaveOnSlowStatus(context);
      f.set(value, slow.signExtend(width));
    },
  );
  return value;
}

export function emitStore(
  context: AccessContext,
  linear: Local<I64>,
  width: Width,
  value: I64,
  stack: boolean | I32 = false,
): void {
  const { f, cpu, mmu } = context;
  const named = f.let(value);
  probe(
    context,
    linear,
    width / 8,
    true,
    (host) => storeRaw(f, host, width, named),
    () => {
      f.call(mmu.write, cpu, linear, i32(width / 8), accessFlags(context, true, stack), named);
      leaveOnSlowStatus(context);
    },
  );
}

/** Reads for a later write of the same bytes: `host` is their address when the write needs no further check, else 0. */
export function emitModify(
  context: AccessContext,
  linear: Local<I64>,
  width: Width,
  stack: boolean | I32 = false,
): { value: Local<I64>; host: Local<I32> } {
  const { f, cpu, mmu } = context;
  const value = f.local('i64');
  const host = f.local('i32');
  probe(
    context,
    linear,
    width / 8,
    true,
    (at) => {
      f.set(host, at);
      f.set(value, loadRaw(at, width));
    },
    () => {
      const slow = f.callValue('i64', mmu.modify, cpu, linear, i32(width / 8), accessFlags(context, true, stack));
      leaveOnSlowStatus(context);
      f.set(value, slow.signExtend(width));
      f.set(host, i32(0));
    },
  );
  return { value, host };
}

/** The write that belongs to {@link emitModify}. */
export function emitModifyWrite(
  context: AccessContext,
  linear: Local<I64>,
  host: Local<I32>,
  width: Width,
  value: I64,
  stack: boolean | I32 = false,
): void {
  const { f, cpu, mmu } = context;
  const named = f.let(value);
  f.if(
    host,
    () => storeRaw(f, host, width, named),
    () => {
      f.call(mmu.write, cpu, linear, i32(width / 8), accessFlags(context, true, stack), named);
      leaveOnSlowStatus(context);
    },
    true,
  );
}

export function emitLoadV128(context: AccessContext, linear: Local<I64>): Local<V128> {
  return context.f.let(emitReadPointer(context, linear, 16).loadV128());
}

/** A pointer to `bytes` readable bytes: the guest's own, or a copy. */
export function emitReadPointer(
  context: AccessContext,
  linear: Local<I64>,
  bytes: number,
  stack: boolean | I32 = false,
): Local<I32> {
  return emitPointer(context, linear, bytes, false, stack);
}

export function emitWritePointer(
  context: AccessContext,
  linear: Local<I64>,
  bytes: number,
  stack: boolean | I32 = false,
): WritePointer {
  const pointer = emitPointer(context, linear, bytes, true, stack);
  const { f, cpu, mmu } = context;
  return {
    pointer,
    commit() {
      f.if(
        pointer.eq(cpu.add(Cpu.ScratchWrite)),
        () => {
          f.call(mmu.commit, cpu, linear, i32(bytes));
          leaveOnSlowStatus(context);
        },
        undefined,
        false,
      );
    },
  };
}

function emitPointer(
  context: AccessContext,
  linear: Local<I64>,
  bytes: number,
  write: boolean,
  stack: boolean | I32,
): Local<I32> {
  const { f, cpu, mmu } = context;
  const pointer = f.local('i32');
  probe(
    context,
    linear,
    bytes,
    write,
    (host) => f.set(pointer, host),
    () => {
      f.set(pointer, f.callValue('i32', mmu.pointer, cpu, linear, i32(bytes), accessFlags(context, write, stack)));
      leaveOnSlowStatus(context);
      // A device's bytes behind a single-page access that is not RAM
    },
  );
  return pointer;
}

/** See Semantics.bulkPointer: the TLB's answer, after one attempt to fill it. */
export function emitBulkPointer(context: AccessContext, linear: Local<I64>, write: boolean): Local<I32> {
  const { f, cpu, mmu } = context;
  const pointer = f.let(i32(0));
  const take = (host: Local<I32>): void => f.set(pointer, host);
  probe(context, linear, 1, write, take, () => {
    f.drop(f.callValue('i32', mmu.resolve, cpu, linear, accessFlags(context, write, false), i32(1)));
    leaveOnSlowStatus(context);
    probe(context, linear, 1, write, take, () => {});
  });
  return pointer;
}

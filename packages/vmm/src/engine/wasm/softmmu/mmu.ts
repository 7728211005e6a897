/**
 * The slow paths of guest memory access in wasm: what the inline TLB probes of handlers fall back to.
 *
 * On success `Cpu.SlowStatus` is 0; otherwise it is the HandlerResult that the instruction leaves with (a fault was
 * recorded, or the access must be done by a device first: see `deviceAccess`).
 */
import type { FunctionBuilder, FunctionRef } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../encoder/values.ts';
import {
  Cpu,
  HandlerResult,
  LocalFills,
  LoopExit,
  ReplayLog,
  TlbEntry,
  TlbTableSize,
} from '../interpreter/cpu-layout.ts';
import { Access } from './access.ts';
import { WalkResult, definePageWalk } from './page-walk.ts';
import { SlotField, SlotFlags, SlotSize, VmBlock, VmField, type VmLayout } from './vm-layout.ts';

export interface MmuFunctions {
  /** (cpu, vector, errorCode): records an exception and sets SlowStatus. */
  readonly raise: FunctionRef;
  /** (cpu, linear, access) -> i64 page | WalkResult, or -1 */
  readonly walk: FunctionRef;
  /** (physical) -> host address or 0 */
  readonly hostOf: FunctionRef;
  /** (cpu, linear, access, size) -> host address; 0 when a fault was recorded or the access goes to a device */
  readonly resolve: FunctionRef;
  /** (cpu, linear, size, access) -> value, zero-extended */
  readonly read: FunctionRef;
  /** (cpu, linear, size, access) -> value, zero-extended; write access was checked: for read-modify-write */
  readonly modify: FunctionRef;
  /** (cpu, linear, size, access, value) */
  readonly write: FunctionRef;
  /** (cpu, linear, bytes, access) -> pointer to the bytes or to a copy / a bounce buffer */
  readonly pointer: FunctionRef;
  /** (cpu, linear, bytes): writes the bounce buffer back */
  readonly commit: FunctionRef;
  /** (cpu, kind: LoopExit, address, size, value) -> value: an access that a device answers, or its replay */
  readonly device: FunctionRef;
}

export interface MmuImports {
  /** (cpu, hostAddress, size) -> whether translated code was dropped: JavaScript drops code on the written lines */
  readonly codeWritten: FunctionRef;
}

export function defineMmu(module: ModuleBuilder, layout: VmLayout, imports: MmuImports): MmuFunctions {
  const mmu: MmuFunctions = {
    raise: module.declare('raise', ['i32', 'i32', 'i32'], []),
    walk: module.declare('walk', ['i32', 'i64', 'i32'], ['i64']),
    hostOf: module.declare('hostOf', ['i64'], ['i32']),
    resolve: module.declare('resolve', ['i32', 'i64', 'i32', 'i32'], ['i32']),
    read: module.declare('read', ['i32', 'i64', 'i32', 'i32'], ['i64']),
    modify: module.declare('modify', ['i32', 'i64', 'i32', 'i32'], ['i64']),
    write: module.declare('write', ['i32', 'i64', 'i32', 'i32', 'i64'], []),
    pointer: module.declare('pointer', ['i32', 'i64', 'i32', 'i32'], ['i32']),
    commit: module.declare('commit', ['i32', 'i64', 'i32'], []),
    device: module.declare('device', ['i32', 'i32', 'i64', 'i32', 'i64'], ['i64']),
  };
  defineRaise(module, mmu);
  defineHostOf(module, mmu);
  definePageWalk(module, mmu.walk, mmu.hostOf, mmu.raise);
  defineResolve(module, mmu, layout, imports);
  defineRead(module, mmu);
  defineModify(module, mmu);
  defineWrite(module, mmu);
  definePointer(module, mmu);
  defineCommit(module, mmu);
  defineDevice(module, mmu);
  return mmu;
}

/** Vectors that push an error code (SDM Vol. 3A "Error Code"): 8, 10 to 14, 17. */
const VectorsWithErrorCode = (1 << 8) | (0x1f << 10) | (1 << 17);

function defineRaise(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.raise, (f) => {
    const cpu = f.param('i32', 0);
    const vector = f.param('i32', 1);
    f.store32(cpu, Cpu.FaultVector, vector);
    f.store32(cpu, Cpu.FaultErrorCode, f.param('i32', 2));
    f.store32(cpu, Cpu.FaultHasError, i32(VectorsWithErrorCode).shrU(vector).and(1));
    f.store32(cpu, Cpu.SlowStatus, HandlerResult.Fault);
  });
}

/** Loops over the memory slots; `found` gets the slot's pointer. */
function forSlot(f: FunctionBuilder, physical: I64, found: (slot: Local<I32>) => void): void {
  const slot = f.let(i32(VmBlock + VmField.Slots));
  const end = f.let(slot.add(i32(VmBlock).load32(VmField.SlotCount).mul(SlotSize)));
  f.block((none) => {
    f.loop((next) => {
      f.brIf(none, slot.geU(end));
      f.if(physical.geU(slot.load64(SlotField.Start)).and(physical.ltU(slot.load64(SlotField.End))), () => found(slot));
      f.set(slot, slot.add(SlotSize));
      f.br(next);
    });
  });
}

const hostInSlot = (slot: I32, physical: I64): I32 =>
  physical.sub(slot.load64(SlotField.Start)).toI32().add(slot.load32(SlotField.Host));

function defineHostOf(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.hostOf, (f) => {
    const physical = f.param('i64', 0);
    forSlot(f, physical, (slot) => f.return(hostInSlot(slot, physical)));
    f.return(i32(0));
  });
}

function defineResolve(module: ModuleBuilder, mmu: MmuFunctions, layout: VmLayout, imports: MmuImports): void {
  module.define(mmu.resolve, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const access = f.param('i32', 2);
    const size = f.param('i32', 3);
    f.store32(cpu, Cpu.SlowStatus, 0);
    const page = f.callValue('i64', mmu.walk, cpu, linear, access);
    f.if(page.eq(-1), () => f.return(i32(0)));
    const physical = f.let(page.and(-4096n).or(linear.and(0xfff)));
    f.store64(cpu, Cpu.SlowPhysical, physical);
    forSlot(f, physical, (slot) => {
      const host = f.let(hostInSlot(slot, physical));
      const ramPage = f.let(host.sub(layout.ram).shrU(12));
      f.store32(cpu, Cpu.SlowPage, ramPage);
      const isWrite = f.let(access.and(Access.Write));
      f.if(isWrite, () => {
        f.if(slot.load32(SlotField.Flags).and(SlotFlags.ReadOnly), () => f.return(i32(0)));
        const lines = f.let(i32(layout.codeLines).add(ramPage.shl(3)).load64());
        f.unlikely(lines.eqz().eqz(), () => {
          const first = f.let(host.shrU(6).and(63).toI64u());
          const last = f.let(host.add(size).sub(1).shrU(6).and(63).toI64u());
          const touched = i64(-1)
            .shl(first)
            .and(i64(-1).shrU(i64(63).sub(last)));
          f.if(lines.and(touched).eqz().eqz(), () => {
            const dropped = f.callValue('i32', imports.codeWritten, cpu, host, size);
            // Translated code is left before the write: the interpreter makes it
            f.if(dropped.and(cpu.load32(Cpu.InRegion)), () => {
              f.store32(cpu, Cpu.SlowStatus, HandlerResult.Retry);
              f.return(i32(0));
            });
          });
          f.return(host);
        });
      });
      f.unlikely(cpu.load32(Cpu.Dr7).and(DebugEnables).ne(0), () => watch(f, cpu, linear, size, isWrite, host));
      f.if(access.and(Access.System).eqz(), () => fillTlb(f, cpu, linear, page, host, isWrite));
      f.return(host);
    });
    f.return(i32(0));
  });
}

/** L0 G0 to L3 G3 of DR7. */
const DebugEnables = 0xff;

/**
 * Data breakpoints (SDM Vol. 3B "Data Breakpoint Exception Condition"): notes those that the access touches in
 * Cpu.TouchedBreakpoints and returns `host`, uncached, when one is on its page. TLBs are empty of such pages: MOV to DR flushes.
 */
function watch(f: FunctionBuilder, cpu: I32, linear: I64, size: I32, isWrite: I32, host: I32): void {
  const dr7 = f.let(cpu.load32(Cpu.Dr7));
  const watched = f.let(i32(0));
  for (let i = 0; i < 4; i++) {
    const type = dr7.shrU(16 + 4 * i).and(3);
    // 1: writes; 3: reads and writes. 0 and 2 are instruction and I/O breakpoints
    f.if(
      dr7
        .shrU(2 * i)
        .and(3)
        .ne(0)
        .and(type.and(1)),
      () => {
        const encodedLength = f.let(dr7.shrU(18 + 4 * i).and(3));
        const length = f.let(encodedLength.eq(2).select(i64(8), encodedLength.toI64u().add(1)));
        const start = f.let(cpu.load64(Cpu.Dr + 8 * i).and(length.sub(1).xor(-1)));
        f.if(start.xor(linear).and(-4096n).eqz(), () => {
          f.set(watched, i32(1));
          const overlaps = linear.ltU(start.add(length)).and(start.ltU(linear.add(size.toI64u())));
          f.if(overlaps.and(type.eq(3).or(isWrite.ne(0))), () => {
            f.store32(cpu, Cpu.TouchedBreakpoints, cpu.load32(Cpu.TouchedBreakpoints).or(1 << i));
          });
        });
      },
    );
  }
  f.if(watched, () => f.return(host));
}

/** Enters the page into the current bank: reads into the read table, writes into the write table. */
function fillTlb(f: FunctionBuilder, cpu: I32, linear: I64, page: I64, host: I32, isWrite: I32): void {
  const low = f.let(linear.toI32());
  const table = isWrite.select(i32(TlbTableSize), i32(0));
  const entry = f.let(cpu.load32(Cpu.TlbBank).add(table).add(tlbIndex(low)));
  f.if(isWrite.eqz().or(page.toI32().and(WalkResult.Writable)), () => {
    f.store64(entry, TlbEntry.Tag, linear.and(-4096n));
    f.store32(entry, TlbEntry.Addend, host.sub(low));
    f.store32(entry, TlbEntry.Page, page.shrU(12).toI32().or(page.toI32().and(WalkResult.Global).shl(30)));
    f.if(page.toI32().and(WalkResult.Global).eqz(), () => {
      const count = f.let(cpu.load32(LocalFills.Count));
      f.if(count.ltU(LocalFills.Capacity), () => f.store32(cpu.add(count.shl(2)), LocalFills.List, entry));
      f.store32(cpu, LocalFills.Count, count.add(1));
    });
  });
}

/** Byte offset of the entry in a TLB table for the low half of a linear address. */
export function tlbIndex(low: I32): I32 {
  return low.shrU(8).and(0x3ff0);
}

/** Bytes of the access that lie in the first page. */
const bytesInFirstPage = (linear: I64): I32 => i32(4096).sub(linear.toI32().and(0xfff));

/** First address of the second page; wraps at 4 GiB outside long mode. */
function secondPage(f: FunctionBuilder, cpu: I32, linear: I64): Local<I64> {
  const next = f.let(linear.or(0xfff).add(1));
  f.if(
    cpu
      .load32(Cpu.Efer)
      .and(1 << 10)
      .eqz(),
    () => f.set(next, next.and(0xffff_ffffn)),
  );
  return next;
}

/** The last bytes of a straddling access must be canonical before any page is looked up. `fault` leaves the function. */
function requireCanonical(
  f: FunctionBuilder,
  mmu: MmuFunctions,
  cpu: I32,
  next: I64,
  access: I32,
  fault: () => void,
): void {
  const long = cpu
    .load32(Cpu.Efer)
    .and(1 << 10)
    .ne(0);
  f.if(long.and(next.shl(16).shrS(16).ne(next)), () => {
    f.call(mmu.raise, cpu, access.and(Access.Stack).select(i32(12), i32(13)), i32(0));
    fault();
  });
}

function loadBySize(f: FunctionBuilder, host: I32, size: I32): Local<I64> {
  const value = f.local('i64');
  f.if(
    size.eq(8),
    () => f.set(value, host.load64()),
    () =>
      f.if(
        size.eq(4),
        () => f.set(value, host.load64_32u()),
        () => f.set(value, size.eq(2).choose(host.load64_16u(), host.load64_8u())),
      ),
  );
  return value;
}

function storeBySize(f: FunctionBuilder, host: I32, size: I32, value: I64): void {
  f.if(
    size.eq(8),
    () => f.store64(host, 0, value),
    () =>
      f.if(
        size.eq(4),
        () => f.store32(host, 0, value),
        () =>
          f.if(
            size.eq(2),
            () => f.store16(host, 0, value),
            () => f.store8(host, 0, value),
          ),
      ),
  );
}

function defineRead(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.read, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const size = f.param('i32', 2);
    const access = f.param('i32', 3);
    const first = f.let(bytesInFirstPage(linear));
    const host = f.local('i32');
    f.if(first.geU(size), () => {
      f.set(host, f.callValue('i32', mmu.resolve, cpu, linear, access, size));
      f.if(host, () => f.return(loadBySize(f, host, size)));
      f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i64(0)));
      const kind = i32(LoopExit.MmioRead);
      f.return(f.callValue('i64', mmu.device, cpu, kind, cpu.load64(Cpu.SlowPhysical), size, i64(0)));
    });
    const copy = f.callValue('i32', mmu.pointer, cpu, linear, size, access);
    f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i64(0)));
    f.return(loadBySize(f, copy, size));
  });
}

/** Checks write access to both pages, then reads. */
function defineModify(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.modify, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const size = f.param('i32', 2);
    const access = f.param('i32', 3);
    const first = f.let(bytesInFirstPage(linear));
    f.if(first.ltU(size), () => {
      requireCanonical(f, mmu, cpu, secondPage(f, cpu, linear), access, () => f.return(i64(0)));
    });
    f.drop(f.callValue('i32', mmu.resolve, cpu, linear, access, i32(1)));
    f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i64(0)));
    f.if(first.ltU(size), () => {
      f.drop(f.callValue('i32', mmu.resolve, cpu, secondPage(f, cpu, linear), access, i32(1)));
      f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i64(0)));
    });
    f.return(f.callValue('i64', mmu.read, cpu, linear, size, access.and(~Access.Write)));
  });
}

function defineWrite(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.write, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const size = f.param('i32', 2);
    const access = f.let(f.param('i32', 3).or(Access.Write));
    const value = f.param('i64', 4);
    const first = f.let(bytesInFirstPage(linear));
    const host = f.local('i32');
    f.if(first.geU(size), () => {
      f.set(host, f.callValue('i32', mmu.resolve, cpu, linear, access, size));
      f.if(host, () => {
        storeBySize(f, host, size, value);
        f.return();
      });
      f.if(cpu.load32(Cpu.SlowStatus), () => f.return());
      f.drop(f.callValue('i64', mmu.device, cpu, i32(LoopExit.MmioWrite), cpu.load64(Cpu.SlowPhysical), size, value));
      f.return();
    });
    const bounce = f.callValue('i32', mmu.pointer, cpu, linear, size, access);
    f.if(cpu.load32(Cpu.SlowStatus), () => f.return());
    storeBySize(f, bounce, size, value);
    f.call(mmu.commit, cpu, linear, size);
  });
}

/** Both pages are checked before anything is touched; a part that is not RAM reads as ones and drops writes. */
function definePointer(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.pointer, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const bytes = f.param('i32', 2);
    const access = f.param('i32', 3);
    const isWrite = f.let(access.and(Access.Write));
    const first = f.let(bytesInFirstPage(linear));
    const inFirst = f.let(first.ltU(bytes).select(first, bytes));
    // Up to 16 bytes are one access, wider ones a row of accesses of the largest power of two that divides them
    const part = f.let(bytes.eq(10).select(i32(8), bytes.and(i32(0).sub(bytes))));
    f.if(first.ltU(part), () => {
      requireCanonical(f, mmu, cpu, secondPage(f, cpu, linear), access, () => f.return(i32(0)));
    });
    const host = f.callValue('i32', mmu.resolve, cpu, linear, access, inFirst);
    f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i32(0)));
    f.if(host.ne(0).and(first.geU(bytes)), () => f.return(host));
    const bounce = f.let(cpu.add(isWrite.select(i32(Cpu.ScratchWrite), i32(Cpu.ScratchPage))));
    f.if(
      host,
      () => f.memoryCopy(bounce, host, inFirst),
      () => copyFromDevice(f, mmu, cpu, bounce, inFirst, isWrite),
    );
    f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i32(0)));
    f.if(first.ltU(bytes), () => {
      const next = secondPage(f, cpu, linear);
      const rest = f.let(bytes.sub(first));
      f.set(host, f.callValue('i32', mmu.resolve, cpu, next, access, rest));
      f.if(cpu.load32(Cpu.SlowStatus), () => f.return(i32(0)));
      f.if(
        host,
        () => f.memoryCopy(bounce.add(first), host, rest),
        () => f.memoryFill(bounce.add(first), i32(0xff), rest),
      );
    });
    f.return(bounce);
  });
}

/** A wide read from a device in 8-byte accesses (the last one shorter); a write's buffer is only filled with ones. */
function copyFromDevice(f: FunctionBuilder, mmu: MmuFunctions, cpu: I32, to: I32, bytes: I32, isWrite: I32): void {
  f.memoryFill(to, i32(0xff), bytes);
  f.if(isWrite.eqz(), () => {
    const at = f.let(i32(0));
    const physical = f.let(cpu.load64(Cpu.SlowPhysical));
    f.block((done) => {
      f.loop((next) => {
        const rest = f.let(bytes.sub(at));
        f.brIf(done, rest.leS(0));
        const size = f.let(rest.geU(8).select(i32(8), rest.geU(4).select(i32(4), i32(1))));
        const kind = i32(LoopExit.MmioRead);
        const value = f.callValue('i64', mmu.device, cpu, kind, physical.add(at.toI64u()), size, i64(0));
        f.brIf(done, cpu.load32(Cpu.SlowStatus));
        storeBySize(f, f.let(to.add(at)), size, value);
        f.set(at, at.add(size));
        f.br(next);
      });
    });
  });
}

function defineCommit(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.commit, (f) => {
    const cpu = f.param('i32', 0);
    const linear = f.param('i64', 1);
    const bytes = f.param('i32', 2);
    const from = f.let(cpu.add(Cpu.ScratchWrite));
    const first = f.let(bytesInFirstPage(linear));
    const inFirst = f.let(first.ltU(bytes).select(first, bytes));
    const host = f.callValue('i32', mmu.resolve, cpu, linear, i32(Access.Write), inFirst);
    f.if(
      host,
      () => f.memoryCopy(host, from, inFirst),
      () => f.if(first.geU(bytes), () => copyToDevice(f, mmu, cpu, from, bytes)),
    );
    f.if(first.ltU(bytes), () => {
      const next = secondPage(f, cpu, linear);
      const rest = f.let(bytes.sub(first));
      f.set(host, f.callValue('i32', mmu.resolve, cpu, next, i32(Access.Write), rest));
      f.if(host, () => f.memoryCopy(host, from.add(first), rest));
    });
  });
}

function copyToDevice(f: FunctionBuilder, mmu: MmuFunctions, cpu: I32, from: I32, bytes: I32): void {
  const at = f.let(i32(0));
  const physical = f.let(cpu.load64(Cpu.SlowPhysical));
  f.block((done) => {
    f.loop((next) => {
      const rest = f.let(bytes.sub(at));
      f.brIf(done, rest.leS(0));
      const size = f.let(rest.geU(8).select(i32(8), rest.geU(4).select(i32(4), i32(1))));
      const value = loadBySize(f, f.let(from.add(at)), size);
      f.drop(f.callValue('i64', mmu.device, cpu, i32(LoopExit.MmioWrite), physical.add(at.toI64u()), size, value));
      f.brIf(done, cpu.load32(Cpu.SlowStatus));
      f.set(at, at.add(size));
      f.br(next);
    });
  });
}

/**
 * The instruction is abandoned at its first access to a device and run again (as one step) once the device answered:
 * accesses that were answered are replayed from the log, so that each is done once (KVM does the same with its MMIO
 * fragments).
 */
function defineDevice(module: ModuleBuilder, mmu: MmuFunctions): void {
  module.define(mmu.device, (f) => {
    const cpu = f.param('i32', 0);
    const next = f.let(cpu.load32(Cpu.ReplayNext));
    f.if(next.ltU(cpu.load32(Cpu.ReplayCount)), () => {
      f.store32(cpu, Cpu.ReplayNext, next.add(1));
      f.store32(cpu, Cpu.SlowStatus, 0);
      f.return(cpu.add(next.and(ReplayLog.Capacity - 1).shl(3)).load64(ReplayLog.Values));
    });
    f.store32(cpu, Cpu.ExitKind, f.param('i32', 1));
    f.store32(cpu, Cpu.ExitReplayed, 1);
    f.store64(cpu, Cpu.ExitAddress, f.param('i64', 2));
    f.store32(cpu, Cpu.ExitSize, f.param('i32', 3));
    f.store64(cpu, Cpu.ExitValue, f.param('i64', 4));
    f.store32(cpu, Cpu.SlowStatus, HandlerResult.Exit);
    f.return(i64(0));
  });
}

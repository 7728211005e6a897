/** Code that derives privilege, TLB bank and block-lookup key from segment registers and control registers. */
import type { FunctionRef } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import { i32, i64 } from '../encoder/values.ts';
import { ModeKey } from '../softmmu/block-header.ts';
import { Cpu, SegmentField, SegmentIndex, TlbBankSize, TlbOffset, segmentOffset } from './cpu-layout.ts';

/** Bits of SegmentField.Attributes. */
export const SegmentAttribute = {
  Unusable: 1,
  Accessed: 1 << 8,
  /** Data: writable. Code: readable. */
  WritableReadable: 1 << 9,
  /** Data: expand-down. Code: conforming. */
  DownConforming: 1 << 10,
  Code: 1 << 11,
  TypeMask: 0xf << 8,
  CodeOrData: 1 << 12,
  DplShift: 13,
  Present: 1 << 15,
  Long: 1 << 21,
  Big: 1 << 22,
  Granularity: 1 << 23,
} as const;
export const EferBit = {
  SyscallEnable: 1,
  LongModeEnable: 1 << 8,
  LongModeActive: 1 << 10,
  NoExecute: 1 << 11,
} as const;

const attributesOf = (segment: number): number => segmentOffset(segment) + SegmentField.Attributes;

/** `updateMode(cpu)`: TlbBank and ModeKey from Cpl, CS, SS and EFER. */
export function defineUpdateMode(module: ModuleBuilder): FunctionRef {
  return module.function('updateMode', ['i32'], [], (f) => {
    const cpu = f.param('i32', 0);
    const cs = f.let(cpu.load32(attributesOf(SegmentIndex.Cs)));
    const user = f.let(cpu.load32(Cpu.Cpl).eq(3));
    const long = f.let(cpu.load32(Cpu.Efer).and(EferBit.LongModeActive).ne(0).and(cs.and(SegmentAttribute.Long).ne(0)));
    const big = cs.and(SegmentAttribute.Big).ne(0);
    const stack32 = cpu.load32(attributesOf(SegmentIndex.Ss)).and(SegmentAttribute.Big).ne(0);
    const legacy = big
      .select(i32(ModeKey.Code32), i32(ModeKey.Code16))
      .or(stack32.select(i32(ModeKey.Stack32), i32(0)));
    const step = cpu.load32(Cpu.ModeKey).and(ModeKey.Step);
    f.store32(
      cpu,
      Cpu.ModeKey,
      long
        .select(i32(ModeKey.Code64), legacy)
        .or(user.select(i32(ModeKey.User), i32(0)))
        .or(step),
    );
    f.store32(cpu, Cpu.TlbBank, cpu.add(TlbOffset).add(user.select(i32(TlbBankSize), i32(0))));
  });
}

/**
 * `segmented(cpu, segment, offset, bytes, write) -> linear` outside 64-bit code: type and limit checks (SDM Vol. 3A
 * "Limit Checking", "Type Checking"); #SS for the stack segment, else #GP, both with error code 0.
 */
export function defineSegmented(module: ModuleBuilder, raise: FunctionRef): FunctionRef {
  return module.function('segmented', ['i32', 'i32', 'i64', 'i32', 'i32'], ['i64'], (f) => {
    const cpu = f.param('i32', 0);
    const segment = f.param('i32', 1);
    const offset = f.param('i64', 2);
    const bytes = f.param('i32', 3);
    const write = f.param('i32', 4);
    const cache = f.let(cpu.add(segment.shl(5)));
    const attributes = f.let(cache.load32(segmentOffset(0) + SegmentField.Attributes));
    const limit = f.let(cache.load64_32u(segmentOffset(0) + SegmentField.Limit));
    f.store32(cpu, Cpu.SlowStatus, 0);
    f.block((bad) => {
      f.brIf(bad, attributes.and(SegmentAttribute.Unusable));
      const isCode = f.let(attributes.and(SegmentAttribute.Code).ne(0));
      const writableReadable = attributes.and(SegmentAttribute.WritableReadable).ne(0);
      // Real mode knows no types: CS is writable
      f.if(cpu.load32(Cpu.Cr0).and(1), () =>
        f.if(
          write,
          () => f.brIf(bad, isCode.or(writableReadable.eqz())),
          () => f.brIf(bad, isCode.and(writableReadable.eqz())),
        ),
      );
      const last = f.let(offset.add(bytes.toI64u()).sub(1));
      const expandDown = attributes.and(SegmentAttribute.DownConforming).ne(0).and(isCode.eqz());
      f.if(
        expandDown,
        () => {
          const top = attributes.and(SegmentAttribute.Big).select(i64(0xffff_ffffn), i64(0xffffn));
          f.brIf(bad, offset.leU(limit).or(last.gtU(top)));
        },
        () => f.brIf(bad, last.gtU(limit)),
      );
      f.return(
        cache
          .load64(segmentOffset(0) + SegmentField.Base)
          .add(offset)
          .and(0xffff_ffffn),
      );
    });
    f.call(raise, cpu, segment.eq(SegmentIndex.Ss).select(i32(12), i32(13)), i32(0));
    f.return(i64(0));
  });
}

/**
 * Environment and state images of FLDENV, FNSTENV, FRSTOR and FNSAVE in their four layouts (SDM Vol. 1 §8.1.10 "Saving
 * the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE").
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type Local, i32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, x87Offset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { isNormal, isZero } from './x87-operands.ts';
import { Control, Ext, Status, shared, stackPointer, storeExt, unpack, updateSummary } from './x87-state.ts';

/** Sizes by operand size. */
export const EnvironmentBytes = { 16: 14, 32: 28 } as const;
const RegisterBytes = 10;
export const StateBytes = { 16: 14 + 8 * RegisterBytes, 32: 28 + 8 * RegisterBytes } as const;

const Tag = { Valid: 0, Zero: 1, Special: 2, Empty: 3 } as const;

/** (cpu) -> the tag word: two bits a physical register, from its contents. */
const tagWord = shared('tagWord', ['i32'], (f) => {
  const cpu = f.param('i32', 0);
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const word = f.let(i32(0));
  const index = f.let(i32(8));
  f.loop((again) => {
    f.set(index, index.sub(1));
    const value = unpack(f, cpu.add(index.shl(4)).add(x87Offset(0)));
    const zeroOrSpecial = isZero(value).select(i32(Tag.Zero), i32(Tag.Special));
    const filled = isNormal(value).select(i32(Tag.Valid), zeroOrSpecial);
    const tag = tags.shrU(index).and(1).select(filled, i32(Tag.Empty));
    f.set(word, word.shl(2).or(tag));
    f.brIf(again, index);
  });
  f.return(word);
});

/** From the two-bit tags: only "empty" counts. */
function loadTags(f: FunctionBuilder, cpu: I32, word: I32): void {
  const empty = f.let(word.and(word.shrU(1)).and(0x5555));
  // Gather the even bits.
  f.set(empty, empty.or(empty.shrU(1)).and(0x3333));
  f.set(empty, empty.or(empty.shrU(2)).and(0x0f0f));
  f.set(empty, empty.or(empty.shrU(4)).and(0xff));
  f.store32(cpu, Cpu.FpuTags, empty.xor(0xff));
}

/** Control, status and tag word: at distances of 2 or 4 bytes, the upper halves ones. */
function storeWords(f: FunctionBuilder, cpu: I32, to: I32, tags: I32, step: 2 | 4): void {
  const status = cpu.load32(Cpu.FpuStatus).or(cpu.load32(Cpu.FpuTop).shl(11));
  [cpu.load32(Cpu.FpuControl), status, tags].forEach((word, i) => {
    if (step === 2) f.store16(to, i * step, word);
    else f.store32(to, i * step, word.or(0xffff0000));
  });
}

function loadWords(f: FunctionBuilder, cpu: I32, from: I32, step: 2 | 4): void {
  const status = f.let(from.load16u(step));
  f.store32(cpu, Cpu.FpuControl, from.load16u(0).and(Control.Writable).or(Control.AlwaysSet));
  f.store32(cpu, Cpu.FpuTop, status.shrU(11).and(7));
  f.store32(cpu, Cpu.FpuStatus, status.and(Status.Exceptions | Status.StackFault | Status.Conditions));
  loadTags(f, cpu, f.let(from.load16u(2 * step)));
  updateSummary(f, cpu);
}

/** A pointer's 32-bit linear address, for the layouts of real mode: the offset and the selector times 16. */
function realAddress(f: FunctionBuilder, cpu: I32, offset: number, selector: number): Local<I32> {
  return f.let(cpu.load32(offset).add(cpu.load32(selector).shl(4)));
}

function storePointers32(f: FunctionBuilder, cpu: I32, to: I32, isProtected: I32): void {
  f.if(
    isProtected,
    () => {
      f.store32(to, 12, cpu.load32(Cpu.FpuLastIp));
      f.store32(to, 16, cpu.load32(Cpu.FpuLastCs).or(cpu.load32(Cpu.FpuLastOpcode).shl(16)));
      f.store32(to, 20, cpu.load32(Cpu.FpuLastDp));
      f.store32(to, 24, cpu.load32(Cpu.FpuLastDs).or(0xffff0000));
    },
    () => {
      const ip = realAddress(f, cpu, Cpu.FpuLastIp, Cpu.FpuLastCs);
      const dp = realAddress(f, cpu, Cpu.FpuLastDp, Cpu.FpuLastDs);
      f.store32(to, 12, ip.or(0xffff0000));
      f.store32(to, 16, ip.shrU(16).shl(12).or(cpu.load32(Cpu.FpuLastOpcode)));
      f.store32(to, 20, dp.or(0xffff0000));
      f.store32(to, 24, dp.shrU(16).shl(12));
    },
  );
}

function storePointers16(f: FunctionBuilder, cpu: I32, to: I32, isProtected: I32): void {
  f.if(
    isProtected,
    () => {
      [Cpu.FpuLastIp, Cpu.FpuLastCs, Cpu.FpuLastDp, Cpu.FpuLastDs].forEach((offset, i) => {
        f.store16(to, 6 + 2 * i, cpu.load32(offset));
      });
    },
    () => {
      const ip = realAddress(f, cpu, Cpu.FpuLastIp, Cpu.FpuLastCs);
      const dp = realAddress(f, cpu, Cpu.FpuLastDp, Cpu.FpuLastDs);
      f.store16(to, 6, ip);
      f.store16(to, 8, ip.shrU(16).shl(12).or(cpu.load32(Cpu.FpuLastOpcode)));
      f.store16(to, 10, dp);
      f.store16(to, 12, dp.shrU(16).shl(12));
    },
  );
}

function loadPointers32(f: FunctionBuilder, cpu: I32, from: I32, isProtected: I32): void {
  const opcode = f.let(from.load32(16));
  f.if(
    isProtected,
    () => {
      f.store64(cpu, Cpu.FpuLastIp, from.load64_32u(12));
      f.store32(cpu, Cpu.FpuLastCs, opcode.and(0xffff));
      f.store32(cpu, Cpu.FpuLastOpcode, opcode.shrU(16).and(0x7ff));
      f.store64(cpu, Cpu.FpuLastDp, from.load64_32u(20));
      f.store32(cpu, Cpu.FpuLastDs, from.load16u(24));
    },
    () => {
      const upper = (word: I32): I32 => word.shrU(12).and(0xffff).shl(16);
      f.store64(cpu, Cpu.FpuLastIp, from.load16u(12).or(upper(opcode)).toI64u());
      f.store32(cpu, Cpu.FpuLastCs, 0);
      f.store32(cpu, Cpu.FpuLastOpcode, opcode.and(0x7ff));
      f.store64(
        cpu,
        Cpu.FpuLastDp,
        from
          .load16u(20)
          .or(upper(from.load32(24)))
          .toI64u(),
      );
      f.store32(cpu, Cpu.FpuLastDs, 0);
    },
  );
}

function loadPointers16(f: FunctionBuilder, cpu: I32, from: I32, isProtected: I32): void {
  f.if(
    isProtected,
    () => {
      f.store64(cpu, Cpu.FpuLastIp, from.load64_16u(6));
      f.store32(cpu, Cpu.FpuLastCs, from.load16u(8));
      f.store64(cpu, Cpu.FpuLastDp, from.load64_16u(10));
      f.store32(cpu, Cpu.FpuLastDs, from.load16u(12));
      f.store32(cpu, Cpu.FpuLastOpcode, 0);
    },
    () => {
      const upper = (offset: number): I32 => from.load16u(offset).shrU(12).shl(16);
      f.store64(cpu, Cpu.FpuLastIp, from.load16u(6).or(upper(8)).toI64u());
      f.store32(cpu, Cpu.FpuLastCs, 0);
      f.store32(cpu, Cpu.FpuLastOpcode, from.load16u(8).and(0x7ff));
      f.store64(cpu, Cpu.FpuLastDp, from.load16u(10).or(upper(12)).toI64u());
      f.store32(cpu, Cpu.FpuLastDs, 0);
    },
  );
}

const Params = ['i32', 'i32', 'i32'] as const;

/** (cpu, to, protected) -> 0, by operand size. */
export const storeEnvironment = {
  16: shared('storeEnvironment16', Params, (f, helper) => {
    const [cpu, to] = [f.param('i32', 0), f.param('i32', 1)];
    storeWords(f, cpu, to, tagWord(helper, cpu), 2);
    storePointers16(f, cpu, to, f.param('i32', 2));
    f.return(i32(0));
  }),
  32: shared('storeEnvironment32', Params, (f, helper) => {
    const [cpu, to] = [f.param('i32', 0), f.param('i32', 1)];
    storeWords(f, cpu, to, tagWord(helper, cpu), 4);
    storePointers32(f, cpu, to, f.param('i32', 2));
    f.return(i32(0));
  }),
};

/** (cpu, from, protected) -> 0, by operand size. */
export const loadEnvironment = {
  16: shared('loadEnvironment16', Params, (f) => {
    const [cpu, from] = [f.param('i32', 0), f.param('i32', 1)];
    loadWords(f, cpu, from, 2);
    loadPointers16(f, cpu, from, f.param('i32', 2));
    f.return(i32(0));
  }),
  32: shared('loadEnvironment32', Params, (f) => {
    const [cpu, from] = [f.param('i32', 0), f.param('i32', 1)];
    loadWords(f, cpu, from, 4);
    loadPointers32(f, cpu, from, f.param('i32', 2));
    f.return(i32(0));
  }),
};

/** The registers in stack order, 10 bytes each, at `image` + the size of the environment. */
function registers(f: FunctionBuilder, cpu: I32, image: I32, move: (register: I32, slot: I32) => void): void {
  const index = f.let(i32(0));
  const top = f.let(cpu.load32(Cpu.FpuTop));
  f.loop((again) => {
    move(f.let(stackPointer(cpu, top, index)), f.let(image.add(index.mul(RegisterBytes))));
    f.set(index, index.add(1));
    f.brIf(again, index.ltU(8));
  });
}

function storeStateOf(size: 16 | 32) {
  return shared(`storeState${size}`, Params, (f, helper) => {
    const [cpu, to] = [f.param('i32', 0), f.param('i32', 1)];
    f.drop(storeEnvironment[size](helper, cpu, to, f.param('i32', 2)));
    registers(f, cpu, to.add(EnvironmentBytes[size]), (register, slot) => {
      storeExt(f, slot, register.load64(Ext.Significand), register.load16u(Ext.SignExponent));
    });
    f.return(i32(0));
  });
}

function loadStateOf(size: 16 | 32) {
  return shared(`loadState${size}`, Params, (f, helper) => {
    const [cpu, from] = [f.param('i32', 0), f.param('i32', 1)];
    f.drop(loadEnvironment[size](helper, cpu, from, f.param('i32', 2)));
    registers(f, cpu, from.add(EnvironmentBytes[size]), (register, slot) => {
      storeExt(f, register, slot.load64(Ext.Significand), slot.load16u(Ext.SignExponent));
    });
    f.return(i32(0));
  });
}

export const storeState = { 16: storeStateOf(16), 32: storeStateOf(32) };
export const loadState = { 16: loadStateOf(16), 32: loadStateOf(32) };

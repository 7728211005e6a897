import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import '../../../types/webassembly.ts';
import { Random } from '../../../testing/random.ts';
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, type I64, i32 } from '../encoder/values.ts';
import { ArithmeticFlags, LazyFlags, Rflag, flagsInMemory } from './lazy-flags.ts';

const CpuAt = 0x1000;
type Width = 8 | 16 | 32 | 64;
const Widths: readonly Width[] = [8, 16, 32, 64];

interface Exports {
  /** Sets the flags from (a, b), both sign-extended from the width; answers the image and all conditions above it. */
  run(a: bigint, b: bigint): number;
  load(image: number): number;
}

function exportsOf(set: (flags: LazyFlags, f: FunctionBuilder, a: I64, b: I64) => void): Exports {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1, 1);
  const cpu = (f: FunctionBuilder): I32 => f.let(i32(CpuAt));
  const answer = (f: FunctionBuilder, flags: LazyFlags): void => {
    let all: I32 = flags.image();
    for (let code = 0; code < 16; code++) {
      all = f.let(all.or(f.let(flags.condition(code)).shl(12 + code)));
    }
    f.return(all);
  };
  module.export(
    'run',
    module.function('run', ['i64', 'i64'], ['i32'], (f) => {
      const flags = new LazyFlags(f, flagsInMemory(f, cpu(f)));
      set(flags, f, f.param('i64', 0), f.param('i64', 1));
      answer(f, flags);
    }),
  );
  module.export(
    'load',
    module.function('load', ['i32'], ['i32'], (f) => {
      const flags = new LazyFlags(f, flagsInMemory(f, cpu(f)));
      flags.load(f.param('i32', 0));
      answer(f, flags);
    }),
  );
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } });
  return instance.exports as unknown as Exports;
}

/** SDM Vol. 1 "Status Flags": what the six flags are, said directly. */
function model(width: Width, result: bigint, carry: boolean, overflow: boolean, adjust: boolean): number {
  const low = Number(result & 0xffn);
  const ones = [...low.toString(2)].filter((digit) => digit === '1').length;
  return (
    (carry ? Rflag.Carry : 0) |
    (ones % 2 === 0 ? Rflag.Parity : 0) |
    (adjust ? Rflag.Adjust : 0) |
    (BigInt.asUintN(width, result) === 0n ? Rflag.Zero : 0) |
    (BigInt.asIntN(width, result) < 0n ? Rflag.Sign : 0) |
    (overflow ? Rflag.Overflow : 0)
  );
}

function modelAdd(width: Width, a: bigint, b: bigint): number {
  const [u, v] = [BigInt.asUintN(width, a), BigInt.asUintN(width, b)];
  const signed = BigInt.asIntN(width, a) + BigInt.asIntN(width, b);
  const overflow = BigInt.asIntN(width, signed) !== signed;
  return model(width, u + v, (u + v) >> BigInt(width) !== 0n, overflow, (u & 15n) + (v & 15n) > 15n);
}

function modelSub(width: Width, a: bigint, b: bigint): number {
  const [u, v] = [BigInt.asUintN(width, a), BigInt.asUintN(width, b)];
  const signed = BigInt.asIntN(width, a) - BigInt.asIntN(width, b);
  const overflow = BigInt.asIntN(width, signed) !== signed;
  return model(width, u - v, u < v, overflow, (u & 15n) < (v & 15n));
}

/** The sixteen conditions of Jcc (SDM Vol. 1 "EFLAGS Condition Codes"), one bit each from bit 12. */
function conditions(image: number): number {
  const is = (flag: number): boolean => (image & flag) !== 0;
  const [cf, zf, sf, of, pf] = [Rflag.Carry, Rflag.Zero, Rflag.Sign, Rflag.Overflow, Rflag.Parity].map(is) as [
    boolean, boolean, boolean, boolean, boolean,
  ]; // prettier-ignore
  const pairs = [of, cf, zf, cf || zf, sf, pf, sf !== of, zf || sf !== of];
  return pairs.reduce((bits, value, i) => bits | ((value ? 1 : 2) << (12 + 2 * i)), 0);
}

const withConditions = (image: number): number => image | conditions(image);

function operands(width: Width): bigint[] {
  const edges = [0n, 1n, 15n, 16n, 0x7fn, 0x80n, -1n, -2n, (1n << BigInt(width - 1)) - 1n, 1n << BigInt(width - 1)];
  const random = new Random(width);
  const some = Array.from({ length: 40 }, () => (BigInt(random.u32()) << 32n) | BigInt(random.u32()));
  return [...edges, ...some].map((value) => BigInt.asIntN(width, value));
}

describe('flags follow from the operands, for every width and condition', () => {
  for (const width of Widths) {
    const cut = (value: bigint): bigint => BigInt.asIntN(width, value);
    const check = (exports: Exports, wanted: (a: bigint, b: bigint) => number): void => {
      for (const a of operands(width)) {
        for (const b of operands(width)) {
          assert.equal(exports.run(a, b) & 0xfffffff, withConditions(wanted(a, b)), `${a} and ${b}`);
        }
      }
    };

    test(`addition, ${width} bits`, () => {
      const wasm = exportsOf((flags, f, a, b) => flags.add(a, b, f.let(a.add(b).signExtend(width))));
      check(wasm, (a, b) => modelAdd(width, a, b));
    });

    test(`subtraction, ${width} bits`, () => {
      const wasm = exportsOf((flags, f, a, b) => flags.sub(a, b, f.let(a.sub(b).signExtend(width))));
      check(wasm, (a, b) => modelSub(width, a, b));
    });

    test(`logic, ${width} bits`, () => {
      const wasm = exportsOf((flags, f, a, b) => flags.logic(f.let(a.and(b))));
      check(wasm, (a, b) => model(width, cut(a & b), false, false, false));
    });
  }
});

test('every combination of flags is loaded and read back', () => {
  const wasm = exportsOf((flags, _f, a) => flags.logic(a));
  for (let image = 0; image < 0x1000; image++) {
    if ((image & ~ArithmeticFlags) !== 0) continue;
    wasm.run(-1n, 0n);
    assert.equal(wasm.load(image) & 0xfffffff, withConditions(image), image.toString(2));
  }
});

test('assigning one flag keeps the others', () => {
  for (const [name, flag] of [
    ['carry', Rflag.Carry],
    ['overflow', Rflag.Overflow],
    ['adjust', Rflag.Adjust],
  ] as const) {
    for (const value of [0, 1]) {
      const wasm = exportsOf((flags, f, a) => {
        flags.load(a.toI32());
        flags.assign({ [name]: f.let(i32(value)) });
      });
      for (let image = 0; image < 0x1000; image++) {
        if ((image & ~ArithmeticFlags) !== 0) continue;
        const wanted = value ? image | flag : image & ~flag;
        assert.equal(
          wasm.run(BigInt(image), 0n) & 0xfffffff,
          withConditions(wanted),
          `${name} in ${image.toString(2)}`,
        );
      }
    }
  }
});

test('assigning a result sets ZF, SF and PF, clears AF, keeps CF and OF', () => {
  const wasm = exportsOf((flags, _f, a, b) => {
    flags.load(b.toI32());
    flags.assign({ result: a });
  });
  for (const result of [0n, 1n, 3n, -1n, -128n, 1n << 40n]) {
    for (const before of [0, Rflag.Carry | Rflag.Overflow | Rflag.Adjust | Rflag.Zero | Rflag.Sign | Rflag.Parity]) {
      const wanted = model(64, result, before !== 0, before !== 0, false);
      assert.equal(wasm.run(result, BigInt(before)) & 0xfffffff, withConditions(wanted));
    }
  }
});

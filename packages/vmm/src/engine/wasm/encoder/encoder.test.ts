import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import '../../../types/webassembly.ts';
import type { FunctionBuilder } from './function-builder.ts';
import { signed, unsigned } from './leb128.ts';
import { ModuleBuilder } from './module-builder.ts';
import { F32, F64, I32, I64, V128, Value, type ValueType, f32, f64, i32, i64, v128 } from './values.ts';

const hex = (bytes: Iterable<number>): string => Buffer.from([...bytes]).toString('hex');

/** A module with one exported function `f`. */
function moduleOf(
  params: ValueType[],
  results: ValueType[],
  build: (f: FunctionBuilder) => void,
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1, 1);
  module.export('f', module.function('f', params, results, build));
  return module.finish();
}

function compile<T extends (...args: never[]) => unknown>(
  params: ValueType[],
  results: ValueType[],
  build: (f: FunctionBuilder) => void,
): T {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(moduleOf(params, results, build)), {
    env: { memory },
  });
  return instance.exports['f'] as unknown as T;
}

describe('LEB128', () => {
  test('examples of the specification', () => {
    assert.equal(hex(unsigned(624485)), 'e58e26');
    assert.equal(hex(signed(-123456n)), 'c0bb78');
    assert.equal(hex(signed(64n)), 'c000');
    assert.equal(hex(signed(-64n)), '40');
    assert.equal(hex(unsigned(0xffff_ffff)), 'ffffffff0f');
  });

  test('the shortest form that decodes to the value', () => {
    for (let bit = 0n; bit < 64n; bit++) {
      for (const value of [1n << bit, (1n << bit) - 1n, -(1n << bit), -(1n << bit) - 1n]) {
        const wanted = BigInt.asIntN(64, value);
        const bytes = signed(wanted);
        const decoded = bytes.reduce((sum, byte, i) => sum | (BigInt(byte & 0x7f) << BigInt(7 * i)), 0n);
        assert.equal(BigInt.asIntN(7 * bytes.length, decoded), wanted);
        const one = BigInt.asIntN(7 * (bytes.length - 1), wanted) === wanted;
        assert.ok(bytes.length === 1 || !one, `${wanted} in ${bytes.length} bytes`);
      }
    }
  });
});

type Operation = (a: bigint, b: bigint) => bigint;
/** What integer operations mean, on values of `bits` bits: unsigned, and the result is cut to size. */
const integerOperations = (bits: number): Record<string, Operation> => {
  const s = (value: bigint): bigint => BigInt.asIntN(bits, value);
  const u = (value: bigint): bigint => BigInt.asUintN(bits, value);
  const count = (b: bigint): bigint => b & BigInt(bits - 1);
  const yes = (condition: boolean): bigint => (condition ? 1n : 0n);
  return {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    and: (a, b) => a & b,
    or: (a, b) => a | b,
    xor: (a, b) => a ^ b,
    shl: (a, b) => a << count(b),
    shrU: (a, b) => u(a) >> count(b),
    shrS: (a, b) => s(a) >> count(b),
    rotl: (a, b) => (u(a) << count(b)) | (u(a) >> (BigInt(bits) - count(b))),
    rotr: (a, b) => (u(a) >> count(b)) | (u(a) << (BigInt(bits) - count(b))),
    divU: (a, b) => u(a) / u(b),
    remU: (a, b) => u(a) % u(b),
    eq: (a, b) => yes(u(a) === u(b)),
    ne: (a, b) => yes(u(a) !== u(b)),
    ltS: (a, b) => yes(s(a) < s(b)),
    ltU: (a, b) => yes(u(a) < u(b)),
    gtS: (a, b) => yes(s(a) > s(b)),
    gtU: (a, b) => yes(u(a) > u(b)),
    leS: (a, b) => yes(s(a) <= s(b)),
    leU: (a, b) => yes(u(a) <= u(b)),
    geS: (a, b) => yes(s(a) >= s(b)),
    geU: (a, b) => yes(u(a) >= u(b)),
  };
};

describe('integer expressions do what their names say', () => {
  const samples = [0n, 1n, 2n, 31n, 33n, 63n, 127n, 128n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, (1n << 63n) - 1n, 1n << 63n, -1n, -2n]; // prettier-ignore

  for (const [type, bits] of [
    ['i32', 32],
    ['i64', 64],
  ] as const) {
    test(type, () => {
      const narrow = (value: bigint): number | bigint =>
        bits === 32 ? Number(BigInt.asIntN(32, value)) : BigInt.asIntN(64, value);
      for (const [name, meaning] of Object.entries(integerOperations(bits))) {
        const comparison =
          meaning(3n, 3n) === meaning(5n, 5n) && name.length <= 3 && /^(eq|ne|[lg][te][SU])$/.test(name);
        const run = compile<(a: unknown, b: unknown) => number | bigint>(
          [type, type],
          [comparison ? 'i32' : type],
          (f) => {
            const [a, b] = [f.param(type, 0), f.param(type, 1)] as unknown as Record<string, (b: Value) => Value>[];
            f.return(a![name]!(b as unknown as Value));
          },
        );
        for (const a of samples) {
          for (const b of samples) {
            if (/^(div|rem)/.test(name) && BigInt.asUintN(bits, b) === 0n) continue;
            const wanted = BigInt.asUintN(
              comparison ? 32 : bits,
              meaning(BigInt.asUintN(bits, a), BigInt.asUintN(bits, b)),
            );
            const got = BigInt.asUintN(comparison ? 32 : bits, BigInt(run(narrow(a), narrow(b))));
            assert.equal(got, wanted, `${type}.${name}(${a}, ${b})`);
          }
        }
      }
    });
  }

  test('signExtend and zeroExtend of 64-bit values', () => {
    for (const width of [8, 16, 32, 64] as const) {
      const both = compile<(value: bigint) => bigint>(['i64'], ['i64'], (f) => {
        const value = f.param('i64', 0);
        f.return(value.signExtend(width).xor(value.zeroExtend(width)));
      });
      for (const value of samples) {
        const wanted = BigInt.asIntN(64, BigInt.asIntN(width, value) ^ BigInt.asUintN(width, value));
        assert.equal(both(BigInt.asIntN(64, value)), wanted);
      }
    }
  });

  test('constants of every size survive', () => {
    for (const value of samples) {
      const big = BigInt.asIntN(64, value);
      assert.equal(compile<() => bigint>([], ['i64'], (f) => f.return(i64(value)))(), big);
      const small = Number(BigInt.asIntN(32, value));
      assert.equal(compile<() => number>([], ['i32'], (f) => f.return(i32(small)))(), small);
    }
  });
});

/** Every method of a value class gives valid code for some operands, of the type that it claims. */
function everyMethod(prototype: object, receiver: ValueType): void {
  const operands: unknown[] = [v128(1n, 2n), i32(1), i64(1), f32(1), f64(1), 1, 8];
  const names = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
  assert.ok(names.length > 10);
  const valid = (name: string, args: unknown[]): boolean => {
    try {
      return WebAssembly.validate(
        moduleOf([receiver], [], (f) => {
          const self = f.param(receiver, 0) as unknown as Record<string, (...args: unknown[]) => unknown>;
          const result = self[name]!(...args);
          if (!(result instanceof Value)) throw new Error('no value');
          f.let(result);
        }),
      );
    } catch {
      return false;
    }
  };
  const combinations = operands.flatMap((a) => operands.map((b) => [a, b]));
  const shuffle = [Array.from({ length: 16 }, (_, i) => 15 - i)];
  for (const name of names) {
    const tries = [[], ...operands.map((a) => [a]), ...combinations, shuffle, [v128(0n, 0n), ...shuffle]];
    assert.ok(
      tries.some((args) => valid(name, args)),
      `${receiver}.${name}`,
    );
  }
}

describe('every operation is valid wasm', () => {
  const classes = { i32: I32, i64: I64, f32: F32, f64: F64, v128: V128 };
  for (const [type, { prototype }] of Object.entries(classes))
    test(type, () => everyMethod(prototype, type as ValueType));
});

describe('function builder', () => {
  test('golden bytes: a counting loop', () => {
    const module = new ModuleBuilder();
    let body = '';
    module.function('count', ['i32'], ['i32'], (f) => {
      const limit = f.param('i32', 0);
      const sum = f.let(i32(0));
      f.block((done) => {
        f.loop((again) => {
          f.brIf(done, limit.eqz());
          f.set(sum, sum.add(limit));
          f.set(limit, limit.sub(1));
          f.br(again);
        });
      });
      f.return(sum);
      body = hex(f.finish().bytes);
    });
    const expected = [
      '01017f', // one local: i32
      '41002101', // i32.const 0; local.set 1
      '0240', '0340', // block; loop
      '2000450d01', // local.get 0; i32.eqz; br_if 1
      '200120006a2101', // sum += limit
      '200041016b2100', // limit -= 1
      '0c00', '0b', '0b', // br 0; end; end
      '20010f', '0b', // return sum
    ]; // prettier-ignore
    assert.equal(body, expected.join(''));
  });

  test('br_table, if and else, calls', () => {
    const run = compile<(x: number) => number>(['i32'], ['i32'], (f) => {
      const x = f.param('i32', 0);
      f.block((outer) => {
        f.block((second) => {
          f.block((first) => f.brTable(x, [first, second], outer));
          f.return(i32(10));
        });
        f.if(x.eq(1), () => f.return(i32(20)), () => f.return(i32(21))); // prettier-ignore
      });
      f.return(i32(30));
    });
    assert.deepEqual([0, 1, 2, -1].map(run), [10, 20, 30, 30]);
  });

  test('locals of a scope are used again after it, and only then', () => {
    let locals = 0;
    const run = compile<() => bigint>([], ['i64'], (f) => {
      const kept = f.scope(() => {
        const one = f.let(i64(1));
        f.scope(() => f.let(i64(2)));
        const two = f.let(i64(3));
        return f.let(one.add(two));
      });
      const copy = f.let(kept);
      f.scope(() => f.let(i64(9)));
      f.scope(() => f.let(i64(9)));
      f.return(copy);
      locals = f.localTypes.length;
    });
    assert.equal(run(), 4n);
    assert.ok(locals <= 4, `${locals} locals`);
  });

  test('mistakes throw while building', () => {
    const bad: ((f: FunctionBuilder, module: ModuleBuilder) => void)[] = [
      (f) => f.param('i64', 0),
      (f, module) => f.call(module.declare('g', [], ['i32'])),
      (f, module) => f.callValue('i64', module.declare('g', [], ['i32'])),
      (f, module) => f.call(module.declare('g', ['i64'], []), i32(1)),
    ];
    for (const build of bad) {
      const module = new ModuleBuilder();
      assert.throws(() => module.function('f', ['i32'], [], (f) => build(f, module)));
    }
    const module = new ModuleBuilder();
    const ref = module.declare('f', [], []);
    assert.throws(() => module.finish(), /not defined/);
    module.define(ref, () => {});
    assert.throws(() => module.define(ref, () => {}), /twice/);
    assert.throws(() => module.importFunction('env', 'late', [], []), /before/);
  });
});

/** Reads a module's sections: identifier, start and end of the content. */
function sections(bytes: Uint8Array): { id: number; start: number; end: number }[] {
  const found = [];
  for (let at = 8; at < bytes.length;) {
    const id = bytes[at]!;
    const [size, start] = readUnsigned(bytes, at + 1);
    found.push({ id, start, end: start + size });
    at = start + size;
  }
  return found;
}

function readUnsigned(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let shift = 0; ; shift += 7, at++) {
    value += (bytes[at]! & 0x7f) * 2 ** shift;
    if (bytes[at]! < 0x80) return [value, at + 1];
  }
}

test('branch hints name the if and br_if instructions of their function, before the code section', () => {
  const bytes = moduleOf(['i32'], ['i32'], (f) => {
    const x = f.param('i32', 0);
    for (let i = 0; i < 40; i++) f.let(i64(i)); // a locals vector of two bytes
    f.block((end) => {
      f.unlikely(x.eq(1), () => f.return(i32(7)));
      f.brIf(end, x.eq(2), true);
      f.if(x.eq(3), () => f.return(i32(8)));
    });
    f.return(i32(9));
  });
  assert.ok(WebAssembly.validate(bytes));
  const all = sections(bytes);
  const code = all.find(({ id }) => id === 10)!;
  const name = 'metadata.code.branch_hint';
  const isHints = ({ id, start }: { id: number; start: number }): boolean =>
    id === 0 && Buffer.from(bytes.subarray(start + 1, start + 1 + name.length)).toString() === name;
  const hints = all.find(isHints)!;
  assert.ok(hints.start < code.start);
  // Code section: count, size of the body, body
  const [, bodySize] = readUnsigned(bytes, code.start);
  const [, body] = readUnsigned(bytes, bodySize);
  let at = hints.start + 1 + name.length;
  const next = (): number => {
    const [value, after] = readUnsigned(bytes, at);
    at = after;
    return value;
  };
  assert.deepEqual([next(), next(), next()], [1, 0, 2], 'one function, index 0, two hints');
  const [first, , likelyFirst, second, , likelySecond] = [next(), next(), next(), next(), next(), next()];
  assert.deepEqual([bytes[body + first!], likelyFirst], [0x04, 0]);
  assert.deepEqual([bytes[body + second!], likelySecond], [0x0d, 1]);
});

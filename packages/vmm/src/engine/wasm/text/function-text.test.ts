import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import '../../../types/webassembly.ts';
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, Value, type ValueType, f32, f64, i32, i64, v128 } from '../encoder/values.ts';
import { type TextNames, functionText } from './function-text.ts';
import { readModule } from './module-reader.ts';

/** The text of a function `f` behind an imported one, `peek`, of (i32, i64) -> i64. */
function textOf(
  params: ValueType[],
  results: ValueType[],
  build: (f: FunctionBuilder, peek: ReturnType<ModuleBuilder['importFunction']>) => void,
  names?: TextNames,
): string[] {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1, 1);
  const peek = module.importFunction('env', 'peek', ['i32', 'i64'], ['i64']);
  module.export(
    'f',
    module.function('f', params, results, (f) => build(f, peek)),
  );
  const bytes = module.finish();
  assert.ok(WebAssembly.validate(bytes));
  return functionText(readModule(bytes), 1, names).map(({ text }) => text);
}

describe('every instruction of the encoder', () => {
  const a: Readonly<Record<ValueType, Value>> = {
    i32: i32(1),
    i64: i64(2),
    f32: f32(1.5),
    f64: f64(-2.5),
    v128: v128(1n, 2n),
  };
  const lanes = Array.from({ length: 16 }, (_, i) => i);
  const values = Object.values(a);
  const argumentLists: unknown[][] = [
    [],
    [0],
    ...values.map((value) => [value]),
    ...values.map((value) => [0, value]),
    ...values.map((value) => [value, value]),
    [a.v128, lanes],
    [8],
  ];

  /** The statement that drops what a method answers, the arguments being the first with which the module is valid. */
  function dropped(value: Value, method: (...args: unknown[]) => unknown): { text: string; result: Value } | undefined {
    for (const args of argumentLists) {
      try {
        const result = method.apply(value, args);
        if (!(result instanceof Value)) continue;
        const lines = textOf([], [], (f) => f.drop(result));
        const statements = lines.slice(1, -1).filter((line) => /^ {2}\(/.test(line));
        assert.equal(statements.length, 1, `one statement expected:\n${lines.join('\n')}`);
        const text = lines.map((line) => line.trim()).join(' ');
        return { text, result };
      } catch (error) {
        if (/name for the instruction|has no operands|one statement/.test(String(error))) throw error;
      }
    }
    return undefined;
  }

  const Shapes: Readonly<Record<string, string>> = {
    8: 'i8x16',
    16: 'i16x8',
    32: 'i32x4',
    64: 'i64x2',
    F32: 'f32x4',
    F64: 'f64x2',
  };
  /** Methods whose names are not those of their instructions. */
  const OwnNames = /^(to|as|load|lane|with|choose|andAlso|orElse|zeroExtend|signExtend|splat|trunc|promote|demote)/;
  /** Vector methods that are named for the lanes that they take, not for those that they give. */
  const FromLanes = /^(convert|extend|extmul|dot|narrow|q15)/;

  /** What the name of a method says of its instruction: addSatS8 is i8x16.add_sat_s. */
  function expectedIn(type: string, method: string): string[] {
    if (OwnNames.test(method)) return [];
    const operation =
      method === 'q15mulrSatS' ? 'q15mulr' : method === 'andNot' ? 'andnot' : /^[a-z]+/.exec(method)![0];
    if (type !== 'v128') return method === 'select' ? [] : [`${type}.`, operation];
    const lanes = FromLanes.test(method) ? undefined : /(F\d+|\d+)$/.exec(method)?.[0];
    return [...(lanes === undefined ? [] : [`${Shapes[lanes]!}.`]), operation];
  }

  for (const [type, value] of Object.entries(a)) {
    test(type, () => {
      const prototype = Object.getPrototypeOf(value) as Record<string, (...args: unknown[]) => unknown>;
      const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
      const texts = new Set<string>();
      for (const name of methods) {
        const found = dropped(value, prototype[name]!);
        assert.ok(found, `${type}.${name} makes no valid code`);
        const { text } = found;
        const [, operation] = /\(drop \((\S+)/.exec(text)!;
        for (const part of expectedIn(type, name)) assert.ok(operation!.includes(part), `${name}: ${text}`);
        texts.add(text);
      }
      // zeroExtend(8) is AND, signExtend(8) is extend8_s, orElse is choose
      assert.ok(texts.size >= methods.length - 6, `${methods.length} methods, ${texts.size} texts`);
    });
  }

  test('constants', () => {
    const of = (value: Value): string => textOf([], [], (f) => f.drop(value))[1]!.trim();
    assert.equal(of(i32(-5)), '(drop (i32.const -5))');
    assert.equal(of(i64(0xffff_ffff_0000_0000n)), '(drop (i64.const -0x100000000))');
    assert.equal(of(i64(1n << 63n)), '(drop (i64.const -0x8000000000000000))');
    assert.equal(of(f32(-0)), '(drop (f32.const -0))');
    assert.equal(of(f64(Infinity)), '(drop (f64.const inf))');
    assert.equal(of(f64(NaN)), '(drop (f64.const nan:0x8000000000000))');
    assert.equal(of(v128(255n, 0n)), '(drop (v128.const i64x2 0xff 0x0))');
  });
});

describe('functions', () => {
  const names: TextNames = {
    local: (index) => ['cpu', 'left'][index],
    field: (local, offset) => (local === 'cpu' && offset === 152 ? 'Rip' : undefined),
  };

  test('statements, calls, names of locals and fields, hints', () => {
    const lines = textOf(
      ['i32', 'i32'],
      ['i32'],
      (f, peek) => {
        const [cpu, left] = [f.param('i32', 0), f.param('i32', 1)];
        const value = f.callValue('i64', peek, cpu, cpu.load64(152));
        f.store64(cpu, 152, value.add(1));
        f.unlikely(left.ltS(0), () => f.return(i32(7)));
        f.memoryFill(cpu, i32(0), left);
        f.return(left);
      },
      names,
    );
    assert.deepEqual(lines, [
      '(func $f (param $cpu i32) (param $left i32) (result i32)',
      '  (local $2 i64)',
      '  (local.set $2 (call $peek (local.get $cpu) (i64.load offset=152 (; Rip ;) (local.get $cpu))))',
      '  (i64.store offset=152 (; Rip ;) (local.get $cpu) (i64.add (local.get $2) (i64.const 1)))',
      '  (i32.lt_s (local.get $left) (i32.const 0))',
      '  if ;; unlikely',
      '    (return (i32.const 7))',
      '  end',
      '  (memory.fill (local.get $cpu) (i32.const 0) (local.get $left))',
      '  (return (local.get $left))',
      ')',
    ]);
  });

  test('blocks, loops and tables have labels where somebody branches to them', () => {
    const lines = textOf(
      ['i32'],
      [],
      (f) => {
        const n = f.param('i32', 0);
        f.block((out) => {
          f.loop((again) => {
            f.block(() => f.set(n, n.sub(1)));
            f.brIf(again, n, true);
          });
          f.brTable(n, [out], out);
        });
      },
      { local: () => 'n' },
    );
    assert.deepEqual(lines, [
      '(func $f (param $n i32)',
      '  block $1',
      '    loop $2',
      '      block',
      '        (local.set $n (i32.sub (local.get $n) (i32.const 1)))',
      '      end',
      '      (br_if $2 (local.get $n)) ;; likely',
      '    end',
      '    (br_table $1 $1 (local.get $n))',
      '  end',
      ')',
    ]);
  });

  test('an if with a value is an expression', () => {
    const lines = textOf(['i32'], ['i32'], (f) => f.return(f.param('i32', 0).choose(i32(1), i32(2))));
    assert.equal(lines[1], '  (return (if (result i32) (local.get $0) (then (i32.const 1)) (else (i32.const 2))))');
  });

  test('a statement in the middle of an expression comes after what was computed before it', () => {
    const lines = textOf(['i32'], ['i32'], (f) => {
      // local.get 0; if (result i32) { i32.const 5; local.set 0; i32.const 1 } else { i32.const 2 }; i32.add
      f.emit([0x20, 0, 0x20, 0, 0x04, 0x7f, 0x41, 5, 0x21, 0, 0x41, 1, 0x05, 0x41, 2, 0x0b, 0x6a, 0x0f]);
    });
    assert.deepEqual(lines.slice(1, -1), [
      '  (local.get $0)',
      '  (local.get $0)',
      '  if (result i32)',
      '    (local.set $0 (i32.const 5))',
      '    (i32.const 1)',
      '  else',
      '    (i32.const 2)',
      '  end',
      '  (return (i32.add))',
    ]);
  });

  test('the same in the second branch', () => {
    const lines = textOf(['i32'], ['i32'], (f) => {
      // local.get 0; if (result i32) { i32.const 1 } else { i32.const 5; local.set 0; i32.const 2 }; return
      f.emit([0x20, 0, 0x04, 0x7f, 0x41, 1, 0x05, 0x41, 5, 0x21, 0, 0x41, 2, 0x0b, 0x0f]);
    });
    assert.deepEqual(lines.slice(1, -1), [
      '  (local.get $0)',
      '  if (result i32)',
      '    (i32.const 1)',
      '  else',
      '    (local.set $0 (i32.const 5))',
      '    (i32.const 2)',
      '  end',
      '  (return)',
    ]);
  });

  test('a long statement has a line for each operand', () => {
    const lines = textOf(['i32'], [], (f) => {
      const n = f.param('i32', 0);
      let sum: I32 = n;
      for (let i = 0; i < 6; i++) sum = sum.add(n.mul(1000 + i));
      f.store32(n, 0, sum);
    });
    assert.equal(lines[1], '  (i32.store');
    assert.ok(lines.every((line) => line.length <= 112));
    assert.equal(lines.join('').split('(').length, lines.join('').split(')').length);
  });

  test('statements know where they are in the code', () => {
    const module = new ModuleBuilder();
    const marks: number[] = [];
    module.function('f', ['i32'], [], (f) => {
      const n = f.param('i32', 0);
      for (let i = 0; i < 3; i++) {
        marks.push(f.mark().code);
        f.set(n, n.add(i));
      }
    });
    const lines = functionText(readModule(module.finish()), 0);
    assert.deepEqual(
      lines.slice(1, 4).map(({ at }) => at),
      marks,
    );
  });

  test('what nobody emits is refused by its number', () => {
    const module = new ModuleBuilder();
    module.function('f', [], [], (f) => f.emit([0xfb, 0x03]));
    assert.throws(() => functionText(readModule(module.finish()), 0), /no name for the instruction 251 at 0/);
  });
});

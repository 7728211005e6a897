/** Shifts, rotates and bit instructions (SDM Vol. 2, Operation sections). */
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic, Semantics, Width } from './context.ts';

/** The count, masked to 5 bits (6 with 64-bit operands). */
const countOf = (s: Semantics, operand = s.op1): Local<I64> =>
  s.let(operand.read(8).and(s.form.width === 64 ? 63 : 31));

/** Emits `then` for counts other than zero: by zero, no flag changes. */
function unlessZero(s: Semantics, count: I64, operand: Operand, then: () => void): void {
  if (operand.constant === undefined) s.f.if(count.eqz().eqz(), then);
  else if ((operand.constant & BigInt(s.form.width === 64 ? 63 : 31)) !== 0n) then();
}

/** A shift by zero writes the destination (clearing the upper half of a 32-bit register) but no flag. */
const shift =
  (
    operation: (
      s: Semantics,
      a: { signed: I64; unsigned: I64 },
      count: Local<I64>,
    ) => {
      result: I64;
      carry: I64;
      overflow(result: I64, carry: I32): I32;
    },
  ): Semantic =>
  (s) => {
    const { width } = s.form;
    const signed = s.op0.readModify();
    const unsigned = s.let(signed.zeroExtend(width));
    const count = countOf(s);
    const { result, carry, overflow } = operation(s, { signed, unsigned }, count);
    const value = s.let(result.signExtend(width));
    s.op0.write(value);
    unlessZero(s, count, s.op1, () => {
      const carryOut = s.let(carry.toI32().and(1));
      s.flags.assign({ result: value, carry: carryOut, overflow: overflow(value, carryOut) });
    });
  };

const shl = shift((s, { unsigned }, count) => ({
  result: unsigned.shl(count),
  carry: s.form.width === 64 ? unsigned.shrU(i64(64).sub(count)) : unsigned.shl(count).shrU(s.form.width),
  overflow: (result, carry) => result.ltS(0).xor(carry),
}));

const shr = shift((_s, { signed, unsigned }, count) => ({
  result: unsigned.shrU(count),
  carry: unsigned.shrU(count.sub(1)),
  overflow: () => signed.ltS(0),
}));

const sar = shift((_s, { signed }, count) => ({
  result: signed.shrS(count),
  carry: signed.shrS(count.sub(1)),
  overflow: () => i32(0),
}));

/** `value` (zero-extended) rotated left by `count` < width. */
function rotateLeft(value: I64, count: Local<I64>, width: Width): I64 {
  if (width === 64) return value.rotl(count);
  // Twice the value side by side: the shift brings the wrapped bits in
  return value.or(value.shl(width)).shl(count).shrU(width);
}

const rotate =
  (right: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const value = s.let(s.op0.readModify().zeroExtend(width));
    const count = countOf(s);
    const left = s.let((right ? i64(width).sub(count) : count).and(width - 1));
    const result = s.let(rotateLeft(value, left, width).signExtend(width));
    s.op0.write(result);
    unlessZero(s, count, s.op1, () => {
      const top = s.let(result.ltS(0));
      const carry = right ? top : s.let(result.toI32().and(1));
      const next = right
        ? result
            .shrU(width - 2)
            .toI32()
            .and(1)
        : carry;
      s.flags.assign({ carry, overflow: top.xor(next) });
    });
  };

/** RCL and RCR: rotation of width + 1 bits with CF on top; `count` is reduced modulo that. */
const rotateThroughCarry =
  (right: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const value = s.let(s.op0.readModify().zeroExtend(width));
    const masked = countOf(s);
    const count = s.let(width <= 16 ? masked.remU(width + 1) : masked);
    const carryIn = s.let(s.flags.carry().toI64u());
    const result = s.let(value as I64);
    const carry = s.let(carryIn as I64);
    s.f.if(count.eqz().eqz(), () => {
      // As a left rotation by n of 1..width; bits from the right come after one bit of carry
      const n = s.let(right ? i64(width + 1).sub(count) : count);
      const low = n.eq(64).select(i64(0), value.shl(n));
      const fromRight = n.eq(1).select(i64(0), value.shrU(i64(width + 1).sub(n)));
      s.f.set(
        result,
        low
          .or(carryIn.shl(n.sub(1)))
          .or(fromRight)
          .signExtend(width),
      );
      s.f.set(carry, value.shrU(i64(width).sub(n)).and(1));
      const top = result.ltS(0);
      const overflow = right
        ? top.xor(
            result
              .shrU(width - 2)
              .toI32()
              .and(1),
          )
        : top.xor(carry.toI32());
      s.flags.assign({ carry: carry.toI32(), overflow: s.let(overflow) });
    });
    s.op0.write(result);
  };

/** SHLD, SHRD. With 16-bit operands and counts above 16 the result is undefined; AMD continues with the destination's bits. */
const doubleShift =
  (right: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const destination = s.let(s.op0.readModify().zeroExtend(width));
    const source = s.op1.readUnsigned();
    const count = countOf(s, s.op2);
    const result = s.let(destination as I64);
    unlessZero(s, count, s.op2, () => {
      const rest = s.let(i64(width).sub(count));
      const [combined, carry] =
        width === 16
          ? wordDoubleShift(s, destination, source, count, right)
          : right
            ? [destination.shrU(count).or(source.shl(rest)), destination.shrU(count.sub(1))]
            : [destination.shl(count).or(source.shrU(rest)), destination.shrU(rest)];
      const carryOut = s.let(carry.toI32().and(1));
      s.f.set(result, combined.signExtend(width));
      const changedSign = result.xor(destination.signExtend(width)).ltS(0);
      s.flags.assign({ result, carry: carryOut, overflow: s.let(changedSign) });
    });
    s.op0.write(result);
  };

/** On 48 bits destination:source:destination, so that counts up to 31 have defined bits to bring in. */
function wordDoubleShift(s: Semantics, destination: I64, source: I64, count: I64, right: boolean): [I64, I64] {
  if (right) {
    const all = s.let(destination.or(source.shl(16)).or(destination.shl(32)));
    return [all.shrU(count), all.shrU(count.sub(1))];
  }
  const all = s.let(destination.shl(32).or(source.shl(16)).or(destination));
  return [all.shl(count).shrU(32), all.shl(count).shrU(48)];
}

type BitChange = ((value: I64, mask: I64) => I64) | undefined;

const bitTest =
  (change: BitChange): Semantic =>
  (s) => {
    const { width } = s.form;
    const offset = s.op1.read(s.op1.kind === 'immediate' ? 8 : width);
    const bit = s.let(offset.and(width - 1));
    const finish = (value: I64, write: ((result: I64) => void) | undefined): void => {
      const carry = s.let(value.shrU(bit).toI32().and(1));
      if (change && write) write(change(value, i64(1).shl(bit)));
      s.flags.assign({ carry });
    };
    if (s.op0.kind === 'memory') {
      // A register's offset reaches beyond the operand: SDM Vol. 2A "Bit Addressing"
      const immediate = s.op1.kind === 'immediate';
      const distance = immediate ? 0 : s.let(offset.shrS(Math.log2(width)).mul(width / 8));
      const linear = s.op0.part(distance, width / 8, change !== undefined);
      if (!change) finish(s.load(linear, width, s.op0.stack), undefined);
      else {
        const { value, write } = s.modify(linear, width, s.op0.stack);
        finish(value, write);
      }
    } else if (change) {
      finish(s.op0.readModify(), (result) => s.op0.write(result.signExtend(width)));
    } else finish(s.op0.read(), undefined);
  };

/** BSF, BSR: a zero source sets ZF and leaves the destination (AMD APM Vol. 3 "BSF"). */
const bitScan =
  (reverse: boolean): Semantic =>
  (s) => {
    const source = s.op1.readUnsigned();
    s.f.if(source.eqz().eqz(), () => s.op0.write(reverse ? i64(63).sub(source.clz()) : source.ctz()));
    s.flags.assign({ result: source.eqz().eqz().toI64u() });
  };

const countZeros =
  (leading: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const source = s.op1.readUnsigned();
    const zero = s.let(source.eqz());
    const count = leading ? source.clz().sub(64 - width) : source.ctz();
    const result = s.let(zero.select(i64(width), count));
    s.op0.write(result);
    s.flags.assign({ result, carry: zero });
  };

const popcnt: Semantic = (s) => {
  const source = s.op1.readUnsigned();
  const result = s.let(source.popcnt());
  s.op0.write(result);
  // Only ZF can be set
  s.flags.load(result.eqz().shl(6));
};

/** A BMI result: SF and ZF from it, OF clear, CF as given. */
function bmiResult(s: Semantics, value: I64, carry: I32): void {
  const result = s.let(value.signExtend(s.form.width));
  const carryOut = s.let(carry);
  s.op0.write(result);
  s.flags.assign({ result, carry: carryOut, overflow: i32(0) });
}

const andn: Semantic = (s) => bmiResult(s, s.op1.read().xor(-1).and(s.op2.read()), i32(0));

const lowestBit =
  (operation: (value: I64) => I64, carryWhenZero: boolean): Semantic =>
  (s) => {
    const source = s.op1.read();
    bmiResult(s, operation(source), carryWhenZero ? source.eqz() : source.eqz().eqz());
  };

const bextr: Semantic = (s) => {
  const { width } = s.form;
  const source = s.op1.readUnsigned();
  const control = s.op2.readUnsigned();
  const start = s.let(control.and(0xff));
  const length = s.let(control.shrU(8).and(0xff));
  const shifted = start.geU(width).select(i64(0), source.shrU(start));
  const mask = length.geU(64).select(i64(-1), i64(1).shl(length).sub(1));
  bmiResult(s, shifted.and(mask), i32(0));
};

const bzhi: Semantic = (s) => {
  const { width } = s.form;
  const source = s.op1.readUnsigned();
  const index = s.let(s.op2.readUnsigned().and(0xff));
  const beyond = s.let(index.geU(width));
  bmiResult(s, beyond.select(source as I64, source.and(i64(1).shl(index).sub(1))), beyond);
};

/** PDEP and PEXT, a set bit of the mask at a time. */
const deposit =
  (extract: boolean): Semantic =>
  (s) => {
    const source = s.op1.readUnsigned();
    const mask = s.let(s.op2.readUnsigned() as I64);
    const result = s.let(i64(0));
    const bit = s.let(i64(1));
    s.f.block((done) => {
      s.f.loop((next) => {
        s.f.brIf(done, mask.eqz());
        const lowest = s.let(mask.and(i64(0).sub(mask)));
        const [from, to] = extract ? [lowest, bit] : [bit, lowest];
        s.f.if(source.and(from).eqz().eqz(), () => s.f.set(result, result.or(to)));
        s.f.set(mask, mask.xor(lowest));
        s.f.set(bit, bit.shl(1));
        s.f.br(next);
      });
    });
    s.op0.write(result);
  };

const shiftx =
  (operation: 'shl' | 'shrU' | 'shrS'): Semantic =>
  (s) => {
    const { width } = s.form;
    const value = operation === 'shrS' ? s.op1.read() : s.op1.readUnsigned();
    s.op0.write(value[operation](s.op2.read().and(width - 1)));
  };

const rorx: Semantic = (s) => {
  const { width } = s.form;
  const value = s.op1.readUnsigned();
  const count = s.let(
    i64(width)
      .sub(s.op2.read(8).and(width - 1))
      .and(width - 1),
  );
  s.op0.write(rotateLeft(value, count, width));
};

export const shiftSemantics: Readonly<Record<string, Semantic>> = {
  ROL: rotate(false),
  ROR: rotate(true),
  RCL: rotateThroughCarry(false),
  RCR: rotateThroughCarry(true),
  SHL: shl,
  SHR: shr,
  SAR: sar,
  SHLD: doubleShift(false),
  SHRD: doubleShift(true),
  BT: bitTest(undefined),
  BTS: bitTest((value, mask) => value.or(mask)),
  BTR: bitTest((value, mask) => value.and(mask.xor(-1))),
  BTC: bitTest((value, mask) => value.xor(mask)),
  BSF: bitScan(false),
  BSR: bitScan(true),
  TZCNT: countZeros(false),
  LZCNT: countZeros(true),
  POPCNT: popcnt,
  ANDN: andn,
  BLSR: lowestBit((value) => value.and(value.sub(1)), true),
  BLSMSK: lowestBit((value) => value.xor(value.sub(1)), true),
  BLSI: lowestBit((value) => value.and(i64(0).sub(value)), false),
  BEXTR: bextr,
  BZHI: bzhi,
  PDEP: deposit(false),
  PEXT: deposit(true),
  SHLX: shiftx('shl'),
  SHRX: shiftx('shrU'),
  SARX: shiftx('shrS'),
  RORX: rorx,
};

/**
 * RCP and RSQRT: estimates of 12 bits, as AMD's processors since Zen give them (measured: the architecture bounds the
 * error only).
 *
 * The estimate depends on the upper 12 bits of the fraction, and is the difference of two table entries: one by the upper
 * eight bits, one by the uppermost and the lowest four of them. Denormals count as zero, also as results; MXCSR is neither
 * used nor changed.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import type { Semantic } from './context.ts';
import { type Shared, readXmm, requireSse, sharedFunction } from './simd-support.ts';
import { lane, withLane } from './softfloat-arithmetic.ts';
import { Single, isNan, magnitude } from './softfloat.ts';

/**
 * Tables as digits of base 36. `coarse`: by how much each of 256 entries is below the one before, the first being `first`.
 * `fine`: what is taken off, 16 rows of 16.
 */
const tables = {
  reciprocal: {
    first: 8190,
    coarse:
      'wvwuvvuuuutttttussrsrrrrrqqqqqprpppopoooononnnnomnmmmmmlmlllllkmkkkkkkjkjkjjjjijijiiii' +
      'iihihihhhihghhgghgggggfgggfgfffffffefefefeefedeeedeeddeddedddcdddcdcdccdccccccccbccbcb' +
      'cbbcbbbbbbbbbbababbbaabaaaabaaa9aaaa9aa9a9a9a999a99a9999989999899898989889888988888',
    fine:
      '023579bdfhikmoqs013568abdfgiklnp0134578abdeghjkm01245689acdeghik012346789bcdefhi012456' +
      '789abcefgh0123456789abcdef01234556789abcde012234567889abcd0112345567899abc012234456778' +
      '9aab011233455677899a0012233455677889001223345566788900112233455667780011223445566778',
  },
  rootOdd: {
    first: 8191,
    coarse:
      'ggfggffgffffffeffefeeeeeeeeededededddddddcddcdcdcdcccccccbccbcbdbbcbbbbbbbbbbabbababab' +
      'aaabaaaaaaaaaa9aa9a9a9a99a99a999999999899899898989898898898888888888887888878878787878' +
      '77877778777777777778776777767767767676767676676676676666667666666666666656666566656',
    fine:
      '01234567789abcde01233456789aabcd012234566789abbc0122344567789aab001223455677899a011233' +
      '455667889a0012233445667889001122344556678801122334455667780011223344556677001122333445' +
      '566701122233445566670011122333445566001122233444555600111223334455560001112233344455',
  },
  rootEven: {
    first: 5792,
    coarse:
      'bbcbabbbbabbababaabaaaaa9aaa9a9aa99a99999999999989989898898898888888888887887878787877' +
      '87778777777777777677767767676767667667666766666666666666566656665656656565565655655655' +
      '55655555555555555556455555455545545545455454545454454544544544454445444444544444444',
    fine:
      '011233455677899a0012233455677899001223344566778800122334455667780011223344556677011122' +
      '33445566670011222334455566001122233444556600011222333445550011122233344455001112223334' +
      '445501112223334444550001112222333444000111222233344400111122223333440011112222333344',
  },
} as const;
type TableName = keyof typeof tables;

const digits = (text: string): number[] => Array.from(text, (digit) => parseInt(digit, 36));

/** 256 coarse and 256 fine entries of two bytes. */
function tableBytes(name: TableName): Uint8Array {
  const { first, coarse, fine } = tables[name];
  let entry: number = first;
  const entries = [entry, ...digits(coarse).map((step) => (entry -= step)), ...digits(fine)];
  return new Uint8Array(new Uint16Array(entries).buffer);
}

/** Fraction bits of the estimate for a fraction, in place in a single. */
function estimate(f: FunctionBuilder, shared: Shared, x: I32, name: TableName): I32 {
  const table = shared.data(`estimate.${name}`, () => tableBytes(name));
  const entry = (index: I32) => table.add(index.shl(1));
  const coarse = entry(x.shrU(15).and(255)).load16u();
  const fine = entry(x.shrU(15).and(0xf0).or(x.shrU(11).and(15))).load16u(512);
  return f.let(coarse.sub(fine).and(0xfff).shl(11));
}

const infinity = Number(Single.infinity);

/** Common to both: NaNs are made quiet, zeros and denormals give infinities. */
function returnSpecial(f: FunctionBuilder, x: Local<I64>): void {
  f.if(isNan(x, Single), () => f.return(x.or(Single.quietBit)));
  f.if(magnitude(x, Single).ltU(Single.smallestNormal), () => {
    f.return(x.and(Single.signBit).or(Single.infinity));
  });
}

const reciprocal = sharedFunction<I64>('rcp', ['i32', 'i64'], 'i64', (f, shared) => {
  const x = f.param('i64', 1);
  returnSpecial(f, x);
  const bits = f.let(x.toI32());
  const exponent = f.let(i32(253).sub(bits.shrU(23).and(0xff)));
  const sign = f.let(x.and(Single.signBit));
  f.if(exponent.leS(0), () => f.return(sign));
  const size = exponent.shl(23).or(estimate(f, shared, bits, 'reciprocal'));
  f.return(size.toI64u().or(sign));
});

const rootReciprocal = sharedFunction<I64>('rsqrt', ['i32', 'i64'], 'i64', (f, shared) => {
  const x = f.param('i64', 1);
  returnSpecial(f, x);
  f.if(x.and(Single.signBit).ne(0), () => f.return(i64(Single.defaultNan)));
  const bits = f.let(x.toI32());
  f.if(bits.eq(infinity), () => f.return(i64(0)));
  const exponent = i32(380).sub(bits.shrU(23)).shrU(1).shl(23);
  const odd = bits.and(1 << 23);
  const fraction = odd.choose<I32>(
    f.let(estimate(f, shared, bits, 'rootOdd')),
    f.let(estimate(f, shared, bits, 'rootEven')),
  );
  f.return(exponent.or(fraction).toI64u());
});

type Estimate = typeof reciprocal;

const scalar =
  (kernel: Estimate): Semantic =>
  (s) => {
    requireSse(s);
    const x = s.op1.readF32().asI32().toI64u();
    s.op0.writeF32(kernel(s, s.cpu, x).toI32().asF32());
  };

const packed =
  (kernel: Estimate): Semantic =>
  (s) => {
    requireSse(s);
    const x = readXmm(s.op1);
    const result = s.let<V128>(x);
    for (let i = 0; i < 4; i++) s.f.set(result, withLane(result, i, kernel(s, s.cpu, lane(x, i, Single)), Single));
    s.op0.writeV128(result);
  };

export const sseEstimateSemantics: Record<string, Semantic> = {
  RCPSS: scalar(reciprocal),
  RCPPS: packed(reciprocal),
  RSQRTSS: scalar(rootReciprocal),
  RSQRTPS: packed(rootReciprocal),
};

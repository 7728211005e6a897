/** Packed BCD of 18 digits and a sign (SDM Vol. 1 §4.7 "BCD and Packed BCD Integers"). */
import { i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { fromInteger, toInteger } from './x87-convert.ts';
import { Ext, Status, shared } from './x87-state.ts';

const Digits = 18;
const Limit = 10n ** BigInt(Digits);

/** (to, from) -> 0: 10 bytes of BCD as an 80-bit value. Digits above 9 count by their binary value. */
export const fromBcd = shared('fromBcd', ['i32', 'i32'], (f, helper) => {
  const [dst, from] = [f.param('i32', 0), f.param('i32', 1)];
  const value = f.let(i64(0));
  const at = f.let(i32(Digits / 2));
  f.loop((again) => {
    f.set(at, at.sub(1));
    const pair = f.let(from.add(at).load64_8u());
    f.set(value, value.mul(100).add(pair.shrU(4).mul(10)).add(pair.and(15)));
    f.brIf(again, at);
  });
  f.drop(fromInteger(helper, dst, value));
  const sign = from.load8u(9).and(0x80).shl(8);
  f.store16(dst, Ext.SignExponent, dst.load16u(Ext.SignExponent).or(sign));
  f.return(i32(0));
});

/** (to, a, control) -> exceptions: `a` rounded to an integer as BCD; the BCD indefinite when it has more digits. */
export const toBcd = shared('toBcd', ['i32', 'i32', 'i32'], (f, helper) => {
  const [dst, from, control] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const sign = f.let(from.load16u(Ext.SignExponent).shrU(15));
  const flags = f.let(toInteger(helper, dst, from, control, 64));
  const value = f.let(dst.load64());
  f.if(value.ltS(0), () => f.set(value, i64(0).sub(value)));
  f.if(flags.and(Status.Invalid).or(value.geU(Limit)), () => {
    f.store64(dst, 0, 0xc000n << 48n);
    f.store16(dst, 8, i32(0xffff));
    f.return(i32(Status.Invalid));
  });
  const at = f.let(i32(0));
  f.loop((again) => {
    const rest = f.let(value.divU(100));
    const pair = f.let(value.sub(rest.mul(100)));
    const tens = f.let(pair.divU(10));
    f.store8(dst.add(at), 0, tens.shl(4).or(pair.sub(tens.mul(10))));
    f.set(value, rest);
    f.set(at, at.add(1));
    f.brIf(again, at.ltU(Digits / 2));
  });
  f.store8(dst, 9, sign.shl(7));
  f.return(flags);
});

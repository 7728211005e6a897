/** DPPS and DPPD: dot products, each product and sum rounded and signalled on its own. */
import { type I64, type V128, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic } from './context.ts';
import { immediate, raiseSimd, readXmm, requireSse, sharedFunction, zero128 } from './simd-support.ts';
import { arithmeticCore, lane, laneCount, withFlags, withLane } from './softfloat-arithmetic.ts';
import { Double, type Format, Single } from './softfloat.ts';

/**
 * Immediate: bits 4 to 7 choose the products, bits 0 to 3 the lanes that get the sum. Products and each level of sums are
 * steps with exceptions of their own.
 */
function exactDot(format: Format) {
  return sharedFunction<V128>(`dot.${format.bits}`, ['i32', 'v128', 'v128', 'i32'], 'v128', (f, shared) => {
    const [cpu, a, b, chosen] = [f.param('i32', 0), f.param('v128', 1), f.param('v128', 2), f.param('i32', 3)];
    const result = f.let<V128>(zero128);
    const add = (x: I64, y: I64) => f.let(arithmeticCore('add', format)(shared, cpu, x, y));
    const step = <T>(body: () => T): T => {
      const values = withFlags(f, shared, body);
      f.if(cpu.load32(Cpu.SimdVector), () => f.return(result));
      return values;
    };
    const [p0, p1, p2, p3] = step(() =>
      Array.from({ length: laneCount(format) }, (_, i) => {
        const product = f.let(i64(0));
        f.if(chosen.and(0x10 << i), () => {
          f.set(product, arithmeticCore('mul', format)(shared, cpu, lane(a, i, format), lane(b, i, format)));
        });
        return product;
      }),
    );
    const [low, high] = step(() => (p2 && p3 ? [add(p0!, p1!), add(p2, p3)] : [add(p0!, p1!)]));
    const sum = high ? step(() => add(low!, high)) : low!;
    for (let i = 0; i < laneCount(format); i++) {
      f.if(chosen.and(1 << i), () => f.set(result, withLane(result, i, sum, format)));
    }
    f.return(result);
  });
}

function dot(format: Format): Semantic {
  const exact = exactDot(format);
  return (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    const result = s.let(exact(s, s.cpu, a, b, immediate(s, s.op2)));
    raiseSimd(s);
    s.op0.writeV128(result);
  };
}

export const sseDotSemantics: Record<string, Semantic> = { DPPS: dot(Single), DPPD: dot(Double) };

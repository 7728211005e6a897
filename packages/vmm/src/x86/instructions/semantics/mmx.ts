/** EMMS; the other MMX instructions share their meaning with the SSE ones of the same name (sse-*.ts). */
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic } from './context.ts';
import { enterMmx, requireMmx } from './simd-support.ts';

export const mmxSemantics: Record<string, Semantic> = {
  /** Empties all x87 registers. */
  EMMS: (s) => {
    requireMmx(s);
    enterMmx(s);
    s.setState32(Cpu.FpuTags, 0);
  },
};

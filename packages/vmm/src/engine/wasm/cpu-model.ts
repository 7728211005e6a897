/** The CPU model of the engine's vCPUs: CPUID, the MSRs beside the state block, the paravirtual interface. */
import type { IrqChip } from '../../interrupts/irqchip.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { Clock } from '../../time/clock.ts';
import { type CpuFeature, CpuFeatures } from '../../x86/instructions/table/notation.ts';
import type { RareCpu } from './rare/rare-cpu.ts';
import { Cpu } from './interpreter/cpu-layout.ts';

export interface CpuModelConfig {
  readonly vcpus: number;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly irqchip: IrqChip;
}

const Hidden: readonly CpuFeature[] = ['monitor', 'smap', 'svm', 'invpcid', 'adx', 'sha', 'rdpid', 'clzero', 'wbnoinvd', 'xsavec', 'xsaves', 'clwb'];

export class CpuModel {
  readonly decoderFeatures: readonly CpuFeature[] = CpuFeatures.filter((feature) => !Hidden.includes(feature));
  readonly #config: CpuModelConfig;

  constructor(config: CpuModelConfig) {
    this.#config = config;
  }

  cpuid(
    cpu: RareCpu,
    id: number,
    leaf: number,
    subleaf: number,
  ): { eax: number; ebx: number; ecx: number; edx: number } {
    const r = (eax = 0, ebx = 0, ecx = 0, edx = 0) => ({ eax, ebx, ecx, edx });
    const n = this.#config.vcpus;
    const text = (s: string, at: number): number =>
      s.padEnd(48, '\0').charCodeAt(at) |
      (s.padEnd(48, '\0').charCodeAt(at + 1) << 8) |
      (s.padEnd(48, '\0').charCodeAt(at + 2) << 16) |
      (s.padEnd(48, '\0').charCodeAt(at + 3) << 24);
    const brand = 'Lodger x86-64-v2 virtual CPU';
    const osxsave = cpu.u32(Cpu.Cr4) & (1 << 18) ? 1 << 27 : 0;
    switch (leaf) {
      case 0:
        return r(0xd, 0x68747541, 0x444d4163, 0x69746e65);
      case 1:
        return r(
          0x00a10f11,
          (id << 24) | (n << 16) | 0x800,
          0x81000000 |
            (0x7ed83201 & ~0x4 & ~(1 << 30)) |
            (1 << 21) |
            (1 << 24) |
            (1 << 26) |
            (1 << 22) |
            (1 << 13) |
            (1 << 9) |
            (1 << 19) |
            (1 << 20) |
            (1 << 23) |
            osxsave |
            (1 << 31),
          0x178bfbff & ~(1 << 7) & ~(1 << 12) & ~(1 << 14),
        );
      case 7:
        return subleaf === 0 ? r(0, 1 | (1 << 3) | (1 << 7) | (1 << 8) | (1 << 9), 1 << 2, 1 << 4) : r();
      case 0xb:
        return r(
          subleaf === 0 ? 0 : 8,
          subleaf === 0 ? 1 : subleaf === 1 ? n : 0,
          subleaf | (subleaf < 2 ? (subleaf + 1) << 8 : 0),
          id,
        );
      case 0xd:
        return subleaf === 0 ? r(3, 576, 576, 0) : subleaf === 1 ? r(1) : r();
      case 0x40000000:
        return r(0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
      case 0x80000000:
        return r(0x80000008, 0x68747541, 0x444d4163, 0x69746e65);
      case 0x80000001:
        return r(
          0x00a10f11,
          0,
          1 | (1 << 5) | (1 << 8) | (n > 1 ? 2 : 0),
          0x2c100800 | (0x178bfbff & 0x183f3ff & ~(1 << 7) & ~(1 << 12) & ~(1 << 14)),
        );
      case 0x80000002:
      case 0x80000003:
      case 0x80000004: {
        const at = (leaf - 0x80000002) * 16;
        return r(text(brand, at), text(brand, at + 4), text(brand, at + 8), text(brand, at + 12));
      }
      case 0x80000007:
        return r(0, 0, 0, 1 << 8);
      case 0x80000008:
        return r(0x3030, 0, n - 1);
      default:
        return r();
    }
  }

  readMsr(_id: number, index: number): bigint | undefined {
    return index === 0x8b ||
      index === 0xc0010015 ||
      index === 0xc0010010 ||
      index === 0xc0011029 ||
      index === 0xc0010114 ||
      index === 0xfe
      ? 0n
      : undefined;
  }

  writeMsr(_id: number, index: number, _value: bigint): boolean {
    return index === 0xc0010015 || index === 0xc0011029;
  }

  beforeRun(_id: number): void {}

  random(): bigint {
    return BigInt.asUintN(
      64,
      BigInt(Math.floor(Math.random() * 2 ** 32)) * BigInt(Math.floor(Math.random() * 2 ** 32)),
    );
  }
}

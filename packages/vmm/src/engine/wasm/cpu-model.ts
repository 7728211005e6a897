/** The CPU model of the engine's vCPUs: CPUID, the MSRs beside the state block, the paravirtual interface. */
import type { IrqChip } from '../../interrupts/irqchip.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { Clock } from '../../time/clock.ts';
import type { TscRate } from '../../time/tsc-rate.ts';
import { HostError } from '../../errors/host-error.ts';
import { type CpuFeatureName } from '../../x86/cpu-features.ts';
import {
  type CpuChoice,
  type PortableModel,
  PortableModels,
  WasmCpuModel,
  isWasmCpuModel,
  reducedModel,
} from '../../x86/cpu-models.ts';
import { type CpuidResult, cpuid } from '../../x86/cpuid.ts';
import { type CpuFeature, CpuFeatures } from '../../x86/instructions/table/notation.ts';
import { readConstantMsr, writeConstantMsr } from '../../x86/msr.ts';
import { Cpu } from './interpreter/cpu-layout.ts';
import { Paravirtual } from './pv/paravirtual.ts';
import { RunAccounting } from './pv/run-accounting.ts';
import type { RareCpu } from './rare/rare-cpu.ts';

export interface CpuModelConfig {
  readonly cpu?: CpuChoice | undefined;
  readonly vcpus: number;
  readonly clock: Clock;
  readonly tsc: TscRate;
  readonly memory: GuestMemory;
  readonly irqchip: IrqChip;
  /** What RDTSC adds to the ticks in the clock's nanoseconds. */
  tscOffset(vcpu: number): bigint;
}

const Cr4OsXSave = 1 << 18;
/** IA32_APIC_BASE.EN */
const ApicEnabled = 1n << 11n;

/** @throws HostError for a model that the engine does not have */
function portableModel({ model, without }: CpuChoice): PortableModel {
  if (isWasmCpuModel(model)) return reducedModel(PortableModels[model], without);
  throw new HostError(
    'InvalidArgument',
    `the wasm engine has no CPU model ${model}: pass --cpu ${WasmCpuModel} or x86-64-v3, or choose --engine kvm`,
  );
}

function decoderFeatures({ features }: PortableModel): ReadonlySet<CpuFeature> {
  return new Set(CpuFeatures.filter((name) => features.has(name as CpuFeatureName)));
}

/** State components of XCR0 (SDM Vol. 1 §13.1 "XSAVE-Supported Features and State-Component Bitmaps"). */
const LegacyComponents = 3n;
const AvxComponent = 4n;

export class CpuModel {
  readonly choice: CpuChoice;
  /** What the guest's instructions may need. */
  readonly decoderFeatures: ReadonlySet<CpuFeature>;
  /** The same of the whole model, which the core is made for. */
  readonly coreFeatures: ReadonlySet<CpuFeature> = decoderFeatures(PortableModels[WasmCpuModel]);
  readonly paravirtual: Paravirtual;
  readonly #model: PortableModel;
  readonly #config: CpuModelConfig;
  readonly #accounting: RunAccounting;

  constructor(config: CpuModelConfig) {
    this.#config = config;
    this.choice = config.cpu ?? { model: WasmCpuModel, without: [] };
    this.#model = portableModel(this.choice);
    this.decoderFeatures = decoderFeatures(this.#model);
    this.paravirtual = new Paravirtual(config);
    this.#accounting = new RunAccounting(this.paravirtual.stealTime, config.clock, config.vcpus);
  }

  /** State components that XCR0 may turn on. */
  get xstateSupported(): bigint {
    return this.#model.features.has('avx') ? LegacyComponents | AvxComponent : LegacyComponents;
  }

  cpuid(cpu: RareCpu, id: number, leaf: number, subleaf: number): CpuidResult {
    const hypervisor = this.paravirtual.cpuid(leaf);
    if (hypervisor) return hypervisor;
    return cpuid(this.#model, leaf, subleaf, {
      apicId: id,
      vcpus: this.#config.vcpus,
      osxsave: (cpu.u32(Cpu.Cr4) & Cr4OsXSave) !== 0,
      apicEnabled: (this.#config.irqchip.apic(id).apicBase & ApicEnabled) !== 0n,
      xcr0: cpu.u64(Cpu.Xcr0),
    });
  }

  readMsr(id: number, index: number): bigint | undefined {
    return readConstantMsr(index) ?? this.paravirtual.readMsr(id, index);
  }

  writeMsr(id: number, index: number, value: bigint): boolean {
    return writeConstantMsr(index, value) || this.paravirtual.writeMsr(id, index, value);
  }

  /** The guest wrote its TSC. */
  tscChanged(): void {
    this.paravirtual.clock.update();
  }

  beforeRun(id: number): void {
    this.#accounting.started(id);
  }

  afterRun(id: number, runnable: boolean): void {
    this.#accounting.stopped(id, runnable);
  }

  /** For RDRAND and RDSEED: what the runtime's cryptography (Web Crypto API) gives. */
  random(): bigint {
    return crypto.getRandomValues(new BigUint64Array(1))[0]!;
  }
}

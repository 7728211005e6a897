/** KVM's paravirtual interface as the vCPUs of a VM see it: CPUID leaves, MSRs, and what happens around running. */
import type { CpuidResult } from '../../../x86/cpuid.ts';
import { ClockFeatures, KvmFeature, KvmMsr, kvmCpuid } from '../../../x86/kvm-interface.ts';
import { PvClock, type PvClockConfig } from './pv-clock.ts';
import { PvEoi } from './pv-eoi.ts';
import { StealTime } from './steal-time.ts';

export interface ParavirtualConfig extends PvClockConfig {
  /** Bits of {@link KvmFeature}; the clock and steal time when absent. */
  readonly features?: number;
}

/** What an MSR needs to exist. */
const FeatureOf: Readonly<Record<KvmMsr, number>> = {
  [KvmMsr.OldWallClock]: KvmFeature.OldClock,
  [KvmMsr.OldSystemTime]: KvmFeature.OldClock,
  [KvmMsr.WallClock]: KvmFeature.Clock,
  [KvmMsr.SystemTime]: KvmFeature.Clock,
  [KvmMsr.StealTime]: KvmFeature.StealTime,
  [KvmMsr.EndOfInterrupt]: KvmFeature.EndOfInterrupt,
};

export class Paravirtual {
  readonly clock: PvClock;
  readonly stealTime: StealTime;
  readonly endOfInterrupt: PvEoi;
  readonly features: number;
  readonly #vcpus: number;

  constructor(config: ParavirtualConfig) {
    this.features = config.features ?? ClockFeatures;
    this.#vcpus = config.vcpus;
    this.clock = new PvClock(config);
    this.stealTime = new StealTime(config.memory, config.vcpus);
    this.endOfInterrupt = new PvEoi(config.memory, config.vcpus);
  }

  /** Undefined for leaves that are not the hypervisor's. */
  cpuid(leaf: number): CpuidResult | undefined {
    return kvmCpuid(leaf, this.features);
  }

  /** Undefined is #GP. */
  readMsr(vcpu: number, index: number): bigint | undefined {
    const msr = this.#existing(index);
    switch (msr) {
      case undefined:
        return undefined;
      case KvmMsr.OldWallClock:
      case KvmMsr.WallClock:
        return this.clock.wallClock;
      case KvmMsr.OldSystemTime:
      case KvmMsr.SystemTime:
        return this.clock.systemTime(vcpu);
      case KvmMsr.StealTime:
        return this.stealTime.value(vcpu);
      case KvmMsr.EndOfInterrupt:
        return this.endOfInterrupt.value(vcpu);
      default:
        return msr satisfies never;
    }
  }

  /** False is #GP. */
  writeMsr(vcpu: number, index: number, value: bigint): boolean {
    const msr = this.#existing(index);
    switch (msr) {
      case undefined:
        return false;
      case KvmMsr.OldWallClock:
      case KvmMsr.WallClock:
        this.clock.setWallClock(value);
        return true;
      case KvmMsr.OldSystemTime:
      case KvmMsr.SystemTime:
        this.clock.setSystemTime(vcpu, value);
        return true;
      case KvmMsr.StealTime:
        return this.stealTime.setValue(vcpu, value);
      case KvmMsr.EndOfInterrupt:
        return this.endOfInterrupt.setValue(vcpu, value);
      default:
        return msr satisfies never;
    }
  }

  /** The MSRs of a vCPU are zero again: INIT leaves them, a machine reset does not. */
  reset(): void {
    this.clock.setWallClock(0n);
    for (let vcpu = 0; vcpu < this.#vcpus; vcpu++) {
      this.clock.setSystemTime(vcpu, 0n);
      this.stealTime.setValue(vcpu, 0n);
      this.endOfInterrupt.setValue(vcpu, 0n);
    }
  }

  /** The MSRs with a value, for a vCPU's state. */
  saveMsrs(vcpu: number): [index: number, value: bigint][] {
    return [
      [KvmMsr.WallClock, this.clock.wallClock],
      [KvmMsr.SystemTime, this.clock.systemTime(vcpu)],
      [KvmMsr.StealTime, this.stealTime.value(vcpu)],
      [KvmMsr.EndOfInterrupt, this.endOfInterrupt.value(vcpu)],
    ];
  }

  /**
   * Takes a saved MSR over, of a feature that this machine does not offer too: the guest does not miss what it brings,
   * and another engine will want to know. False when it is none of these. Guest memory must have been restored.
   */
  restoreMsr(vcpu: number, index: number, value: bigint): boolean {
    switch (index) {
      case KvmMsr.OldWallClock:
      case KvmMsr.WallClock:
        this.clock.restoreWallClock(value);
        return true;
      case KvmMsr.OldSystemTime:
      case KvmMsr.SystemTime:
        this.clock.setSystemTime(vcpu, value);
        return true;
      case KvmMsr.StealTime:
        this.stealTime.restore(vcpu, value);
        return true;
      case KvmMsr.EndOfInterrupt:
        this.endOfInterrupt.setValue(vcpu, value);
        return true;
      default:
        return false;
    }
  }

  #existing(index: number): KvmMsr | undefined {
    const feature = (FeatureOf as Readonly<Record<number, number>>)[index];
    return feature !== undefined && (this.features & feature) !== 0 ? (index as KvmMsr) : undefined;
  }
}

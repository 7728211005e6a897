/**
 * A portable CPU model under KVM: the same table that the wasm engine answers CPUID from.
 *
 * What KVM can't hide of the processor below, or shows by itself:
 * - Instructions without a bit to turn them off (SSE4, BMI, AES …) run although CPUID does not show them. AVX does not:
 *   XCR0 can't be set to it.
 * - Leaf 0x80000001 EDX keeps its APIC bit when the guest turns the APIC off; leaf 1 follows.
 * - Leaf 1 ECX shows MONITOR once the guest sets a bit of IA32_MISC_ENABLE, an MSR that the model does not have; so it is
 *   with other MSRs that KVM has for every guest (MTRRs, machine checks).
 * - Page tables have reserved bits by the processor's MAXPHYADDR, which can be less than the model's 48; 1-GiB pages work
 *   where the processor has them.
 * - kvm-pvm answers leaves 1, 7 and 0xD from the processor.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { CpuFeatureName } from '@lodger/vmm/x86/cpu-features.js';
import { ClaimNames, Leaf } from '@lodger/vmm/x86/cpu-features.js';
import type { CpuChoice, PortableModel, PortableModelName } from '@lodger/vmm/x86/cpu-models.js';
import { PortableModels, belongsToLevel, formatCpuChoice, reducedModel } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { cpuidTable } from '@lodger/vmm/x86/cpuid.js';
import type { Place } from '@lodger/vmm/x86/cpu-topology.js';
import { ClockFeatures, kvmCpuid } from '@lodger/vmm/x86/kvm-interface.js';
import { findEntry, hasFeature } from './cpuid.ts';

/**
 * Features that need nothing of the processor: the hypervisor's own (topology leaves), those which KVM emulates
 * everywhere although older ones do not list them, and MMXEXT, which is a part of SSE that Intel has no bit for.
 */
const Emulated: readonly CpuFeatureName[] = [
  'hypervisor', 'topoext', 'x2apic', 'tsc_adjust', 'arat', 'mmxext',
]; // prettier-ignore

/** What of KVM a model depends on. */
export interface KvmOffer {
  /** KVM_GET_SUPPORTED_CPUID. */
  readonly supported: readonly CpuidEntry[];
  /** KVM_CAP_TSC_DEADLINE_TIMER: KVM emulates it, and older ones do not list it. */
  readonly tscDeadline: boolean;
  /** The TSC's frequency is one that was asked for: the guest can only go where it can be had. */
  readonly tscFixed: boolean;
}

function offers({ supported, tscDeadline, tscFixed }: KvmOffer, name: CpuFeatureName): boolean {
  if (Emulated.includes(name)) return true;
  if (name === 'tsc_deadline_timer') return tscDeadline || hasFeature(supported, name);
  if (name === 'invtsc' && !tscFixed) return false;
  return hasFeature(supported, name);
}

/** Features of the model that KVM does not offer, in the order of the feature words. */
export function missingFeatures(model: PortableModel, offer: KvmOffer): CpuFeatureName[] {
  return [...model.features].filter((name) => !offers(offer, name));
}

export type PortableChoice = CpuChoice & { readonly model: PortableModelName };

/** A model as a guest is shown it on this host. */
export interface ShownModel {
  readonly model: PortableModel;
  /** What to ask of another host, or of the wasm engine, to be shown the same. */
  readonly choice: PortableChoice;
}

/**
 * The model, but for what the user takes away and for the claims that KVM does not offer.
 *
 * @throws HostError InvalidArgument that names the features which are missing
 */
export function shownModel(choice: PortableChoice, offer: KvmOffer): ShownModel {
  const wanted = reducedModel(PortableModels[choice.model], choice.without);
  const missing = missingFeatures(wanted, offer);
  const needed = missing.filter((name) => !ClaimNames.includes(name));
  if (needed.length > 0) throw new HostError('InvalidArgument', cannotGive(choice, needed, offer));
  const claims = missing.filter((name) => ClaimNames.includes(name));
  return {
    model: reducedModel(wanted, claims),
    choice: { model: choice.model, without: [...choice.without, ...claims] },
  };
}

function cannotGive(choice: PortableChoice, needed: readonly CpuFeatureName[], offer: KvmOffer): string {
  const refusal = `the CPU model ${choice.model} needs ${needed.join(' ')}, which this host's KVM does not offer`;
  if (!needed.some((name) => belongsToLevel(choice.model, name))) {
    const reduced = formatCpuChoice({ ...choice, without: [...choice.without, ...needed] });
    return `${refusal}: use --cpu ${reduced}, or --cpu host`;
  }
  const smaller = Object.values(PortableModels).find(
    (model) => model.name !== choice.model && missingFeatures(model, offer).every((name) => ClaimNames.includes(name)),
  );
  return `${refusal}: use --cpu ${smaller?.name ?? 'host'}`;
}

/** KVM_SET_CPUID2's entries of one vCPU. OSXSAVE and the APIC's bit follow the guest's registers by KVM's hand. */
export function portableCpuid(model: PortableModel, place: Place, supported: readonly CpuidEntry[]): CpuidEntry[] {
  const context = { ...place, osxsave: false, apicEnabled: true, xcr0: 1n };
  const paravirtual = ClockFeatures & (findEntry(supported, Leaf.HypervisorFeatures)?.eax ?? 0);
  const hypervisor = [Leaf.Hypervisor, Leaf.HypervisorFeatures].map((leaf) => {
    return { leaf, subleaf: undefined, ...kvmCpuid(leaf, paravirtual)! };
  });
  // Where there is a leaf of extended state, KVM puts sizes into it; without one it answers zeros.
  const hasExtendedState = model.features.has('xsave');
  const table = cpuidTable(model, context).filter(({ leaf }) => hasExtendedState || leaf !== Leaf.ExtendedState);
  return [...table, ...hypervisor];
}

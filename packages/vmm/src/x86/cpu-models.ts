/** The processors that a guest can be shown. */
import { HostError } from '../errors/host-error.ts';
import { type CpuFeatureName, CpuFeatureNames, isBaseline, isCpuFeatureName, withDependents } from './cpu-features.ts';

/**
 * `x86-64-v2` and `x86-64-v3` are the levels of the x86-64 psABI ("Micro-Architecture Levels"), the same on every host and
 * engine that can run them; `host` is what the host's processor and its KVM offer.
 */
export const CpuModelNames = ['host', 'x86-64-v2', 'x86-64-v3'] as const;
export type CpuModelName = (typeof CpuModelNames)[number];

/** The models that do not depend on the host. */
export type PortableModelName = Exclude<CpuModelName, 'host'>;

/** The one that a guest of the wasm engine sees unless it is asked for another. */
export const WasmCpuModel = 'x86-64-v2' satisfies PortableModelName;

/** Those that the wasm engine has: there is no host's processor under it. */
export function isWasmCpuModel(model: CpuModelName): model is PortableModelName {
  return model !== 'host';
}

/** What a guest is to be shown, as a user says it. */
export interface CpuChoice {
  readonly model: CpuModelName;
  /** Features of the model that the guest is not shown: a move to a host that lacks them is possible then. */
  readonly without: readonly CpuFeatureName[];
}

/**
 * A processor that does not depend on the host: what CPUID says beside topology.
 *
 * It says that it is an AMD processor, so that Linux leaves page-table isolation off. Neither engine speculates on a guest's
 * behalf beyond its own processor's protections, so the models have the claims that say "not affected"; automatic IBRS
 * spares Linux its retpolines.
 *
 * Left out of all models: AVX-512, SMAP, PCID, VME, MTRRs and machine checks, MONITOR, SVM, performance counters, the
 * controls of speculation (IBRS, IBPB, STIBP, SSBD).
 */
export interface PortableModel {
  readonly name: PortableModelName;
  /** Leaves 0x80000002 to 0x80000004. */
  readonly brand: string;
  readonly features: ReadonlySet<CpuFeatureName>;
  /** Nanoseconds are its TSC's ticks. */
  readonly tscKhz: number;
}

const V3Adds: readonly CpuFeatureName[] = ['avx', 'avx2', 'fma', 'f16c'];

const portable = (name: PortableModelName, shortName: string, omitted: readonly CpuFeatureName[]): PortableModel => ({
  name,
  brand: `${shortName} virtual processor`,
  features: new Set(CpuFeatureNames.filter((feature) => !omitted.includes(feature))),
  tscKhz: 1_000_000,
});

/** Stable: what a name stands for changes never; another processor gets another name. */
export const PortableModels: Readonly<Record<PortableModelName, PortableModel>> = {
  'x86-64-v2': portable('x86-64-v2', 'Lodger-v2', V3Adds),
  'x86-64-v3': portable('x86-64-v3', 'Lodger-v3', []),
};

/** What makes the levels (x86-64 psABI, "Micro-Architecture Levels"): a model without one of these is not worth its name. */
const LevelFeatures: Readonly<Record<PortableModelName, readonly CpuFeatureName[]>> = {
  'x86-64-v2': ['cx16', 'lahf_lm', 'popcnt', 'sse3', 'sse4.1', 'sse4.2', 'ssse3'],
  'x86-64-v3': ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'lzcnt', 'movbe', 'xsave'],
};

/** True for what the level is made of, false for what the model has beyond it. */
export function belongsToLevel(model: PortableModelName, name: CpuFeatureName): boolean {
  const levels = model === 'x86-64-v2' ? [model] : (['x86-64-v2', model] as const);
  return isBaseline(name) || levels.some((level) => LevelFeatures[level].includes(name));
}

/** The model but for `without` and what is nothing without it. */
export function reducedModel(model: PortableModel, without: Iterable<CpuFeatureName>): PortableModel {
  const left = withDependents(without);
  return { ...model, features: new Set([...model.features].filter((name) => !left.has(name))) };
}

/**
 * Parses `MODEL[,-FEATURE]…`: a model, but for the features named.
 *
 * @throws HostError InvalidArgument
 */
export function parseCpuChoice(text: string): CpuChoice {
  const [name = '', ...parts] = text.split(',');
  const model = CpuModelNames.find((known) => known === name);
  if (model === undefined) {
    const closest = name === '' ? '' : `, not "${name}"`;
    throw new HostError('InvalidArgument', `the CPU model is one of ${CpuModelNames.join(', ')}${closest}`);
  }
  return { model, without: parts.map((part) => removedFeature(part)) };
}

function removedFeature(part: string): CpuFeatureName {
  const name = part.slice(1);
  if (!part.startsWith('-')) {
    const hint = isCpuFeatureName(part)
      ? `write "-${part}" to take ${part} away`
      : 'write for example "x86-64-v2,-aes"';
    throw new HostError('InvalidArgument', `"${part}" after a CPU model is no feature to take away: ${hint}`);
  }
  if (!isCpuFeatureName(name)) {
    const removable = CpuFeatureNames.filter((known) => !isBaseline(known)).join(' ');
    throw new HostError('InvalidArgument', `there is no CPU feature "${name}": take away one of ${removable}`);
  }
  if (isBaseline(name)) {
    throw new HostError('InvalidArgument', `every x86-64 guest needs ${name}: leave "-${name}" out`);
  }
  return name;
}

/** The text of {@link parseCpuChoice}. */
export function formatCpuChoice({ model, without }: CpuChoice): string {
  return [model, ...without.map((name) => `-${name}`)].join(',');
}

/**
 * For a saved guest, before it goes on with `given`, the processor that its new machine shows: it must be the one that the
 * guest was shown (`saved`).
 *
 * @throws HostError InvalidArgument
 */
export function requireSameProcessor(saved: CpuChoice, given: CpuChoice): void {
  const wanted = withDependents(saved.without);
  const found = withDependents(given.without);
  const lost = [...found].filter((name) => !wanted.has(name));
  const gained = [...wanted].filter((name) => !found.has(name));
  if (saved.model === given.model && lost.length === 0 && gained.length === 0) return;
  const was = `the saved guest has the processor ${formatCpuChoice(saved)}`;
  if (saved.model === given.model && gained.length === 0) {
    throw new HostError(
      'InvalidArgument',
      `${was}, and this host cannot give it ${lost.join(' ')}: continue it on a host like its own, or start it with ` +
        `--cpu ${formatCpuChoice(given)} to be able to move it here`,
    );
  }
  throw new HostError(
    'InvalidArgument',
    `${was}, and this machine has ${formatCpuChoice(given)}: give it --cpu ${formatCpuChoice(saved)}`,
  );
}

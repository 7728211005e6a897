/** Files of profiles that other programs show. */
import type { GuestProfile, ProfileEntry } from './guest-profile.ts';
import { Tier, TierName } from './samples.ts';

export interface ProfileOrigin {
  /** What was profiled. */
  readonly name: string;
  /** Program and version. */
  readonly exporter: string;
}

/** Of milliseconds: more digits only make files larger. */
const Precision = 1000;

/** Indices of frames, from the outside in, and what each stack of a row of samples weighs. */
interface SampledProfile {
  readonly type: 'sampled';
  readonly name: string;
  readonly unit: 'milliseconds' | 'none';
  readonly startValue: 0;
  readonly endValue: number;
  readonly samples: readonly (readonly number[])[];
  readonly weights: readonly number[];
}

/**
 * speedscope's own format (https://www.speedscope.app/file-format-schema.json): one profile of all time, and of each tier
 * its time and its instructions.
 */
export function speedscopeProfile(profile: GuestProfile, { name, exporter }: ProfileOrigin): object {
  const frames = new Map<string, number>();
  const indexOf = (frame: string): number => {
    const known = frames.get(frame);
    if (known !== undefined) return known;
    frames.set(frame, frames.size);
    return frames.size - 1;
  };
  const part = (
    title: string,
    unit: SampledProfile['unit'],
    weigh: (entry: ProfileEntry) => number,
  ): SampledProfile => {
    const entries = profile.entries
      .map((entry) => ({ entry, weight: Math.round(weigh(entry) * Precision) / Precision }))
      .filter(({ weight }) => weight > 0);
    return {
      type: 'sampled',
      name: title,
      unit,
      startValue: 0,
      endValue: entries.reduce((sum, { weight }) => sum + weight, 0),
      samples: entries.map(({ entry }) => entry.frames.map(indexOf)),
      weights: entries.map(({ weight }) => weight),
    };
  };
  const [interpreter, translated] = TierName;
  const [first, second] = [Tier.Interpreter, Tier.Translated];
  const profiles = [
    part('time', 'milliseconds', ({ tiers }) => tiers[first].time + tiers[second].time),
    part(`${interpreter}: time`, 'milliseconds', ({ tiers }) => tiers[first].time),
    part(`${translated}: time`, 'milliseconds', ({ tiers }) => tiers[second].time),
    part(`${interpreter}: instructions`, 'none', ({ tiers }) => tiers[first].instructions),
    part(`${translated}: instructions`, 'none', ({ tiers }) => tiers[second].instructions),
  ];
  return {
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    exporter,
    name,
    activeProfileIndex: 0,
    shared: { frames: [...frames.keys()].map((frame) => ({ name: frame })) },
    profiles,
  };
}

interface CpuProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly scriptId: '0';
    readonly url: '';
    readonly lineNumber: -1;
    readonly columnNumber: -1;
  };
  hitCount: number;
  readonly children: number[];
}

/** The format of Chrome's developer tools ("Profiler.Profile" of its protocol): time by tier, kernel or process, symbol. */
export function cpuProfile(profile: GuestProfile): object {
  const nodes: CpuProfileNode[] = [];
  const known = new Map<string, CpuProfileNode>();
  const node = (path: readonly string[]): CpuProfileNode => {
    const key = path.join('\n');
    const found = known.get(key);
    if (found) return found;
    const parent = path.length > 1 ? node(path.slice(0, -1)) : undefined;
    const made: CpuProfileNode = {
      id: nodes.length + 1,
      callFrame: { functionName: path.at(-1)!, scriptId: '0', url: '', lineNumber: -1, columnNumber: -1 },
      hitCount: 0,
      children: [],
    };
    nodes.push(made);
    known.set(key, made);
    parent?.children.push(made.id);
    return made;
  };
  node(['(root)']);
  const MicrosecondsPerMillisecond = 1000;
  const taken = profile.entries.flatMap(({ frames, tiers }) =>
    tiers.map(({ time }, tier) => ({ path: ['(root)', TierName[tier as Tier], ...frames], time })),
  );
  const samples: number[] = [];
  const times: number[] = [];
  for (const { path, time } of taken) {
    const microseconds = Math.round(time * MicrosecondsPerMillisecond);
    if (microseconds === 0) continue;
    const leaf = node(path);
    leaf.hitCount++;
    samples.push(leaf.id);
    times.push(microseconds);
  }
  return {
    nodes,
    startTime: 0,
    endTime: times.reduce((sum, time) => sum + time, 0),
    samples,
    // A sample's time is what passes until the next one
    timeDeltas: [0, ...times.slice(0, -1)],
  };
}

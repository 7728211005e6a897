/** `lodger run --profile F`: the file, and what is said of it. */
import { writeSync } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { cpuProfile, speedscopeProfile } from '@lodger/vmm/profile/formats.js';
import type { GuestProfile } from '@lodger/vmm/profile/guest-profile.js';
import { Tier, TierName } from '@lodger/vmm/profile/samples.js';
import { lodgerVersion } from '../version.ts';
import { SaveFile } from '../vm/saved-machine.ts';

/** Chrome's developer tools, and editors, open files with such names. */
const ChromeSuffix = '.cpuprofile';
const Listed = 5;
/** The mode of the file. */
const AsUmaskSays = 0o666;

export class ProfileFile {
  readonly path: string;
  readonly #file: SaveFile;
  #isOpen = true;

  /**
   * Opens the file, so that what is wrong with it shows before the guest runs.
   *
   * @throws HostError
   */
  constructor(path: string) {
    this.path = path;
    this.#file = new SaveFile(path, profileFailed, AsUmaskSays);
  }

  /** @throws HostError */
  write(profile: GuestProfile): void {
    const origin = { name: 'guest code', exporter: `lodger ${lodgerVersion()}` };
    const contents = this.path.endsWith(ChromeSuffix) ? cpuProfile(profile) : speedscopeProfile(profile, origin);
    const bytes = Buffer.from(`${JSON.stringify(contents)}\n`);
    try {
      for (let written = 0; written < bytes.length;) written += writeSync(this.#file.descriptor, bytes, written);
    } catch (error) {
      this.discard();
      throw profileFailed(this.path, (error as Error).message, error);
    }
    this.#isOpen = false;
    this.#file.finish();
  }

  /** Leaves what was there, unless a profile has been written. */
  discard(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#file.discard();
  }
}

function profileFailed(path: string, reason: string, cause?: unknown): HostError {
  return new HostError('SaveFailed', `cannot write the profile ${path}: ${reason}`, { cause });
}

/** The hottest code, and what each tier had of it. */
export function profileText(profile: GuestProfile): string[] {
  const tiers = [Tier.Interpreter, Tier.Translated].map((tier) => {
    const { name, share, instructions } = profile.tier(tier, TierName[tier]);
    return `${name} ${percent(share)} of the time, ${instructions.toLocaleString('en-US')} instructions`;
  });
  const hottest = profile.hottest().slice(0, Listed);
  return [
    `${(profile.time / 1000).toFixed(2)} s in guest code, ${profile.samples} samples: ${tiers.join('; ')}`,
    ...(hottest.length === 0
      ? []
      : [`hottest: ${hottest.map((one) => `${one.name} ${percent(one.share)}`).join(', ')}`]),
  ];
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

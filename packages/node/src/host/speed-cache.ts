/**
 * What was measured of KVM, kept in the cache folder for as long as it is true: until the host boots again, its kernel,
 * the device or Lodger change. Whatever is wrong with the file or the folder costs a measurement, nothing else.
 */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { cacheDirectory, writeAtomically } from '../images/cache.ts';
import { lodgerVersion } from '../version.ts';
import type { EngineSpeed } from './engine-speed.ts';
import type { HostFiles } from './host-files.ts';
import type { KvmBackEnd } from './processor.ts';

/** What a measurement is valid for. */
export type SpeedKey = Readonly<Record<'format' | 'lodger' | 'boot' | 'kernel' | 'device' | 'backEnds', string>>;

const Format = '1';
const BootId = '/proc/sys/kernel/random/boot_id';

/** Undefined where a boot of the host cannot be told from the next: nothing is kept then. */
export function speedKey(host: HostFiles, device: number, backEnds: readonly KvmBackEnd[]): SpeedKey | undefined {
  const boot = host.text(BootId);
  if (!boot) return undefined;
  return {
    format: Format,
    lodger: lodgerVersion(),
    boot,
    kernel: release(),
    device: String(device),
    backEnds: backEnds.map(({ module }) => module).join(' '),
  };
}

export function speedCachePath(): string {
  return join(cacheDirectory(), 'kvm-speed.json');
}

/** What was measured under `key`, if it was. Never rejects. */
export async function readSpeed(key: SpeedKey, path = speedCachePath()): Promise<EngineSpeed | undefined> {
  try {
    const { speed, ...rest } = JSON.parse(await readFile(path, 'utf8')) as SpeedKey & { speed: EngineSpeed };
    const names = Object.keys(key) as (keyof SpeedKey)[];
    return names.every((name) => rest[name] === key[name]) && isSpeed(speed) ? speed : undefined;
  } catch {
    return undefined;
  }
}

/** Never rejects: false when it could not be kept. */
export async function writeSpeed(key: SpeedKey, speed: EngineSpeed, path = speedCachePath()): Promise<boolean> {
  try {
    await writeAtomically(path, `${JSON.stringify({ ...key, speed })}\n`);
    return true;
  } catch {
    return false;
  }
}

function isSpeed(value: unknown): value is EngineSpeed {
  const { ring0Rate, exitMicroseconds } = (value ?? {}) as Partial<Record<keyof EngineSpeed, unknown>>;
  return isPositive(ring0Rate) && isPositive(exitMicroseconds);
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}

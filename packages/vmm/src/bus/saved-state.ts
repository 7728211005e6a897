/** The check that every `restore()` starts with. */
import { HostError } from '../errors/host-error.ts';
import type { SavedState } from './bus-device.ts';

/** Throws HostError('Internal') unless `state` has the version that `device` knows. */
export function requireVersion(state: SavedState, version: number, device: string): void {
  if (state.version === version) return;
  throw new HostError(
    'Internal',
    `${device}: saved state has version ${state.version}, this Lodger reads version ${version}; restore it with the ` +
      `release that saved it`,
  );
}

/** Ways to give a guest a network: tap interfaces, and passt for users without privileges. */
import { execFile } from 'node:child_process';
import type { HostFiles } from './host-files.ts';
import type { PrivilegesReport } from './privileges.ts';

export interface NetworkReport {
  readonly tap: TapReport;
  readonly passt: PasstReport;
}

export type TapReport =
  | { readonly kind: 'usable' }
  /** The device can be opened: interfaces that an administrator made for this user can be used, none be created. */
  | { readonly kind: 'existing-only' }
  | { readonly kind: 'not-permitted' }
  | { readonly kind: 'absent' };

export type PasstReport =
  { readonly kind: 'installed'; readonly version: string | undefined } | { readonly kind: 'absent' };

const TunDevice = '/dev/net/tun';
/** Milliseconds that a program may take to tell its version. */
const VersionPatience = 1000;

export async function probeNetwork(host: HostFiles, privileges: PrivilegesReport): Promise<NetworkReport> {
  return { tap: tap(host, privileges), passt: await passt() };
}

/** The device is not opened: that alone would load a module. */
function tap(host: HostFiles, { netAdmin }: PrivilegesReport): TapReport {
  if (!host.stat(TunDevice)?.isCharacterDevice()) return { kind: 'absent' };
  if (!host.readableAndWritable(TunDevice)) return { kind: 'not-permitted' };
  return { kind: netAdmin ? 'usable' : 'existing-only' };
}

function passt(): Promise<PasstReport> {
  return new Promise((resolve) => {
    execFile('passt', ['--version'], { timeout: VersionPatience }, (error, stdout, stderr) => {
      if (error && 'code' in error && typeof error.code === 'string') return resolve({ kind: 'absent' });
      const line = `${stdout}\n${stderr}`.split('\n').find((each) => each.startsWith('passt '));
      resolve({ kind: 'installed', version: line?.slice('passt '.length) });
    });
  });
}

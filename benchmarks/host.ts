/** The machine that measures, in words for a report. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { qemuVersion } from './emulators.ts';

export interface HostDescription {
  readonly date: string;
  readonly processor: string;
  readonly memory: string;
  readonly system: string;
  readonly versions: string;
  /** Load average of the last minute, before the first run. */
  readonly load: number;
}

export function describeHost(guestRelease: string): HostDescription {
  const list = cpus();
  const debian = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
  return {
    date: new Date().toISOString(),
    processor: `${list.length} × ${list[0]?.model.trim() ?? 'unknown processor'}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    system: `${debian}, Linux ${release()}`,
    versions: [
      `Node ${process.versions.node} (V8 ${process.versions.v8})`,
      qemuVersion() ?? 'no QEMU',
      `guest kernel ${guestRelease}`,
    ].join(', '),
    load: loadavg()[0]!,
  };
}

/** Above this, other processes take part of the time that is measured. */
export function isBusy({ load }: HostDescription): boolean {
  return load > 0.5 * cpus().length;
}

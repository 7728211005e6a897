/** Control groups: which version, and whether this process may limit its machines' memory and processors with them. */
import { join } from 'node:path';
import type { HostFiles } from './host-files.ts';

export interface CgroupReport {
  /** `hybrid`: controllers of version 1 and a mount of version 2 beside them. */
  readonly layout: 'v2' | 'v1' | 'hybrid' | 'none';
  readonly memory: ControllerReport | undefined;
  readonly cpu: ControllerReport | undefined;
}

/** A controller that this process's group can use; undefined where there is none. */
export interface ControllerReport {
  readonly version: 1 | 2;
  /** The group of this process. */
  readonly path: string;
  /** This process may make groups below its own. */
  readonly writable: boolean;
}

interface Mount {
  readonly path: string;
  readonly type: string;
  readonly options: readonly string[];
}

export function probeCgroups(host: HostFiles): CgroupReport {
  const mounts = mountsOf(host).filter(({ type }) => type === 'cgroup' || type === 'cgroup2');
  const v1 = mounts.some(({ type, options }) => type === 'cgroup' && !options.some((each) => each.startsWith('name=')));
  const v2 = mounts.some(({ type }) => type === 'cgroup2');
  return {
    layout: v1 ? (v2 ? 'hybrid' : 'v1') : v2 ? 'v2' : 'none',
    memory: controller(host, mounts, 'memory'),
    cpu: controller(host, mounts, 'cpu'),
  };
}

function mountsOf(host: HostFiles): Mount[] {
  const lines = host.text('/proc/self/mounts')?.split('\n') ?? [];
  return lines.flatMap((line) => {
    const [, path, type, options] = line.split(' ');
    return path && type && options ? [{ path, type, options: options.split(',') }] : [];
  });
}

function controller(host: HostFiles, mounts: readonly Mount[], name: string): ControllerReport | undefined {
  const v1 = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(name));
  if (v1) return report(host, 1, v1.path, groupOf(host, name));
  const v2 = mounts.find(({ type }) => type === 'cgroup2');
  const group = groupOf(host, '');
  if (!v2 || group === undefined) return undefined;
  const available = host.text(join(v2.path, group, 'cgroup.controllers'))?.split(' ');
  return available?.includes(name) ? report(host, 2, v2.path, group) : undefined;
}

/** /proc/self/cgroup: `hierarchy:controllers:path` lines; version 2 has hierarchy 0 and no controllers. */
function groupOf(host: HostFiles, controllerName: string): string | undefined {
  for (const line of host.text('/proc/self/cgroup')?.split('\n') ?? []) {
    const [, hierarchy, controllers, path] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const matches = controllerName === '' ? hierarchy === '0' : controllers?.split(',').includes(controllerName);
    if (matches) return path;
  }
  return undefined;
}

function report(host: HostFiles, version: 1 | 2, mount: string, group: string | undefined): ControllerReport {
  // In a container, the group's path may lead outside of what is mounted there.
  const own = join(mount, group ?? '').replace(/\/$/, '');
  const inside = host.stat(own) ? own : mount;
  return { version, path: inside, writable: host.writable(inside) };
}

/** The device that KVM is reached by: whether it is there, whether this process may open it, and what to do otherwise. */
import { closeSync, openSync } from 'node:fs';
import type { Stats } from 'node:fs';
import type { HostFiles } from './host-files.ts';
import { probeProcessor } from './processor.ts';
import type { ProcessorReport } from './processor.ts';

export const KvmDevicePath = '/dev/kvm';

export type KvmDeviceReport =
  /** It can be opened; whether it is KVM that answers is for KVM's API to say. */
  | ({ readonly kind: 'usable' } & DeviceFile)
  | { readonly kind: 'absent'; readonly nextStep: string }
  | ({ readonly kind: 'not-permitted'; readonly nextStep: string } & DeviceFile)
  /** Something else has the name, or opening fails for another reason. */
  | { readonly kind: 'unusable'; readonly reason: string; readonly nextStep: string };

export interface DeviceFile {
  /** Permission bits, as `ls -l` counts them: 0o660. */
  readonly mode: number;
  readonly group: GroupReport;
  /** The device's number: major and minor as stat(2) has them. */
  readonly device: number;
}

export interface GroupReport {
  /** Its name, or its number where it has none. */
  readonly name: string;
  readonly mayUse: boolean;
  /** It is root's own, which nobody should join for this. */
  readonly isRoot: boolean;
  /** This process has the group. */
  readonly joined: boolean;
  /** The user is in the group, whatever this process has: who was added has to log in again. */
  readonly listed: boolean;
}

const PermissionBits = 0o777;
const GroupReadWrite = 0o060;

export function probeKvmDevice(host: HostFiles): KvmDeviceReport {
  const stat = host.stat(KvmDevicePath);
  if (stat === undefined) return { kind: 'absent', nextStep: stepWithoutDevice(probeProcessor(host)) };
  if (!stat.isCharacterDevice()) {
    return {
      kind: 'unusable',
      reason: 'it is no character device',
      nextStep: `remove what is at ${KvmDevicePath} and load the KVM module again`,
    };
  }
  const file = { mode: stat.mode & PermissionBits, group: groupOf(host, stat), device: stat.rdev };
  const failure = openingFailure(host.path(KvmDevicePath));
  if (failure === undefined) return { kind: 'usable', ...file };
  if (failure === 'EACCES' || failure === 'EPERM') {
    return { kind: 'not-permitted', nextStep: stepWithoutPermission(file, failure), ...file };
  }
  return {
    kind: 'unusable',
    reason: `opening it fails with ${failure}`,
    nextStep: stepWithoutDevice(probeProcessor(host)),
  };
}

/** One sentence: what is wrong with a device that is not usable. */
export function describeKvmDevice(device: Exclude<KvmDeviceReport, { kind: 'usable' }>): string {
  switch (device.kind) {
    case 'absent':
      return `there is no ${KvmDevicePath}`;
    case 'not-permitted':
      return `this user may not open ${KvmDevicePath} (group ${device.group.name}, mode ${modeText(device.mode)})`;
    case 'unusable':
      return `${KvmDevicePath} cannot be used: ${device.reason}`;
    default:
      return device satisfies never;
  }
}

/** `0660` */
export function modeText(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function openingFailure(path: string): string | undefined {
  try {
    closeSync(openSync(path, 'r+'));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function stepWithoutDevice({ virtualization, virtualMachine }: ProcessorReport): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the kvm engine is for Linux on x86-64';
  if (virtualization !== undefined) {
    const module = virtualization === 'vmx' ? 'kvm_intel' : 'kvm_amd';
    return `load KVM's module (sudo modprobe ${module}); in a container, pass the device to it (--device ${KvmDevicePath})`;
  }
  if (virtualMachine)
    return 'this host is a virtual machine: turn on nested virtualization for it, or use another host';
  return 'turn on virtualization (VT-x, AMD-V or SVM) in the firmware setup, where the processor has it';
}

function stepWithoutPermission({ group }: DeviceFile, failure: 'EACCES' | 'EPERM'): string {
  // The device's own permissions say EACCES; a container's device rules say EPERM.
  if (failure === 'EPERM') return `a container or cgroup forbids the device: pass it on (--device ${KvmDevicePath})`;
  if (!group.mayUse || group.isRoot) {
    return `let the group kvm use the device (sudo chgrp kvm ${KvmDevicePath}; sudo chmod 660 ${KvmDevicePath}) and join it`;
  }
  if (group.listed) return `this user is in the group ${group.name} but has not logged in since: log in again`;
  return `join the group ${group.name} (sudo usermod -aG ${group.name} $USER) and log in again`;
}

function groupOf(host: HostFiles, { gid, mode }: Stats): GroupReport {
  const entry = groups(host).find((each) => each.gid === gid);
  return {
    name: entry?.name ?? String(gid),
    isRoot: gid === 0,
    mayUse: (mode & GroupReadWrite) === GroupReadWrite,
    joined: process.getegid?.() === gid || (process.getgroups?.() ?? []).includes(gid),
    listed: entry?.members.includes(userName(host) ?? '') ?? false,
  };
}

/** /etc/group: `name:password:gid:member,member` (group(5)). */
function groups(host: HostFiles): { name: string; gid: number; members: readonly string[] }[] {
  const lines = host.text('/etc/group')?.split('\n') ?? [];
  return lines.map((line) => {
    const [name = '', , gid, members = ''] = line.split(':');
    return { name, gid: Number(gid), members: members.split(',') };
  });
}

/** /etc/passwd: `name:password:uid:…` (passwd(5)). */
function userName(host: HostFiles): string | undefined {
  const lines = host.text('/etc/passwd')?.split('\n') ?? [];
  return lines.map((line) => line.split(':')).find(([, , uid]) => Number(uid) === process.getuid?.())?.[0];
}

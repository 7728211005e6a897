/** /dev/kvm: what this host's KVM offers, and in plain words why it can't be used. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { Stats } from 'node:fs';
import { closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import { KvmCapability, type KvmCapabilityName } from './api/capabilities.ts';
import { constantName } from './api/exits.ts';
import { KvmRequest, kvmIoctl, requestName } from './api/requests.ts';
import { Errno, LinuxError, tryIoctl } from './linux/libc.ts';

/** KVM_GET_API_VERSION: the stable API has had this number since Linux 2.6.22; any other is to be refused (api.rst, 4.1). */
const ApiVersion = 12;

/** What the engine can't do without; all of them are in Linux 4.11 and later. */
export const RequiredCapabilities = [
  'UserMemory',
  'DestroyMemoryRegionWorks',
  'JoinMemoryRegionsWorks',
  'SyncMmu',
  'ReadonlyMem',
  'CheckExtensionVm',
  'EnableCapVm',
  'SetTssAddr',
  'ExtCpuid',
  'Irqchip',
  'IrqRouting',
  'Irqfd',
  'Ioeventfd',
  'SignalMsi',
  'Pit2',
  'PitState2',
  'AdjustClock',
  'MpState',
  'VcpuEvents',
  'Debugregs',
  'Xsave',
  'ImmediateExit',
] as const satisfies readonly KvmCapabilityName[];

const WithoutKvm = 'or use --engine wasm, which needs no KVM';

export interface SystemOptions {
  /** Default: {@link RequiredCapabilities}. */
  readonly required?: readonly KvmCapabilityName[];
}

export class KvmSystem {
  readonly path: string;
  readonly fd: number;
  #closed = false;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** Opens the device and checks it. A {@link HostError} EngineUnavailable says why not and what to do. */
  static open(path = '/dev/kvm', { required = RequiredCapabilities }: SystemOptions = {}): KvmSystem {
    const system = new KvmSystem(path, openDevice(path));
    try {
      system.#checkVersion();
      system.#checkCapabilities(required);
    } catch (error) {
      system.close();
      throw error;
    }
    return system;
  }

  #checkVersion(): void {
    const version = tryIoctl(this.fd, KvmRequest.GetApiVersion);
    if (version === ApiVersion) return;
    if (version < 0) throw unavailable(`${this.path} is not a KVM device: give the path of one, ${WithoutKvm}`);
    throw unavailable(
      `${this.path} speaks version ${version} of the KVM API and only ${ApiVersion} is known: update the host's kernel, ` +
        WithoutKvm,
    );
  }

  #checkCapabilities(required: readonly KvmCapabilityName[]): void {
    const missing = required.filter((name) => !this.has(name)).map((name) => `KVM_CAP_${constantName(name)}`);
    if (missing.length === 0) return;
    throw unavailable(`${this.path} lacks ${missing.join(', ')}: update the host's kernel, ${WithoutKvm}`);
  }

  /** What KVM_CHECK_EXTENSION answers: 0 when absent, else 1 or a value of the capability's own. */
  capability(name: KvmCapabilityName): number {
    return kvmIoctl(this.fd, KvmRequest.CheckExtension, KvmCapability[name]);
  }

  has(name: KvmCapabilityName): boolean {
    return this.capability(name) > 0;
  }

  /** Bytes of a vCPU's mapping: struct kvm_run, the data of port I/O and the ring of coalesced writes. */
  get vcpuMapSize(): number {
    return kvmIoctl(this.fd, KvmRequest.GetVcpuMmapSize);
  }

  /** KVM_CREATE_VM: the VM's file descriptor. */
  createVm(): number {
    let error: LinuxError;
    do {
      const fd = tryIoctl(this.fd, KvmRequest.CreateVm);
      if (fd >= 0) return fd;
      error = new LinuxError(requestName(KvmRequest.CreateVm), -fd);
      // A signal during the first VM's set-up
    } while (error.errno === Errno.EINTR);
    throw unavailable(whyNoVm(error), error);
  }

  /** Only the first call counts. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
  }
}

function unavailable(message: string, cause?: unknown): HostError {
  return new HostError('EngineUnavailable', message, cause === undefined ? undefined : { cause });
}

function openDevice(path: string): number {
  try {
    return openSync(path, constants.O_RDWR);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw unavailable(whyNotOpened(path, code), cause);
  }
}

/** Why open(2) of the device failed with `code`, and what to do. */
function whyNotOpened(path: string, code: string): string {
  const enable =
    'enable virtualization (AMD SVM or Intel VT-x) in the firmware and load the module ' +
    `(modprobe kvm_amd or modprobe kvm_intel), ${WithoutKvm}`;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return `there is no ${path}: ${enable}`;
    case 'ENODEV':
    case 'ENXIO':
      return `${path} has no working KVM behind it: ${enable}`;
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `no permission to use ${path}${howToGetPermission(path)}, ${WithoutKvm}`;
    case 'EMFILE':
    case 'ENFILE':
      return `cannot open ${path}: too many open files: raise the limit (ulimit -n), ${WithoutKvm}`;
    default:
      return `cannot open ${path} (${code}): check it with ls -l ${path}, ${WithoutKvm}`;
  }
}

const ModeBits = { GroupReadWrite: 0o060, OtherReadWrite: 0o006, All: 0o777 } as const;

/** `: it belongs to group kvm (mode 660): …`. */
function howToGetPermission(path: string): string {
  const status = statOf(path);
  if (!status) return ' (nor to see it: a folder of its path is closed to you)';
  const { gid, mode } = status;
  const group = groupName(gid);
  const shown = (mode & ModeBits.All).toString(8);
  const owner = ` (group ${group}, mode ${shown})`;
  if ((mode & ModeBits.OtherReadWrite) === ModeBits.OtherReadWrite) {
    return `${owner}: its mode allows it, so a container or security policy forbids it: give it the device`;
  }
  const groupMayUse = (mode & ModeBits.GroupReadWrite) === ModeBits.GroupReadWrite;
  // Membership of root's group would give more than KVM
  if (groupMayUse && gid !== 0) {
    return `${owner}: join the group with "sudo usermod -aG ${group} $USER" and log in again`;
  }
  return `${owner}: give it a group of its own with "sudo chgrp kvm ${path}; sudo chmod 660 ${path}", join that group with "sudo usermod -aG kvm $USER" and log in again`;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** The name of a group in /etc/group, or its number. */
function groupName(gid: number): string {
  try {
    const lines = readFileSync('/etc/group', 'utf8').split('\n');
    return lines.map((line) => line.split(':')).find(([, , id]) => id === String(gid))?.[0] ?? String(gid);
  } catch {
    return String(gid);
  }
}

/** Why KVM_CREATE_VM failed, and what to do. */
function whyNoVm(error: LinuxError): string {
  switch (error.errno) {
    case Errno.EBUSY:
      return (
        'another hypervisor has the processor’s virtualization (VirtualBox, VMware …): stop its machines or unload its ' +
        `module, ${WithoutKvm}`
      );
    case Errno.ENOMEM:
    case Errno.EMFILE:
    case Errno.ENFILE:
      return `KVM cannot make another VM (${error.code}): stop other VMs or raise the limit (ulimit -n), ${WithoutKvm}`;
    default:
      return `KVM cannot make a VM (${error.code}): look for kvm in the kernel’s log (dmesg), ${WithoutKvm}`;
  }
}

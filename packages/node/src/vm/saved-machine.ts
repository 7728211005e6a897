/** The file of a saved machine: its path on the host, and what it says about the machine to be made. */
import { closeSync, constants, fstatSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { checkShape } from '@lodger/vmm/snapshot/shape.js';
import { readSavedMachine } from '@lodger/vmm/snapshot/snapshot-file.js';
import { formatCpuChoice, parseCpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { fileSource } from '../threads/snapshot-io.ts';

/** What a machine is made of, beside its state. */
export interface MachineDescription {
  readonly version: 1;
  readonly memorySize: number;
  readonly cpus: number;
  readonly disks: readonly SavedDisk[];
  /** For the next boot, if the guest resets. */
  readonly boot: {
    readonly kernel: string;
    readonly initrd?: string | undefined;
    readonly linuxCommandLine: string;
    readonly commandLine: string;
  };
}

/** The processor is what the engine shows the guest: text of parseCpuChoice. */
export type SavedDescription = MachineDescription & { readonly cpu: string };

export interface SavedDisk {
  readonly path: string;
  readonly readOnly: boolean;
  /** What the guest knows it by. */
  readonly serial: string;
}

const Template: SavedDescription = {
  version: 1,
  memorySize: 0,
  cpus: 0,
  cpu: '',
  disks: [{ path: '', readOnly: false, serial: '' }],
  boot: { kernel: '', linuxCommandLine: '', commandLine: '' },
};

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file or folder',
    EACCES: 'no permission',
    EPERM: 'no permission',
    EISDIR: 'it is a folder',
    ENOSPC: 'there is no room: free some, or save to another file system',
    EROFS: 'the file system is read-only',
  };
  return known[code ?? ''] ?? message;
}

/** A file that is written beside its place, and put there when it is whole: what was there stays until then. */
export class SaveFile {
  readonly descriptor: number;
  readonly #path: string;
  readonly #part: string;

  /** @throws HostError SaveFailed */
  constructor(path: string) {
    this.#path = path;
    this.#part = `${path}.part`;
    try {
      // Guest memory may hold secrets
      const ownerOnly = 0o600;
      this.descriptor = openSync(this.#part, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, ownerOnly);
    } catch (error) {
      throw saveFailed(path, reasonOf(error), error);
    }
  }

  /** @throws HostError SaveFailed */
  finish(): void {
    try {
      fsyncSync(this.descriptor);
      renameSync(this.#part, this.#path);
    } catch (error) {
      this.discard();
      throw saveFailed(this.#path, reasonOf(error), error);
    }
    closeSync(this.descriptor);
  }

  discard(): void {
    closeSync(this.descriptor);
    rmSync(this.#part, { force: true });
  }
}

export function saveFailed(path: string, reason: string, cause?: unknown): HostError {
  return new HostError('SaveFailed', `cannot save the machine to ${path}: ${reason}`, { cause });
}

/** What the thread that writes the file says when it cannot. */
export const describeSaveError = reasonOf;

/** An opened file of a saved machine. */
export interface OpenedSave {
  readonly descriptor: number;
  readonly description: MachineDescription;
  readonly cpu: CpuChoice;
}

/** @throws HostError SaveUnreadable, or InvalidArgument when the file is no saved machine or damaged */
export function openSavedMachine(path: string): OpenedSave {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new HostError('SaveUnreadable', `cannot read the saved machine ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  try {
    if (!fstatSync(descriptor).isFile()) {
      throw new HostError('SaveUnreadable', `the saved machine ${path} is no regular file`);
    }
    const { machine } = readSavedMachine(fileSource(descriptor));
    const description = checkDescription(machine);
    return { descriptor, description, cpu: parseCpuChoice(description.cpu) };
  } catch (error) {
    closeSync(descriptor);
    throw error instanceof HostError ? new HostError(error.code, `${path}: ${error.message}`, { cause: error }) : error;
  }
}

function checkDescription(machine: unknown): SavedDescription {
  checkShape(machine, Template, 'machine');
  const found = machine as Partial<SavedDescription> & { boot?: object };
  const missing = Object.keys(Template).find((name) => found[name as keyof SavedDescription] === undefined);
  const missingBoot = Object.keys(Template.boot).find((name) => !(name in (found.boot ?? {})));
  if (missing ?? missingBoot) {
    throw new HostError('InvalidArgument', `the saved machine is damaged (its ${missing ?? missingBoot} is missing)`);
  }
  if (found.version !== 1) {
    throw new HostError(
      'InvalidArgument',
      `the saved machine's description has version ${String(found.version)}, this Lodger reads 1: restore it with the ` +
        'release that saved it',
    );
  }
  return found as SavedDescription;
}

/** What the worker writes. */
export function describeMachine(description: MachineDescription, cpu: CpuChoice): SavedDescription {
  return { ...description, cpu: formatCpuChoice(cpu) };
}

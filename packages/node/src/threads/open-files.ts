/** The files that a boot reads, open until it has read them. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { ByteSource } from '@lodger/vmm/boot/byte-source.js';
import { fileSource } from './snapshot-io.ts';

export class OpenFiles {
  readonly #descriptors: number[] = [];

  open(path: string): ByteSource {
    const descriptor = openChecked(path);
    this.#descriptors.push(descriptor);
    return { length: fstatSync(descriptor).size, ...fileSource(descriptor) };
  }

  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) closeSync(descriptor);
  }
}

/** The file was there when the machine was created. */
function openChecked(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    const { message } = cause as Error;
    throw new HostError('KernelUnreadable', `${path} went away before the boot (${message}): put it back`, { cause });
  }
}

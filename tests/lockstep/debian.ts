/** Debian's kernel with the default initramfs, or other files, as a guest of lockstep runs. */
import { ensureGuestImage, loadInitrdFile, loadKernelFile } from '#lodger/images/index.js';
import { linuxCommandLine } from '#lodger/vm/command-line.js';
import type { Guest } from './deterministic-machine.ts';

const MemorySize = 256 << 20;

export interface LinuxFiles {
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly append?: string | undefined;
  /** What the guest reads from its console. */
  readonly input?: string | undefined;
}

export async function linuxGuest({ kernel, initrd, append, input }: LinuxFiles = {}): Promise<Guest> {
  const image = kernel === undefined || initrd === undefined ? await ensureGuestImage() : undefined;
  const files = await loadKernelFile(kernel ?? image!.kernel);
  return {
    memorySize: MemorySize,
    input,
    boot: {
      ...files,
      initrd: await loadInitrdFile(initrd ?? image!.initrd),
      linuxCommandLine: linuxCommandLine(append === undefined ? {} : { append }, ''),
      commandLine: append ?? '',
    },
  };
}

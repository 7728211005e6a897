/** Names of guest addresses: from the kernel that is booted, and from files that the user gives. */
import { readFileSync } from 'node:fs';
import { byteSource } from '@lodger/vmm/boot/byte-source.js';
import { isElf, parseElf } from '@lodger/vmm/boot/elf/elf-file.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { readSymbols } from '@lodger/vmm/symbols/elf-symbols.js';
import { symbolText } from '@lodger/vmm/symbols/symbol-table.js';
import type { FoundSymbol, SymbolTable } from '@lodger/vmm/symbols/symbol-table.js';
import { loadKernelFile } from '../images/index.ts';
import type { SymbolFile } from './options.ts';

export class GuestSymbols {
  readonly #kernel: SymbolTable | undefined;
  readonly #files: readonly SymbolTable[];

  /** `kernel`: its table, if it has any symbols. */
  constructor(kernel: SymbolTable | undefined, files: readonly SymbolTable[]) {
    this.#kernel = kernel;
    this.#files = files;
  }

  /** Of code at CPL 0 to 2. */
  kernel(address: bigint): FoundSymbol | undefined {
    return this.user(address) ?? this.#kernel?.find(address);
  }

  /** Of code at CPL 3. */
  user(address: bigint): FoundSymbol | undefined {
    for (const table of this.#files) {
      const found = table.find(address);
      if (found) return found;
    }
    return undefined;
  }

  text(address: bigint): string | undefined {
    const found = this.kernel(address);
    return found && symbolText(found);
  }

  /**
   * The address of `NAME` or `NAME+0xOFFSET`.
   *
   * @throws HostError when no file has the name
   */
  addressOf(text: string): bigint {
    const [, name, offset = '0'] = /^(.+?)(?:\+(0x[0-9a-f]+|\d+))?$/i.exec(text) ?? [undefined, text];
    for (const table of [...this.#files, this.#kernel]) {
      const address = table?.addressOf(name!);
      if (address !== undefined) return address + BigInt(offset);
    }
    const where = this.#kernel
      ? 'neither the kernel nor a file of --symbols has'
      : 'the kernel has no symbols, and no file of --symbols has';
    throw new HostError(
      'InvalidArgument',
      `${where} the symbol "${name}": pass an address such as 0xffffffff81000000, or the ELF file with --symbols`,
    );
  }
}

/** @throws HostError when a file has no symbols to be read */
export function readSymbolFiles(files: readonly SymbolFile[]): SymbolTable[] {
  return files.map(({ path, address }) => {
    let table: SymbolTable;
    try {
      table = readSymbols(parseElf(path, byteSource(readFileSync(path))), address);
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? 'there is no such file' : message;
      throw new HostError(
        'InvalidArgument',
        `no symbols can be read from ${path}: ${reason}; pass an ELF file for x86`,
        { cause },
      );
    }
    if (table.size > 0) return table;
    throw new HostError('InvalidArgument', `${path} has no symbols: pass the file as it was before it was stripped`);
  });
}

/** The symbols of a kernel that can be booted; undefined when it has none, or is no ELF file. */
export async function readKernelSymbols(path: string): Promise<SymbolTable | undefined> {
  try {
    const { kernel } = await loadKernelFile(path);
    if (!isElf(kernel)) return undefined;
    const table = readSymbols(parseElf(path, byteSource(kernel)));
    return table.size > 0 ? table : undefined;
  } catch {
    // Names are a help only, and the kernel did boot
    return undefined;
  }
}

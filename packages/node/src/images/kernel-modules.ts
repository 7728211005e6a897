/**
 * The modules of an unpacked kernel package: where they are, what they depend on, in which order to load them.
 *
 * Packages come without modules.dep (depmod makes it on installation), so the modules are asked themselves: each has a
 * `.modinfo` section of `key=value` strings.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { decompress } from './decompress.ts';
import { listFiles } from './manifest.ts';

export interface KernelModule {
  readonly name: string;
  /** Below lib/modules/<release>, without the suffix of its compression. */
  readonly path: string;
  /** Uncompressed. */
  readonly bytes: Uint8Array;
  readonly depends: readonly string[];
  readonly aliases: readonly string[];
}

const Suffixes = { '.ko': undefined, '.ko.gz': 'gzip', '.ko.xz': 'xz', '.ko.zst': 'zstd' } as const;
const MaxModuleSize = 64 * 1024 * 1024;

/** Modules of one kernel by name; each is read when it is asked for. */
export class ModuleTree {
  readonly #root: string;
  readonly #paths: ReadonlyMap<string, string>;
  readonly #loaded = new Map<string, KernelModule>();

  private constructor(root: string, paths: ReadonlyMap<string, string>) {
    this.#root = root;
    this.#paths = paths;
  }

  /** `root` is lib/modules/<release>. */
  static async open(root: string): Promise<ModuleTree> {
    const paths = new Map<string, string>();
    for (const path of await listFiles(root)) {
      const suffix = Object.keys(Suffixes).find((ending) => path.endsWith(ending));
      if (suffix) paths.set(moduleName(basename(path, suffix)), path);
    }
    return new ModuleTree(root, paths);
  }

  has(name: string): boolean {
    return this.#paths.has(moduleName(name));
  }

  async get(name: string): Promise<KernelModule> {
    const key = moduleName(name);
    const known = this.#loaded.get(key);
    if (known) return known;
    const path = this.#paths.get(key);
    if (path === undefined) {
      throw new HostError('FetchFailed', `the kernel's modules lack ${name}: remove ${this.#root} and start again`);
    }
    const module = await readModule(this.#root, key, path);
    this.#loaded.set(key, module);
    return module;
  }

  /** The named modules and all that they need, each behind its own dependencies. Unknown names are built in: left out. */
  async inLoadOrder(names: readonly string[]): Promise<KernelModule[]> {
    const order = new Map<string, KernelModule>();
    const visiting = new Set<string>();
    const visit = async (name: string): Promise<void> => {
      const key = moduleName(name);
      if (order.has(key) || visiting.has(key)) return;
      visiting.add(key);
      const module = await this.get(key);
      for (const dependency of module.depends) await visit(dependency);
      order.set(key, module);
    };
    for (const name of names) if (this.has(name)) await visit(name);
    return [...order.values()];
  }
}

/** The kernel takes - and _ for the same. */
function moduleName(name: string): string {
  return name.replaceAll('-', '_');
}

async function readModule(root: string, name: string, path: string): Promise<KernelModule> {
  const file: Uint8Array = await readFile(join(root, path));
  const [suffix, format] = Object.entries(Suffixes)
    .filter(([ending]) => path.endsWith(ending))
    .at(-1)!;
  const bytes = format ? decompress(format, file, MaxModuleSize) : file;
  const info = readModuleInfo(bytes);
  const values = (key: string) => info.filter((entry) => entry.key === key).map((entry) => entry.value);
  return {
    name,
    path: `${path.slice(0, -suffix.length)}.ko`,
    bytes,
    depends: values('depends').flatMap((list) => list.split(',').filter((entry) => entry !== '')),
    aliases: values('alias'),
  };
}

/** The strings of the ELF section `.modinfo`; none when the file has no such section. */
export function readModuleInfo(bytes: Uint8Array): { key: string; value: string }[] {
  const section = findSection(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), '.modinfo');
  if (!section) return [];
  return section
    .toString('latin1')
    .split('\0')
    .filter((entry) => entry.includes('='))
    .map((entry) => ({ key: entry.slice(0, entry.indexOf('=')), value: entry.slice(entry.indexOf('=') + 1) }));
}

/** System V ABI "Sections", 64-bit little-endian files. */
const ElfHeader = { SectionOffset: 40, SectionEntrySize: 58, SectionCount: 60, NamesIndex: 62, Size: 64 } as const;
const Section = { Name: 0, Offset: 24, Length: 32, Size: 64 } as const;

function findSection(file: Buffer, wanted: string): Buffer | undefined {
  if (file.length < ElfHeader.Size || file.toString('latin1', 0, 5) !== '\x7fELF\x02') return undefined;
  const table = Number(file.readBigUInt64LE(ElfHeader.SectionOffset));
  const entrySize = file.readUInt16LE(ElfHeader.SectionEntrySize);
  const count = file.readUInt16LE(ElfHeader.SectionCount);
  if (entrySize < Section.Size || table + count * entrySize > file.length) return undefined;
  const contents = (index: number): Buffer => {
    const at = table + index * entrySize;
    const offset = Number(file.readBigUInt64LE(at + Section.Offset));
    return file.subarray(offset, offset + Number(file.readBigUInt64LE(at + Section.Length)));
  };
  const namesIndex = file.readUInt16LE(ElfHeader.NamesIndex);
  if (namesIndex >= count) return undefined;
  const names = contents(namesIndex);
  for (let i = 0; i < count; i++) {
    const name = names.subarray(file.readUInt32LE(table + i * entrySize + Section.Name));
    if (name.toString('latin1', 0, wanted.length + 1) === `${wanted}\0`) return contents(i);
  }
  return undefined;
}

/** modules.dep and modules.alias, as `modprobe` in the guest reads them. */
export function moduleTables(modules: readonly KernelModule[]): { dep: string; alias: string } {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const allDependencies = (module: KernelModule, seen = new Set<KernelModule>()): Set<KernelModule> => {
    for (const name of module.depends) {
      const dependency = byName.get(moduleName(name));
      if (!dependency || seen.has(dependency)) continue;
      seen.add(dependency);
      allDependencies(dependency, seen);
    }
    return seen;
  };
  const dep = modules.map(
    (module) => `${[`${module.path}:`, ...[...allDependencies(module)].map((entry) => entry.path)].join(' ')}\n`,
  );
  const alias = modules.flatMap(({ name, aliases }) => aliases.map((entry) => `alias ${entry} ${name}\n`));
  return { dep: dep.join(''), alias: alias.join('') };
}

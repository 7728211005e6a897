/**
 * Programs of Debian's in guests: binaries from the packages of the host's Debian, run by the scripts of guest/debian in a
 * root of their own. The packages are fetched and unpacked once, into the cache; nothing is installed.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { PrivateApt } from '#lodger/images/apt.js';
import { cacheDirectory, exists, removeLeftovers, withTemporaryDirectory } from '#lodger/images/cache.js';
import type { CpioEntry } from '#lodger/images/cpio.js';
import { withLock } from '#lodger/images/lock.js';
import { runTool } from '#lodger/images/tool.js';
import { benchArchive, buildPrograms, GuestSources, runNatively } from './guest-programs.ts';
import type { ProgramResult } from './programs.ts';

/** What the scripts call; what it depends on comes with it. */
const Packages = ['dash', 'coreutils', 'gzip', 'xz-utils', 'python3', 'sqlite3', 'openssl', 'gcc'] as const;

/** Parts of the packages that no script needs, as paths in the root: they would fill the guest's memory. */
const Left = [
  /^usr\/share\//,
  /^usr\/include\//,
  /^var\//,
  /^usr\/sbin\//,
  /\.a$/,
  /^usr\/lib\/gcc\/.*\/(lto|collect2|include|plugin|g\+\+)/,
  /\/lib(asan|tsan|lsan|ubsan|gprofng|krb5|db-)[^/]*$/,
  /\/gprofng\//,
  /^usr\/bin\/.*(lto|gold|dwp|ld\.bfd|readelf|objdump|gcov|cpp-)/,
  /^usr\/lib\/python3[^/]*\/(pydoc_data|lib2to3|idlelib|distutils|ensurepip|unittest|asyncio|test)\//,
];

interface Source {
  readonly signal: AbortSignal;
  readonly onProgress: (message: string) => void;
}

/** The root's folder in the cache, fetched first if need be. @throws HostError when it cannot be had */
async function ensureRoot({ signal, onProgress }: Source): Promise<string> {
  const inputs = [Packages, Left.map(String), readFileSync('/etc/os-release', 'utf8')];
  const hash = createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16);
  const parent = join(cacheDirectory(), 'bench');
  const folder = join(parent, `debian-${hash}`);
  if (await exists(folder)) return folder;
  await withLock(
    parent,
    { signal, onWait: () => onProgress('waiting for another process that fetches them') },
    async () => {
      if (await exists(folder)) return;
      await removeLeftovers(parent);
      await withTemporaryDirectory(parent, async (work) => {
        const apt = await PrivateApt.create(join(work, 'apt'), { signal, onProgress });
        await apt.update();
        const files = await apt.downloadWithDependencies(Packages);
        onProgress(`unpacking ${files.length} packages`);
        const root = join(work, 'root');
        for (const file of files) await runTool('dpkg-deb', ['--extract', file, root], { signal });
        for (const path of [...paths(root)].filter(isLeft)) rmSync(join(root, path));
        for (const path of MountPoints) mkdirSync(join(root, path), { recursive: true });
        await rename(root, folder);
      });
    },
  );
  return folder;
}

const MountPoints = ['bench', 'dev', 'proc', 'tmp'] as const;

const isLeft = (path: string): boolean => !path.endsWith('/') && Left.some((pattern) => pattern.test(path));

/** Everything below a folder, parents first; folders end in a slash. */
function* paths(root: string, below = ''): Generator<string> {
  for (const entry of readdirSync(join(root, below), { withFileTypes: true })) {
    const path = below + entry.name;
    if (!entry.isDirectory()) yield path;
    else {
      yield `${path}/`;
      yield* paths(root, `${path}/`);
    }
  }
}

/** A folder as entries of an archive, below `prefix`. */
function entries(root: string, prefix: string): CpioEntry[] {
  return [...paths(root)].map((path): CpioEntry => {
    const full = join(root, path);
    const target = prefix + path.replace(/\/$/, '');
    const status = lstatSync(full);
    if (status.isDirectory()) return { kind: 'directory', path: target };
    if (status.isSymbolicLink()) return { kind: 'symlink', path: target, target: readlinkSync(full) };
    return { kind: 'file', path: target, bytes: readFileSync(full), mode: status.mode & 0o777 };
  });
}

/** The scripts, what they read and what times them. Returns a reason instead when this host cannot build it. */
function collectScripts(directory: string): string | undefined {
  const built = buildPrograms(['timed'], directory);
  if (typeof built === 'string') return built;
  const scripts = join(GuestSources, 'debian');
  for (const name of readdirSync(scripts)) copyFileSync(join(scripts, name), join(directory, name));
  // The file to compile is one that is here anyway.
  copyFileSync(join(GuestSources, 'hash.c'), join(directory, 'gcc.c'));
  copyFileSync(join(GuestSources, 'runtime.h'), join(directory, 'runtime.h'));
  return undefined;
}

const command = (name: string, percent: number) => `/bench/timed ${name} /bin/sh /bench/${name}.sh ${percent}`;
const mounts = (root: string): string[] => [
  `mount --bind /dev ${root}/dev`,
  `mount -t proc proc ${root}/proc`,
  `mount -t tmpfs tmpfs ${root}/tmp`,
];

export interface DebianPrograms {
  /** To append to the default guest's initrd. */
  readonly archive: Uint8Array;
  /** On this host itself, as far as it lets this user. */
  readonly native: () => ProgramResult[];
}

/** `directory` is a new one for files of this run. */
export async function debianPrograms(
  names: readonly string[],
  { percent, directory, ...source }: Source & { readonly percent: number; readonly directory: string },
): Promise<DebianPrograms> {
  const root = await ensureRoot(source);
  const scripts = join(directory, 'debian');
  mkdirSync(scripts);
  const hindrance = collectScripts(scripts);
  if (hindrance !== undefined) throw new Error(hindrance);
  const inGuest = '/lodger/debian';
  const commands = names.map((name) => ({ name, command: `chroot ${inGuest} ${command(name, percent)}` }));
  const files: CpioEntry[] = [
    { kind: 'directory', path: 'lodger/debian' },
    ...entries(root, 'lodger/debian/'),
    ...entries(scripts, 'lodger/debian/bench/'),
  ];
  const preparation = mounts(inGuest)
    .map((line) => `${line}\n`)
    .join('');
  return {
    archive: benchArchive(commands, files, preparation),
    native: () => names.flatMap((name) => runInRoot(root, scripts, command(name, percent)) ?? []),
  };
}

/** In name spaces of its own, which an ordinary user may have on most hosts. */
function runInRoot(root: string, scripts: string, program: string): ProgramResult | undefined {
  const steps = [...mounts(root), `mount --bind ${scripts} ${root}/bench`, `exec chroot ${root} ${program}`];
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return runNatively('unshare', [...asRoot, '--mount', '--pid', '--fork', 'sh', '-c', steps.join(' && ')]);
}

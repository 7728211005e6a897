/**
 * Writes cpio archives in the "newc" format, which the kernel unpacks into its root file system.
 *
 * Linux Documentation/driver-api/early-userspace/buffer-format.rst "initramfs buffer format". Archives of the same
 * entries are the same bytes: owners are root, times are 0.
 */

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'file'; readonly path: string; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'character-device';
      readonly path: string;
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

/** File types of stat.h. */
const FileType = { CharacterDevice: 0o020000, Directory: 0o040000, Regular: 0o100000, SymbolicLink: 0o120000 } as const;
const Magic = '070701';
const Trailer = 'TRAILER!!!';
const Alignment = 4;

interface Header {
  readonly path: string;
  readonly mode: number;
  readonly links: number;
  readonly data: Uint8Array;
  readonly device?: { readonly major: number; readonly minor: number };
}

/** Parents must come before what they hold: the kernel makes no missing folders. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const seen = new Set<string>();
  const parts: Uint8Array[] = [];
  entries.forEach((entry, i) => {
    checkPath(entry.path, seen);
    parts.push(...encode(header(entry), i + 1));
    seen.add(entry.path);
  });
  parts.push(...encode({ path: Trailer, mode: 0, links: 1, data: new Uint8Array(0) }, 0));
  return Buffer.concat(parts);
}

function checkPath(path: string, seen: ReadonlySet<string>): void {
  if (path === '' || path.startsWith('/') || path.includes('\0') || path === Trailer) {
    throw new Error(`impossible cpio path ${JSON.stringify(path)}`);
  }
  if (seen.has(path)) throw new Error(`cpio path ${path} comes twice`);
  const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
  if (parent !== '' && !seen.has(parent)) throw new Error(`cpio path ${path} comes before its folder`);
}

function header(entry: CpioEntry): Header {
  const nothing = new Uint8Array(0);
  switch (entry.kind) {
    case 'directory':
      return { path: entry.path, mode: FileType.Directory | (entry.mode ?? 0o755), links: 2, data: nothing };
    case 'file':
      return { path: entry.path, mode: FileType.Regular | (entry.mode ?? 0o644), links: 1, data: entry.bytes };
    case 'symlink':
      return { path: entry.path, mode: FileType.SymbolicLink | 0o777, links: 1, data: Buffer.from(entry.target) };
    case 'character-device': {
      const { path, major, minor } = entry;
      const mode = FileType.CharacterDevice | (entry.mode ?? 0o600);
      return { path, mode, links: 1, data: nothing, device: { major, minor } };
    }
    default:
      return entry satisfies never;
  }
}

function encode({ path, mode, links, data, device }: Header, inode: number): Uint8Array[] {
  if (data.length > 0xffff_ffff) throw new Error(`${path} is too large for a cpio archive`);
  const name = Buffer.from(`${path}\0`);
  // c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_maj, c_min, c_rmaj, c_rmin, c_namesize, c_chksum
  const fields = [
    inode,
    mode,
    0,
    0,
    links,
    0,
    data.length,
    0,
    0,
    device?.major ?? 0,
    device?.minor ?? 0,
    name.length,
    0,
  ];
  const head = Buffer.from(Magic + fields.map((field) => field.toString(16).padStart(8, '0')).join(''));
  return [head, name, padding(head.length + name.length), data, padding(data.length)];
}

function padding(length: number): Uint8Array {
  return new Uint8Array((Alignment - (length % Alignment)) % Alignment);
}

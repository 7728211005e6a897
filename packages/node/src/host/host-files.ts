/** Reading what Linux says about itself in /proc, /sys and /etc. Nothing here throws: what cannot be read is undefined. */
import { accessSync, constants, readFileSync, readdirSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';

/** The files of a host, below `root`: '/' but in tests. */
export class HostFiles {
  readonly #root: string;

  constructor(root = '/') {
    this.#root = root;
  }

  /** A file's text without the line end that closes it. */
  text(path: string): string | undefined {
    return attempt(() => readFileSync(this.path(path), 'utf8').replace(/\n$/, ''));
  }

  /** A file that holds one number. */
  number(path: string): number | undefined {
    const text = this.text(path)?.trim();
    return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
  }

  /** The value of `key` in a file of `key: value` lines. */
  field(path: string, key: string): string | undefined {
    const line = this.text(path)
      ?.split('\n')
      .find((each) => each.split(':')[0]!.trim() === key);
    return line?.slice(line.indexOf(':') + 1).trim();
  }

  /** The names in a folder, sorted; none when there is no such folder. */
  list(path: string): readonly string[] {
    return attempt(() => readdirSync(this.path(path)).sort()) ?? [];
  }

  stat(path: string): Stats | undefined {
    return attempt(() => statSync(this.path(path)));
  }

  writable(path: string): boolean {
    return this.#accessible(path, constants.W_OK);
  }

  readableAndWritable(path: string): boolean {
    return this.#accessible(path, constants.R_OK | constants.W_OK);
  }

  /** Where the host's `path` is found by this process. */
  path(path: string): string {
    return join(this.#root, path);
  }

  #accessible(path: string, mode: number): boolean {
    return attempt(() => (accessSync(this.path(path), mode), true)) ?? false;
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

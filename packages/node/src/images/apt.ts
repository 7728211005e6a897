/**
 * Debian packages through the host's apt, as an ordinary user: the host's sources and keys, a state folder of our own.
 *
 * Nothing of the host's is changed and nothing is installed. apt checks the signatures of its indexes and the packages'
 * checksums against them; the checksum is checked once more here, on what arrived.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { sha256OfFile } from './manifest.ts';
import { runTool, summarize, ToolError } from './tool.ts';
import type { ToolOutput } from './tool.ts';

/** What to do without a fetched guest; ends every message of a failed fetch. */
export const PassFilesYourself =
  'or pass a kernel and an initramfs of your own: --kernel FILE --initrd FILE (for example /boot/vmlinuz-… and ' +
  '/boot/initrd.img-… of a Debian system)';

export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  readonly size: number;
  readonly sha256: string;
  readonly depends: string;
}

export interface AptOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((message: string) => void) | undefined;
}

export class PrivateApt {
  readonly #directory: string;
  readonly #options: AptOptions;
  /** What `update` complained about: the reason when a package is not to be had afterwards. */
  #updateProblems = '';

  private constructor(directory: string, options: AptOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /** Sets apt up in `directory`, which is the caller's to remove. */
  static async create(directory: string, options: AptOptions): Promise<PrivateApt> {
    for (const folder of ['state/lists/partial', 'cache/archives/partial', 'packages']) {
      await mkdir(join(directory, folder), { recursive: true });
    }
    await writeFile(join(directory, 'status'), '');
    await writeFile(join(directory, 'apt.conf'), configuration(directory));
    return new PrivateApt(directory, options);
  }

  /** Fetches the indexes of the host's sources. A source that fails is no failure yet: others may do. */
  async update(): Promise<void> {
    this.#options.onProgress?.("fetching Debian's package index with apt");
    try {
      const { stderr } = await this.#run('apt-get', ['-q', 'update'], 'the package index');
      this.#updateProblems = stderr;
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      this.#updateProblems = error.stderr;
    }
  }

  /** The newest version of a package that the host's sources and preferences give. */
  async candidate(name: string): Promise<PackageRecord> {
    const args = ['show', '--no-all-versions', name];
    const output = await this.#run('apt-cache', args).catch((error: unknown) => {
      if (error instanceof ToolError) throw this.#unavailable(name, error);
      throw error;
    });
    const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(output.stdout)?.[1] ?? '';
    const record = {
      name,
      version: field('Version'),
      size: Number(field('Size')),
      sha256: field('SHA256'),
      depends: field('Depends'),
    };
    if (record.version === '' || record.sha256 === '') throw this.#unavailable(name);
    return record;
  }

  /** Downloads a package file and returns its path. */
  async download(record: PackageRecord): Promise<string> {
    const folder = join(this.#directory, 'packages', record.name);
    await mkdir(folder);
    const megabytes = Math.max(1, Math.round(record.size / 1e6));
    const message = `fetching ${record.name} ${record.version} (${megabytes} MB) with apt`;
    this.#options.onProgress?.(message);
    const args = ['-q', '-o', 'APT::Status-Fd=1', 'download', `${record.name}=${record.version}`];
    try {
      await this.#run('apt-get', args, message, folder);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      throw fetchFailed(`apt could not fetch ${record.name} ${record.version} (${error.summary})`, error);
    }
    const file = (await readdir(folder)).find((name) => name.endsWith('.deb'));
    if (!file) throw fetchFailed(`apt fetched ${record.name} but left no file`);
    const path = join(folder, file);
    if ((await sha256OfFile(path)) !== record.sha256) {
      throw fetchFailed(`the fetched package ${record.name} does not have the checksum that apt's index gives`);
    }
    return path;
  }

  /** Downloads packages with all that they depend on and nothing that they recommend; the paths of the package files. */
  async downloadWithDependencies(names: readonly string[]): Promise<string[]> {
    const message = `fetching ${names.join(', ')} and what they depend on with apt`;
    this.#options.onProgress?.(message);
    const args = ['-q', '-y', '--no-install-recommends', '--download-only', '-o', 'APT::Status-Fd=1', 'install'];
    try {
      await this.#run('apt-get', [...args, ...names], message);
    } catch (error) {
      if (!(error instanceof ToolError)) throw error;
      throw fetchFailed(`apt could not fetch ${names.join(', ')} (${error.summary})`, error);
    }
    const folder = join(this.#directory, 'cache/archives');
    return (await readdir(folder)).filter((name) => name.endsWith('.deb')).map((name) => join(folder, name));
  }

  async #run(tool: string, args: string[], message?: string, cwd?: string): Promise<ToolOutput> {
    const { signal, onProgress } = this.#options;
    const onLine = (line: string) => {
      const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
      if (message && percent) onProgress?.(`${message}: ${Math.floor(Number(percent))} %`);
    };
    try {
      return await runTool(tool, ['-c', join(this.#directory, 'apt.conf'), ...args], {
        signal,
        onLine,
        cwd: cwd ?? this.#directory,
      });
    } catch (error) {
      if (error instanceof ToolError && error.missing) {
        throw new HostError(
          'FetchFailed',
          `the guest's kernel is fetched from Debian with ${tool}, which this host does not have: run this once on a ` +
            `Debian host and copy its cache folder, ${PassFilesYourself}`,
          { cause: error },
        );
      }
      throw error;
    }
  }

  #unavailable(name: string, cause?: ToolError): HostError {
    const problems = summarize(this.#updateProblems);
    return problems === ''
      ? fetchFailed(`this host's apt sources have no package ${name} for amd64 (they must include Debian)`, cause)
      : fetchFailed(`apt could not fetch the package index that has ${name} (${problems})`, cause);
  }
}

export function fetchFailed(what: string, cause?: unknown): HostError {
  return new HostError(
    'FetchFailed',
    `${what}: check the network and the host's apt sources, ${PassFilesYourself}`,
    cause === undefined ? undefined : { cause },
  );
}

/**
 * Read after the host's own configuration (apt.conf(5)), whose sources, keys, proxies and preferences hold. Its hooks
 * do not: they concern the host's package state.
 */
function configuration(directory: string): string {
  const quoted = (path: string) => `"${path.replaceAll('"', '')}"`;
  return `
Dir::State ${quoted(join(directory, 'state'))};
Dir::State::status ${quoted(join(directory, 'status'))};
Dir::Cache ${quoted(join(directory, 'cache'))};
Dir::Log ${quoted(directory)};
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; };
// Root's own cache folder is closed to the user _apt, for whom apt would otherwise give up its privileges.
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
`;
}

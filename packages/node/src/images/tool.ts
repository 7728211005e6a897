/** Runs the host's tools (apt-get, dpkg-deb). */
import { spawn } from 'node:child_process';

export interface ToolOptions {
  readonly cwd?: string;
  readonly signal?: AbortSignal | undefined;
  /** Gets each line of standard output as it comes. */
  readonly onLine?: (line: string) => void;
}

/** A tool that could not be started or that failed. */
export class ToolError extends Error {
  /** True when the host does not have the tool. */
  readonly missing: boolean;
  readonly stderr: string;

  constructor(tool: string, detail: string, stderr: string, options: { missing?: boolean; cause?: unknown } = {}) {
    super(`${tool} ${detail}`, { cause: options.cause });
    this.name = 'ToolError';
    this.missing = options.missing ?? false;
    this.stderr = stderr;
  }

  /** The tool's own words, or what happened to it. */
  get summary(): string {
    return summarize(this.stderr) || this.message;
  }
}

/** What a tool complained about, in a line: its errors and warnings if it marks them. */
export function summarize(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const marked = lines.filter((line) => /^(E:|W:|Err|error|.*: error)/.test(line));
  return (marked.length > 0 ? marked : lines).slice(-3).join('; ');
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws ToolError when it fails, AbortError when `signal` ended it */
export function runTool(tool: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolOutput> {
  options.signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, {
      cwd: options.cwd,
      signal: options.signal,
      env: { ...process.env, LC_ALL: 'C', LANGUAGE: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    let line = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      const lines = (line + text).split('\n');
      line = lines.pop() ?? '';
      for (const complete of lines) options.onLine?.(complete);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.name === 'AbortError') reject(cause);
      else reject(new ToolError(tool, cause.message, '', { missing: cause.code === 'ENOENT', cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve({ stdout, stderr });
      else reject(new ToolError(tool, code === null ? `was ended by ${signal}` : `failed with status ${code}`, stderr));
    });
  });
}

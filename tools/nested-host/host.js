/** The outer host's programs. */
import { spawn, spawnSync } from 'node:child_process';

/** The nested host could not be made, started or kept running: nothing that its command did. */
export class NestedHostError extends Error {}

/** Programs that the nested host needs, and the Debian packages that bring them. */
export const NeededPrograms = {
  'qemu-system-x86_64': 'qemu-system-x86',
  mmdebstrap: 'mmdebstrap',
  mke2fs: 'e2fsprogs',
  'apt-config': 'apt',
  'dpkg-deb': 'dpkg',
  tar: 'tar',
};

/** System administration programs (mke2fs) are outside an ordinary user's PATH on Debian. */
export function toolEnvironment() {
  return { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin` };
}

export function hasProgram(name) {
  return spawnSync('sh', ['-c', `command -v ${name}`], { env: toolEnvironment() }).status === 0;
}

/** Why this host can have no nested host, with what to do about it; undefined when it can. */
export function whyNot() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the nested host needs Linux on x86-64';
  const missing = Object.keys(NeededPrograms).filter((name) => !hasProgram(name));
  if (missing.length === 0) return undefined;
  const packages = missing.map((name) => NeededPrograms[name]);
  return `this host has no ${missing.join(', ')} (install with: apt-get install ${packages.join(' ')})`;
}

/** Runs a program to its end. @throws NestedHostError with the program's own words */
export function tool(program, args, { signal }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: toolEnvironment(), signal, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.on('error', (cause) => reject(cause.name === 'AbortError' ? cause : failure(program, cause.message, cause)));
    child.on('close', (code, ended) => {
      if (code === 0) resolve({ stdout, stderr });
      else reject(failure(program, `ended with ${ended ?? `status ${code}`}: ${stderr.trim().slice(-2000)}`));
    });
  });
}

function failure(program, what, cause) {
  return new NestedHostError(`${program} ${what}`, { cause });
}

/**
 * Everything a fresh clone needs before Lodger can run: dependencies and the build. Quick when nothing is to be done.
 *
 * `node tools/setup.js` does it; other tools import {@link setUp}. Progress goes to stderr.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Says on stderr what is being done. */
export function note(text) {
  process.stderr.write(`lodger: ${text}\n`);
}

/** Runs a command with its output on stderr; a failure ends this process with a message. */
export function runOrExit(what, command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (result.status === 0) return;
  const reason = result.error ? result.error.message : `${command} ended with ${result.signal ?? result.status}`;
  note(`${what} failed: ${reason}`);
  process.exit(1);
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 20) return;
  note(`Node ${process.versions.node} is too old: install Node 20 or newer and start again`);
  process.exit(1);
}

/** npm records what it installed in node_modules/.package-lock.json: older than the lock file means outdated. */
function dependenciesAreCurrent() {
  const installed = join(root, 'node_modules/.package-lock.json');
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs;
}

/** Installs dependencies when they are missing or outdated, then builds what changed. */
export function setUp() {
  checkNode();
  if (!dependenciesAreCurrent()) {
    note('installing dependencies (npm ci) …');
    runOrExit('npm ci', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  }
  if (!existsSync(join(root, 'packages/node/bundle/index.js'))) note('building …');
  runOrExit('the build', process.execPath, [join(root, 'tools/build.js')]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();

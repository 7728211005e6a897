/** The disk of one run: the checkout as it was built, the command, and what the first process must know. */
import { chmod, cp, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tool } from './host.js';
import { HostModules } from './recipe.js';

const MB = 1024 * 1024;
/** Free space for what the command writes into the checkout. */
const SpareSpace = 64 * MB;
/** What of the checkout goes along, beside the packages that npm installed. */
const CheckoutParts = [
  'package.json',
  'packages/vmm/package.json',
  'packages/vmm/dist',
  'packages/kvm/package.json',
  'packages/kvm/dist',
  'packages/node/package.json',
  'packages/node/bin',
  'packages/node/bundle',
  'packages/node/dist',
  'tests/dist',
  'tests/differential/expected',
  'benchmarks/dist',
  'tools',
];

/** Writes the disk's image to `target`, with `work` as a place for its parts. */
export async function makeRunDisk({ root, cache, command, directory, hugePages, work, target, signal }) {
  const stage = join(work, 'stage');
  const checkout = join(stage, 'checkout');
  await mkdir(checkout, { recursive: true });
  for (const part of [...CheckoutParts, ...(await productionPackages(root))]) await copyPart(root, checkout, part);
  const init = fileURLToPath(new URL('guest/init', import.meta.url));
  await copyFile(init, join(stage, 'init'));
  await chmod(join(stage, 'init'), 0o755);
  await writeFile(join(stage, 'command'), `cd ${quote(directory)} && exec ${command.map(quote).join(' ')}\n`);
  const settings = { checkout: root, cache, modules: HostModules.join(' '), huge_pages: String(hugePages) };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${quote(value)}\n`);
  await writeFile(join(stage, 'settings'), lines.join(''));
  const { stdout } = await tool('du', ['-s', '--block-size=1', stage], { signal });
  const size = Math.ceil((Number.parseInt(stdout, 10) * 1.2 + SpareSpace) / MB);
  const args = ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-E', 'root_owner=0:0', '-d', stage];
  await tool('mke2fs', [...args, target, `${size}M`], { signal });
}

/** Folders of node_modules that are no development tools, and those of our own workspaces, which are symbolic links. */
async function productionPackages(root) {
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8'));
  const paths = Object.entries(lock.packages).filter(([path, entry]) => path.startsWith('node_modules/') && !entry.dev);
  return paths.map(([path]) => path);
}

async function copyPart(root, checkout, part) {
  const source = join(root, part);
  if (!existsSync(source)) return;
  await mkdir(dirname(join(checkout, part)), { recursive: true });
  const filter = (path) => !/\.(map|d\.ts|tsbuildinfo)$/.test(path);
  await cp(source, join(checkout, part), { recursive: true, verbatimSymlinks: true, filter });
}

function quote(word) {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The checkout's folders are there only after a build. */
export async function isBuilt(root) {
  return (await readdir(join(root, 'packages/node/bundle')).catch(() => [])).length > 0;
}

/** Hosts made of files, for tests of the probes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { HostFiles } from './host-files.ts';

/** A host with these files and nothing else, gone after the file's tests. */
export function hostWith(files: Readonly<Record<string, string>>): HostFiles {
  const root = mkdtempSync(join(tmpdir(), 'lodger-host-'));
  after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return new HostFiles(root);
}

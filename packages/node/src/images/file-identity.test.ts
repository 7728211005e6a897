import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { knownOfFile, noteOfFile } from './file-identity.ts';
import { useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();
const status = (path: string) => statSync(path, { bigint: true });

describe('what is known of a file', () => {
  it('is kept as long as the file does not change', async () => {
    const old = status(process.execPath);
    assert.equal(await knownOfFile('seen', old), undefined);
    await noteOfFile('seen', old, 'a runtime');
    assert.equal(await knownOfFile('seen', status(process.execPath)), 'a runtime');
    assert.equal(await knownOfFile('others', old), undefined);
    for (const field of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const) {
      const changed = status(process.execPath);
      changed[field]++;
      assert.equal(await knownOfFile('seen', changed), undefined, field);
    }
  });
  it('is not kept of a file that could change again without a new time of change', async () => {
    const path = join(directory, 'fresh');
    writeFileSync(path, 'one');
    await noteOfFile('seen', status(path), 'one');
    assert.equal(await knownOfFile('seen', status(path)), undefined);
  });
});

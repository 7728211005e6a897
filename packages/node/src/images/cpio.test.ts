import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeCpio } from './cpio.ts';

/** Reads an archive the way the kernel does: header, name padded to 4, data padded to 4. */
function readCpio(archive: Uint8Array) {
  const bytes = Buffer.from(archive);
  const found: { name: string; mode: number; links: number; device: number[]; data: string }[] = [];
  for (let at = 0; at < bytes.length;) {
    assert.equal(bytes.toString('latin1', at, at + 6), '070701');
    const field = (index: number) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameEnd = at + 110 + field(11);
    const dataStart = Math.ceil(nameEnd / 4) * 4;
    const name = bytes.toString('utf8', at + 110, nameEnd - 1);
    const data = bytes.toString('utf8', dataStart, dataStart + field(6));
    found.push({ name, mode: field(1), links: field(4), device: [field(9), field(10)], data });
    at = Math.ceil((dataStart + field(6)) / 4) * 4;
  }
  return found;
}

describe('writeCpio', () => {
  it('writes the header fields that buffer-format.rst lists', () => {
    const archive = Buffer.from(writeCpio([{ kind: 'file', path: 'a', bytes: Buffer.from('hi'), mode: 0o755 }]));
    const expected =
      '070701' +
      '00000001' +
      '000081ed' +
      '00000000'.repeat(2) +
      '00000001' +
      '00000000' +
      '00000002' +
      '00000000'.repeat(4) +
      '00000002' +
      '00000000' +
      'a\0' +
      'hi\0\0';
    assert.equal(archive.toString('latin1', 0, expected.length), expected);
    assert.equal(archive.length % 4, 0);
  });
  it('writes every kind of entry and ends with the trailer', () => {
    const entries = readCpio(
      writeCpio([
        { kind: 'directory', path: 'dev' },
        { kind: 'directory', path: 'tmp', mode: 0o1777 },
        { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
        { kind: 'symlink', path: 'sh', target: '/bin/busybox' },
        { kind: 'file', path: 'größe', bytes: Buffer.from('x'.repeat(7)) },
      ]),
    );
    assert.deepEqual(entries, [
      { name: 'dev', mode: 0o040755, links: 2, device: [0, 0], data: '' },
      { name: 'tmp', mode: 0o041777, links: 2, device: [0, 0], data: '' },
      { name: 'dev/console', mode: 0o020600, links: 1, device: [5, 1], data: '' },
      { name: 'sh', mode: 0o120777, links: 1, device: [0, 0], data: '/bin/busybox' },
      { name: 'größe', mode: 0o100644, links: 1, device: [0, 0], data: 'xxxxxxx' },
      { name: 'TRAILER!!!', mode: 0, links: 1, device: [0, 0], data: '' },
    ]);
  });
  it('refuses what the kernel would not unpack', () => {
    const file = (path: string) => ({ kind: 'file', path, bytes: new Uint8Array(0) }) as const;
    for (const paths of [['/abs'], [''], ['a', 'a'], ['missing/a'], ['TRAILER!!!'], ['a\0b']]) {
      assert.throws(() => writeCpio(paths.map(file)), /cpio path/, paths.join(' '));
    }
  });
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { CompressionFormat } from '@lodger/vmm/boot/compression.js';
import { decompress } from './decompress.ts';
import { decompressLz4Legacy } from './lz4.ts';

/** What the fixtures hold; made with `lz4 -l`, `xz --check=crc32` and `zstd -19`. */
const text = Array.from({ length: 60 }, (_, i) => `line ${i} of the fixture ${i * i}\n`).join('');
const fixtures: Record<CompressionFormat, Uint8Array> = {
  gzip: gzipSync(text),
  lz4: Buffer.from(
    'AiFMGBICAADxCWxpbmUgMCBvZiB0aGUgZml4dHVyZSAwChgAHDEYABIxGAAcMhgAEjQYABwzGAASORgAHDQYACIxNhkAHDUZACIyNRkAHDYZABMzMgAcNxkAEzRkABw4GQATNpUAHDkZABM4xgAdMfcAJDEw+QAO+gAUMjYADf0AIzE0agAdMQABIzE2ngAeMQMBEznSAB4xBQEEBgEdMQcBJDI1NgANCQEkMjhsAA0LASQzMqIADQ0BIzM22AAdMg4BFDQOAR0yDgEkNDQ2AA0OASM0OGwAHTIOASM1MqIAHTIOASM1N9gAHTIOARQ2DgEdMg4BFTY2AA0OARU3bAANDgEVN6IADQ4BFDjYAB0zDgEUOQ4BHTMOARQ5RAEdMw4BJDEwewEdMw8BJDEwsgEdMxABJDEx6QEdMxEBJDEyEgEdMxIBJDEyVwIdMxMBJDEzjgIdMxQBJDE0xQIdMxUBJDE1/AIdNBYBJDE2FwEdNBcBJDE2agMeNBgBFDefAx40GAEUONQDHjQYARQ5CQQdNBgBJDIwGAEdNBgBJDIxcwQdNBgBMzIyMJgCHTQYATMyMzDPAh00GAEzMjQwBgMdNRgBJDI1GAEdNRgBJTI2OAANGAEkMjdwAB01GAEkMjioAB01GAEkMjngAB01GAEVMxgBHTUYASQzMVABHTUYASQzMogBHTUYASQzM8ABHTUYAVAzNDgxCg==',
    'base64',
  ),
  xz: Buffer.from(
    '/Td6WFoAAAFpIt42AgAhARYAAAB0L+Wj4AZXAQpdADYaSh8IoCYDTQad+LKlrKlEfTKr/bb3/wnC3UjBzkLee9+FgObCRmZE6jo1GolDFCe8+91RDUYU9C4lzuj9PLSd8OcUZ6a4OKIwV16QrLyWhTKc55JeqjaY/AQ1/PG3amKfJYOtdbJLGOdfYXTtUePXfHDJ57jBOtYz0iZXqqh7nlf97ty5FLIBxej/irev4nN0iv4IgKMb8xF+RkkSOBXnfwl4p/OeY2KXESkFKT8MepDc7TO/D6pl6KyRxFeJt6lVGp/c6E+Ddj9/446Hep6vtVCYyeYRcjDAhd6qf9mGKaPzu20uRJl1rqMul4nQuRbVEre0L6JIbPBfUh/oAjpKKJRH4VmplqoAAAAAYIiw9gABogLYDAAASl+7Bz4wDYsCAAAAAAFZWg==',
    'base64',
  ),
  zstd: Buffer.from(
    'KLUv/WRYBQ0IAFYTKxSwaThAUYpS9GHqSLmlTCnNumQuBisAIwAhANIKp3jW0PxZsiQ3jqT6UP0Yj1SGL78kYEYAoUgsCAIjMEgYgoMxI2AgFAJFbzXzVD0d1OpxdI6ZSkc6h7xVcU9v+bPbV46Lr4lFPTjSYexcusrHxb9O9D8HS0N+G+6ssPyf5BrzqHJcisl7tMeaEwDSXfKxSer1YXpEOosMq5ca1fIdrUwpm3TCvfXPpdfagwF2qBGQnM/7d+Cl1hASLph4Ps/L3qoSDLCGIoEl5kohklAMiARLi7urK2qavaZqa8ov/SYSzkk4I+FMgjMJzSScEtI3nfBkHK6IGwSEAIwAFuwqSxlLSA==',
    'base64',
  ),
};
const hasXz = !spawnSync('xz', ['--version']).error;

describe('decompress', () => {
  for (const [name, packed] of Object.entries(fixtures)) {
    const format = name as CompressionFormat;
    const skip = format === 'xz' && !hasXz && 'this host has no xz';
    it(`unpacks ${format}`, { skip }, () => {
      assert.equal(Buffer.from(decompress(format, packed, 1 << 20)).toString(), text);
      assert.equal(decompress(format, packed, text.length).length, text.length);
    });
    it(`refuses ${format} data that is larger than allowed, cut off or something else`, { skip }, () => {
      assert.throws(() => decompress(format, packed, text.length - 1));
      for (const length of [0, 3, 10, packed.length - 30]) {
        assert.throws(() => decompress(format, packed.subarray(0, length), 1 << 20), Error, `${length} bytes`);
      }
      assert.throws(() => decompress(format, Buffer.from(text), 1 << 20));
    });
  }
});

describe('legacy LZ4 frames', () => {
  const magic = [0x02, 0x21, 0x4c, 0x18];
  const frame = (...block: number[]) => Uint8Array.from([...magic, block.length, 0, 0, 0, ...block]);
  const unpack = (bytes: Uint8Array, maxSize = 1000) => Buffer.from(decompressLz4Legacy(bytes, maxSize)).toString();

  it('repeats matches that overlap their own output', () => {
    // Two literals "ab", a match of 4 + 15 + 2 bytes two back, and the last literal "!".
    assert.equal(unpack(frame(0x2f, 0x61, 0x62, 2, 0, 2, 0x10, 0x21)), `ab${'ab'.repeat(10)}a!`);
  });
  it('joins blocks and frames that follow each other', () => {
    const one = frame(0x10, 0x61);
    assert.equal(unpack(Uint8Array.from([...one, ...one.subarray(4), ...one])), 'aaa');
  });
  it('refuses whatever does not make sense', () => {
    const cases: Record<string, Uint8Array> = {
      'no frame': Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
      'block size': Uint8Array.from([...magic, 0, 0, 0, 0]),
      'impossible block size': Uint8Array.from([...magic, 0xff, 0xff, 0xff, 0x7f]),
      'cut off block': Uint8Array.from([...magic, 9, 0, 0, 0, 0x10, 0x61]),
      'cut off size': Uint8Array.from([...frame(0x10, 0x61), 1, 0]),
      'cut off literals': frame(0x50, 0x61),
      'cut off length': frame(0xf0, 0xff),
      'match before the block': frame(0x10, 0x61, 2, 0, 0x10, 0x61),
      'match offset 0': frame(0x10, 0x61, 0, 0, 0x10, 0x61),
      'cut off offset': frame(0x10, 0x61, 1),
      'no last literals': frame(0x10, 0x61, 1, 0),
    };
    for (const [what, bytes] of Object.entries(cases)) assert.throws(() => unpack(bytes), Error, what);
    assert.throws(() => unpack(frame(0x1f, 0x61, 1, 0, 255, 255, 0, 0x10, 0x61), 100), /more than it may/);
  });
  it('survives any damage', () => {
    const good = fixtures.lz4;
    let refused = 0;
    for (let i = 4; i < good.length; i++) {
      const bad = Uint8Array.from(good);
      bad[i] = bad[i]! ^ 0x55;
      try {
        assert.ok(decompressLz4Legacy(bad, 1 << 16).length <= 1 << 16);
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof RangeError), String(error));
        refused++;
      }
    }
    assert.ok(refused > 10);
  });
});

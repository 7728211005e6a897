/**
 * The file that a machine is saved in.
 *
 *     offset  bytes
 *     0       8     "LodgerVM"
 *     8       4     version of the format: 1
 *     12      4     length of the state
 *     16      4     CRC-32 of the state
 *     20      4     zero
 *     24            the state: JSON text (state-json.ts) in UTF-8
 *                   runs of pages of guest memory, in ascending order; pages of zeros are left out:
 *                     8  guest-physical address of the first page
 *                     4  number of pages, 1 to 256
 *                     4  CRC-32 of the pages
 *                        the pages
 *                   the end: an address of all ones, then how many pages there were (4), and zero (4)
 *
 * Numbers are little-endian.
 */
import { HostError } from '../errors/host-error.ts';
import { PageSize, gpa } from '../memory/address.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { crc32 } from './crc32.ts';
import { decodeState, encodeState } from './state-json.ts';

/** Takes the file from its start to its end. The bytes are used again after the call. */
export interface SnapshotSink {
  write(bytes: Uint8Array): void;
}

export interface SnapshotSource {
  /** Fills `target` from `position` on as far as the file reaches: how many bytes. */
  read(position: number, target: Uint8Array): number;
}

const Magic = new TextEncoder().encode('LodgerVM');
const Version = 1;
const Header = { Version: 8, StateLength: 12, StateChecksum: 16, Size: 24 } as const;
const Run = { Address: 0, Pages: 8, Checksum: 12, Size: 16 } as const;
const MaxRunPages = 256;
const EndAddress = 0xffff_ffff_ffff_ffffn;
/** More than any machine's: a length beyond it is damage. */
const MaxStateLength = 64 * 1024 * 1024;

/** What the file holds beside guest memory. `machine`: whatever the owner needs to make the same machine again. */
export interface SavedMachine {
  readonly machine: unknown;
  readonly state: unknown;
}

/** The machine must be paused. */
export function writeSnapshot(sink: SnapshotSink, saved: SavedMachine, memory: GuestMemory): void {
  const state = new TextEncoder().encode(encodeState(saved));
  if (state.length > MaxStateLength)
    throw new HostError('Internal', `a state of ${state.length} bytes cannot be saved`);
  const header = new Uint8Array(Header.Size);
  header.set(Magic);
  const view = new DataView(header.buffer);
  view.setUint32(Header.Version, Version, true);
  view.setUint32(Header.StateLength, state.length, true);
  view.setUint32(Header.StateChecksum, crc32(state), true);
  sink.write(header);
  sink.write(state);
  const pages = memory.ranges.reduce((sum, { start, length }) => sum + writeRange(sink, memory, start, length), 0);
  writeRun(sink, EndAddress, pages, 0);
}

function writeRun(sink: SnapshotSink, address: bigint, pages: number, checksum: number): void {
  const run = new Uint8Array(Run.Size);
  const view = new DataView(run.buffer);
  view.setBigUint64(Run.Address, address, true);
  view.setUint32(Run.Pages, pages, true);
  view.setUint32(Run.Checksum, checksum, true);
  sink.write(run);
}

/** Answers how many pages were written. */
function writeRange(sink: SnapshotSink, memory: GuestMemory, start: number, length: number): number {
  const buffer = new Uint8Array(MaxRunPages * PageSize);
  const words = new Int32Array(buffer.buffer);
  let written = 0;
  for (let offset = 0; offset < length; offset += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, length - offset));
    memory.read(gpa(start + offset), bytes);
    const pages = bytes.length / PageSize;
    for (let page = 0; page < pages;) {
      const first = page;
      while (page < pages && !isZero(words, page)) page++;
      if (page > first) {
        const content = bytes.subarray(first * PageSize, page * PageSize);
        writeRun(sink, BigInt(start + offset + first * PageSize), page - first, crc32(content));
        sink.write(content);
        written += page - first;
      }
      while (page < pages && isZero(words, page)) page++;
    }
  }
  return written;
}

const WordsPerPage = PageSize / 4;

function isZero(words: Int32Array, page: number): boolean {
  const end = (page + 1) * WordsPerPage;
  for (let i = page * WordsPerPage; i < end; i++) if (words[i] !== 0) return false;
  return true;
}

const damaged = (why: string): HostError =>
  new HostError(
    'InvalidArgument',
    `the saved machine is damaged (${why}): use another copy of the file, or save it again`,
  );

function readExactly(source: SnapshotSource, position: number, target: Uint8Array): void {
  if (source.read(position, target) !== target.length) throw damaged('the file ends too early');
}

/** Reads the start of the file, for what is needed before guest memory exists. */
export function readSavedMachine(source: SnapshotSource): SavedMachine {
  const { state } = readState(source);
  const saved = decodeState(new TextDecoder().decode(state));
  const isObject = typeof saved === 'object' && saved !== null;
  if (!isObject || !('machine' in saved) || !('state' in saved)) throw damaged('its description is missing');
  return saved;
}

function readState(source: SnapshotSource): { state: Uint8Array; end: number } {
  const header = new Uint8Array(Header.Size);
  const length = source.read(0, header);
  if (length < Magic.length || !Magic.every((byte, index) => header[index] === byte)) {
    throw new HostError('InvalidArgument', 'this file is no saved machine: give the path that it was saved to');
  }
  if (length < header.length) throw damaged('the file ends too early');
  const view = new DataView(header.buffer);
  const version = view.getUint32(Header.Version, true);
  if (version !== Version) {
    throw new HostError(
      'InvalidArgument',
      `the saved machine has version ${version} of the format, this Lodger reads ${Version}: restore it with the release ` +
        'that saved it',
    );
  }
  const stateLength = view.getUint32(Header.StateLength, true);
  if (stateLength > MaxStateLength) throw damaged('its state is too long');
  const state = new Uint8Array(stateLength);
  readExactly(source, Header.Size, state);
  if (crc32(state) !== view.getUint32(Header.StateChecksum, true)) throw damaged('the checksum of its state is wrong');
  return { state, end: Header.Size + stateLength };
}

/** Puts the saved pages into `memory`, which must be zero elsewhere, as new memory is. */
export function readMemory(source: SnapshotSource, memory: GuestMemory): void {
  let position = readState(source).end;
  const run = new Uint8Array(Run.Size);
  const view = new DataView(run.buffer);
  const buffer = new Uint8Array(MaxRunPages * PageSize);
  for (let total = 0; ;) {
    readExactly(source, position, run);
    position += run.length;
    const address = view.getBigUint64(Run.Address, true);
    const pages = view.getUint32(Run.Pages, true);
    if (address === EndAddress) {
      if (pages !== total) throw damaged('pages of memory are missing');
      return;
    }
    if (pages === 0 || pages > MaxRunPages) throw damaged('a run of pages has an impossible length');
    const content = buffer.subarray(0, pages * PageSize);
    readExactly(source, position, content);
    position += content.length;
    if (crc32(content) !== view.getUint32(Run.Checksum, true)) throw damaged('the checksum of a page is wrong');
    if (address > BigInt(Number.MAX_SAFE_INTEGER) || !memory.write(gpa(Number(address)), content)) {
      throw damaged('a page lies outside of guest memory');
    }
    total += pages;
  }
}

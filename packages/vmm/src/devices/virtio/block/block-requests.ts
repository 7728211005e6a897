/**
 * The queue half of the block device: serves its requests from a {@link BlockBackend}.
 *
 * Spec: virtio 1.2 §5.2.6 "Device Operation".
 *
 * Left out: secure erase, lifetime, zoned storage and the SCSI pass-through of legacy devices (all: "unsupported").
 */
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { readSegments, slice, totalLength, writeSegments } from '../descriptor-chain.ts';
import type { DescriptorChain, Segment } from '../descriptor-chain.ts';
import type { RequestHandler } from '../queue-server.ts';
import type { BlockBackend, BlockResult } from './block-backend.ts';
import {
  BlockFeature,
  BlockLimits,
  IdBytes,
  RangeSegment,
  RangeUnmap,
  RequestHeader,
  RequestStatus,
  RequestType,
  SectorSize,
} from './block-format.ts';

/** A request as parsed from its chain. */
interface BlockRequest {
  readonly type: number;
  /** Byte offset on the disk; may be anything. */
  readonly offset: number;
  /** Device-readable data after the header. */
  readonly output: readonly Segment[];
  /** Device-writable data before the status byte. */
  readonly input: readonly Segment[];
}

export interface BlockRequestsOptions {
  /** Told of each request that the back end failed. */
  readonly onError?: (operation: string, reason: unknown) => void;
}

/** What a request ended with and how many bytes of input it wrote. */
interface Outcome {
  readonly status: RequestStatus;
  readonly written: number;
}

const ok: Outcome = { status: RequestStatus.Ok, written: 0 };
const ioError: Outcome = { status: RequestStatus.IoError, written: 0 };
const unsupported: Outcome = { status: RequestStatus.Unsupported, written: 0 };

export class BlockRequests implements RequestHandler {
  readonly #memory: GuestMemory;
  readonly #backend: BlockBackend;
  readonly #id: Uint8Array;
  readonly #options: BlockRequestsOptions;
  readonly #headerBytes = new Uint8Array(RequestHeader.Bytes);
  readonly #header = new DataView(this.#headerBytes.buffer);
  /** Without FLUSH, the driver takes a finished write for durable. §5.2.6.2. */
  #writeThrough = false;

  /** `id` is what the guest sees as the disk's serial number: up to 20 ASCII characters. */
  constructor(memory: GuestMemory, backend: BlockBackend, id: string, options: BlockRequestsOptions = {}) {
    this.#memory = memory;
    this.#backend = backend;
    this.#options = options;
    this.#id = new Uint8Array(IdBytes);
    for (let index = 0; index < Math.min(id.length, IdBytes); index++) this.#id[index] = id.charCodeAt(index) & 0x7f;
  }

  activated(features: bigint): void {
    this.#writeThrough = (features & BlockFeature.Flush) === 0n;
  }

  canServe(): boolean {
    return true;
  }

  serve(_queue: number, chain: DescriptorChain): number {
    const space = totalLength(chain.writable);
    // Without room for a status there is nobody to tell.
    if (space === 0) return 0;
    const input = slice(chain.writable, 0, space - 1);
    const { status, written } = this.#handle(chain, input);
    writeSegments(this.#memory, slice(chain.writable, space - 1, 1), Uint8Array.of(status));
    // The used length counts from the start: a status behind bytes that were not written counts for itself alone.
    return written === space - 1 ? space : Math.max(written, 1);
  }

  #handle(chain: DescriptorChain, input: readonly Segment[]): Outcome {
    if (readSegments(this.#memory, chain.readable, this.#headerBytes) < RequestHeader.Bytes) return ioError;
    const sector = this.#header.getUint32(RequestHeader.Sector + 4, true) * 2 ** 32;
    const request: BlockRequest = {
      type: this.#header.getUint32(RequestHeader.Type, true),
      offset: (sector + this.#header.getUint32(RequestHeader.Sector, true)) * SectorSize,
      output: slice(chain.readable, RequestHeader.Bytes, Infinity),
      input,
    };
    switch (request.type) {
      case RequestType.In:
        return this.#read(request);
      case RequestType.Out:
        return this.#write(request);
      case RequestType.Flush:
        return this.#run('flush', () => this.#backend.flush());
      case RequestType.GetId:
        return { status: RequestStatus.Ok, written: writeSegments(this.#memory, request.input, this.#id) };
      case RequestType.Discard:
      case RequestType.WriteZeroes:
        return this.#ranges(request);
      default:
        return unsupported;
    }
  }

  #read({ offset, input }: BlockRequest): Outcome {
    const length = totalLength(input);
    if (!this.#onDisk(offset, length)) return ioError;
    const { status } = this.#transfer('read', input, true, (buffers) => this.#backend.read(offset, buffers));
    return { status, written: status === RequestStatus.Ok ? length : 0 };
  }

  #write({ offset, output }: BlockRequest): Outcome {
    if (this.#backend.readOnly || !this.#onDisk(offset, totalLength(output))) return ioError;
    const outcome = this.#transfer('write', output, false, (buffers) => this.#backend.write(offset, buffers));
    return outcome.status === RequestStatus.Ok ? this.#durable() : outcome;
  }

  /** Discard and write-zeroes: their output is a list of ranges. */
  #ranges({ type, output }: BlockRequest): Outcome {
    const length = totalLength(output);
    const count = length / RangeSegment.Bytes;
    if (this.#backend.readOnly || count === 0 || !Number.isInteger(count)) return ioError;
    if (count > BlockLimits.RangeSegments) return ioError;
    const bytes = new Uint8Array(length);
    if (readSegments(this.#memory, output, bytes) < length) return ioError;
    const ranges = Array.from({ length: count }, (_, index) => readRange(bytes, index));
    const isDiscard = type === RequestType.Discard;
    const legalFlags = isDiscard ? 0 : RangeUnmap;
    if (ranges.some(({ flags }) => (flags & ~legalFlags) !== 0)) return unsupported;
    const most = (isDiscard ? BlockLimits.DiscardSectors : BlockLimits.WriteZeroesSectors) * SectorSize;
    if (ranges.some((range) => range.length > most || !this.#fits(range.offset, range.length))) return ioError;
    for (const range of ranges) {
      const outcome = this.#run(isDiscard ? 'discard' : 'write zeroes', () =>
        isDiscard
          ? this.#backend.discard(range.offset, range.length)
          : this.#backend.writeZeroes(range.offset, range.length, (range.flags & RangeUnmap) !== 0),
      );
      if (outcome.status !== RequestStatus.Ok) return outcome;
    }
    return this.#durable();
  }

  /** Runs a data transfer on the guest's own memory, or through a copy where it has no contiguous view. */
  #transfer(
    operation: string,
    segments: readonly Segment[],
    toGuest: boolean,
    action: (buffers: readonly Uint8Array[]) => BlockResult,
  ): Outcome {
    const views = segments.map(({ address, length }) => this.#memory.view(address, length));
    if (views.every((view) => view !== undefined)) {
      const outcome = this.#run(operation, () => action(views));
      // Even a failed read may have written something.
      if (toGuest) for (const { address, length } of segments) this.#memory.markWritten(address, length);
      return outcome;
    }
    const copy = new Uint8Array(totalLength(segments));
    if (!toGuest) readSegments(this.#memory, segments, copy);
    const outcome = this.#run(operation, () => action([copy]));
    if (toGuest && outcome.status === RequestStatus.Ok) writeSegments(this.#memory, segments, copy);
    return outcome;
  }

  #run(operation: string, action: () => BlockResult): Outcome {
    let reason: unknown;
    try {
      const result = action();
      if (result === 'ok') return ok;
      reason = result;
    } catch (error) {
      reason = error;
    }
    this.#options.onError?.(operation, reason);
    return ioError;
  }

  #durable(): Outcome {
    return this.#writeThrough ? this.#run('flush', () => this.#backend.flush()) : ok;
  }

  #onDisk(offset: number, length: number): boolean {
    return length % SectorSize === 0 && length <= BlockLimits.RequestBytes && this.#fits(offset, length);
  }

  #fits(offset: number, length: number): boolean {
    const capacity = Math.floor(this.#backend.size / SectorSize) * SectorSize;
    return offset + length <= capacity;
  }
}

interface Range {
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

function readRange(bytes: Uint8Array, index: number): Range {
  const view = new DataView(bytes.buffer, index * RangeSegment.Bytes, RangeSegment.Bytes);
  const sector = view.getUint32(RangeSegment.Sector + 4, true) * 2 ** 32 + view.getUint32(RangeSegment.Sector, true);
  return {
    offset: sector * SectorSize,
    length: view.getUint32(RangeSegment.Sectors, true) * SectorSize,
    flags: view.getUint32(RangeSegment.Flags, true),
  };
}

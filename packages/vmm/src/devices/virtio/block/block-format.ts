/**
 * Formats of the block device: features, requests, configuration, and the limits chosen here.
 *
 * Spec: virtio 1.2 §5.2 "Block Device".
 */
import { feature } from '../features.ts';

export const SectorSize = 512;

/** §5.2.3 "Feature bits". */
export const BlockFeature = {
  SegmentMax: feature(2),
  ReadOnly: feature(5),
  BlockSize: feature(6),
  Flush: feature(9),
  Topology: feature(10),
  Discard: feature(13),
  WriteZeroes: feature(14),
} as const;

/** §5.2.6 "Device Operation". */
export const RequestType = {
  In: 0,
  Out: 1,
  Flush: 4,
  GetId: 8,
  Discard: 11,
  WriteZeroes: 13,
} as const;

export const RequestStatus = { Ok: 0, IoError: 1, Unsupported: 2 } as const;
export type RequestStatus = (typeof RequestStatus)[keyof typeof RequestStatus];

/** The header of every request. */
export const RequestHeader = { Type: 0, Sector: 8, Bytes: 16 } as const;

/** One range of a discard or write-zeroes request. */
export const RangeSegment = { Sector: 0, Sectors: 8, Flags: 12, Bytes: 16 } as const;
export const RangeUnmap = 1;

/** The answer to GetId: a string, NUL-terminated when shorter. */
export const IdBytes = 20;

export const BlockLimits = {
  Queues: 1,
  QueueSize: 256,
  /** Data segments of a request: the queue's length without header and status. */
  Segments: 254,
  /** More data than any driver's request has: bounds the time that one request takes. */
  RequestBytes: 64 * 1024 * 1024,
  DiscardSectors: 0x40_0000,
  WriteZeroesSectors: 0x1_0000,
  RangeSegments: 32,
} as const;

/**
 * The block device's register half. Its queue half is {@link BlockRequests}.
 *
 * Spec: virtio 1.2 §5.2 "Block Device".
 *
 * Left out: several queues, write-cache control (VIRTIO_BLK_F_CONFIG_WCE), geometry, resizing, secure erase, zones.
 */
import type { SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import { HostError } from '../../../errors/host-error.ts';
import { RegisterSpace, constant, reserved } from '../../pci/register-space.ts';
import type { QueueRunner, VirtioDevice, VirtioSignals } from '../virtio-device.ts';
import { VirtioDeviceType } from '../virtio-device.ts';
import { BlockFeature, BlockLimits, SectorSize } from './block-format.ts';

/** What the guest gets to know of the disk. */
export interface BlockGeometry {
  /** Bytes; what is beyond the last whole sector is not shown. */
  readonly size: number;
  readonly readOnly: boolean;
  /** The preferred unit of the storage behind: a power of two from 512 on. */
  readonly physicalBlockSize?: number;
}

export class VirtioBlock implements VirtioDevice {
  readonly type = VirtioDeviceType.Block;
  readonly features: bigint;
  readonly queueSizes = [BlockLimits.QueueSize];
  readonly runner: QueueRunner;
  readonly config: RegisterSpace;
  readonly #sectors: number;

  constructor(geometry: BlockGeometry, runner: QueueRunner) {
    const { SegmentMax, BlockSize, Flush, Topology, ReadOnly, Discard, WriteZeroes } = BlockFeature;
    const common = SegmentMax | BlockSize | Flush | Topology;
    this.features = common | (geometry.readOnly ? ReadOnly : Discard | WriteZeroes);
    this.runner = runner;
    this.#sectors = Math.floor(geometry.size / SectorSize);
    this.config = blockConfig(this.#sectors, geometry.physicalBlockSize ?? 4096);
  }

  connect(signals: VirtioSignals): void {
    this.runner.connect(signals);
  }

  reset(): void {}

  save(): SavedState {
    return { version: 1, sectors: this.#sectors };
  }

  /** The disk must be the one that was saved: at least its size has to agree. */
  restore(state: SavedState): void {
    requireVersion(state, 1, 'block');
    if (state['sectors'] === this.#sectors) return;
    throw new HostError(
      'InvalidArgument',
      `the saved machine had a disk of ${String(state['sectors'])} sectors, this one has ${this.#sectors}: attach the same disk`,
    );
  }
}

/** §5.2.4 "Device configuration layout". */
function blockConfig(sectors: number, physicalBlockSize: number): RegisterSpace {
  return new RegisterSpace(60, [
    constant('capacityLow', 4, sectors % 2 ** 32),
    constant('capacityHigh', 4, Math.floor(sectors / 2 ** 32)),
    constant('sizeMax', 4, 0),
    constant('segmentMax', 4, BlockLimits.Segments),
    reserved(4), // geometry
    constant('blockSize', 4, SectorSize),
    constant('physicalBlockExponent', 1, Math.max(0, Math.floor(Math.log2(physicalBlockSize / SectorSize)))),
    constant('alignmentOffset', 1, 0),
    constant('minimumIoSize', 2, 1),
    constant('optimalIoSize', 4, 0),
    constant('writeback', 1, 1),
    reserved(1),
    constant('numberOfQueues', 2, 1),
    constant('maximumDiscardSectors', 4, BlockLimits.DiscardSectors),
    constant('maximumDiscardSegments', 4, BlockLimits.RangeSegments),
    constant('discardSectorAlignment', 4, Math.max(1, physicalBlockSize / SectorSize)),
    constant('maximumWriteZeroesSectors', 4, BlockLimits.WriteZeroesSectors),
    constant('maximumWriteZeroesSegments', 4, BlockLimits.RangeSegments),
    constant('writeZeroesMayUnmap', 1, 1),
    reserved(3),
  ]);
}

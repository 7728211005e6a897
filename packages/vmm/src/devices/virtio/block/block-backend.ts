/** What a block device stores its sectors in. Implemented by the host's side; used from the thread of the queue half. */

/** How an operation ended. Anything but `ok` reaches the guest as an I/O error. */
export type BlockResult = 'ok' | 'io-error' | 'no-space';

/**
 * A disk. All operations are synchronous; offsets and lengths are multiples of 512 bytes inside `size`.
 *
 * An implementation answers host failures with a result. (A throw is taken for an I/O error too.)
 */
export interface BlockBackend {
  /** Bytes. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Fills all buffers from `offset` on. They may be views of shared memory. */
  read(offset: number, buffers: readonly Uint8Array[]): BlockResult;
  write(offset: number, buffers: readonly Uint8Array[]): BlockResult;
  /** Returns once everything written before is on stable storage. */
  flush(): BlockResult;
  /** The contents are of no interest any more. */
  discard(offset: number, length: number): BlockResult;
  /** Makes the range read as zeroes; its storage may be given back if `mayUnmap`. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): BlockResult;
}

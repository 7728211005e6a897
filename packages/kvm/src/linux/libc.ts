/**
 * The few functions of libc that KVM needs, by FFI: errors, ioctl and memory here; eventfds, signals and threads in the
 * files beside. Pointers are bigint addresses; buffers are Uint8Arrays.
 *
 * koffi answers `errno` for the call just made on the same thread. Functions here throw {@link LinuxError} where C
 * returns -1.
 */
import koffi from 'koffi';
import { constants } from 'node:os';

export const library = koffi.load('libc.so.6');

/** A system call that failed. */
export class LinuxError extends Error {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number) {
    super(`${call}: ${errnoName(errno)}`);
    this.name = 'LinuxError';
    this.call = call;
    this.errno = errno;
  }

  /** The name of the error: `EINTR`. */
  get code(): string {
    return errnoName(this.errno);
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

export const Errno = constants.errno;

/** `result`, unless it is -1: then errno as a {@link LinuxError}. */
export function checked(call: string, result: number): number {
  if (result === -1) throw new LinuxError(call, koffi.errno());
  return result;
}

/** The errno of the call just made on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

const closeFunction = library.func('int close(int fd)');

export function close(fd: number): void {
  checked('close', closeFunction(fd));
}

const ioctlPointer = library.func('int ioctl(int fd, unsigned long request, void *argument)');
const ioctlNumber = library.func('int ioctl(int fd, unsigned long request, uint64_t argument)');

/** ioctl(2). A buffer is passed by address and may be written to. */
export function ioctl(fd: number, request: number, argument: Uint8Array | bigint | number = 0): number {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) throw new LinuxError(`ioctl 0x${request.toString(16)}`, -result);
  return result;
}

/** The same without an exception: a negative result is -errno. */
export function tryIoctl(fd: number, request: number, argument: Uint8Array | bigint | number = 0): number {
  const result: number =
    typeof argument === 'object' ? ioctlPointer(fd, request, argument) : ioctlNumber(fd, request, argument);
  return result === -1 ? -koffi.errno() : result;
}

export const Prot = { None: 0, Read: 1, Write: 2, ReadWrite: 3 } as const;
export const MapFlag = {
  Shared: 0x1,
  Private: 0x2,
  Fixed: 0x10,
  Anonymous: 0x20,
  NoReserve: 0x4000,
  Populate: 0x8000,
  HugeTlb: 0x4_0000,
  /** With HugeTlb: pages of 2 MiB, whatever the default size (log2 in the top bits). */
  HugePage2M: 21 << 26,
} as const;

const mmapFunction = library.func(
  'int64_t mmap(uint64_t address, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmapFunction = library.func('int munmap(uint64_t address, size_t length)');
const madviseFunction = library.func('int madvise(uint64_t address, size_t length, int advice)');

/** mmap(2): the address. */
export function mmap(length: number, prot: number, flags: number, fd = -1, offset = 0): bigint {
  const address = BigInt(mmapFunction(0, length, prot, flags, fd, offset));
  if (address === -1n) throw new LinuxError('mmap', koffi.errno());
  return address;
}

export function munmap(address: bigint, length: number): void {
  checked('munmap', munmapFunction(address, length));
}

/** MADV_…: include/uapi/asm-generic/mman-common.h. */
export const Advice = {
  DontNeed: 4,
  DontFork: 10,
  Mergeable: 12,
  Unmergeable: 13,
  HugePage: 14,
  NoHugePage: 15,
  DontDump: 16,
  PopulateWrite: 23,
} as const;

export function madvise(address: bigint, length: number, advice: number): void {
  checked('madvise', madviseFunction(address, length, advice));
}

/**
 * The memory at `address` as an ArrayBuffer. It must not be used after that memory is unmapped: whoever unmaps makes sure
 * that no thread does.
 */
export function viewOf(address: bigint, length: number): ArrayBuffer {
  return koffi.view(address, length);
}

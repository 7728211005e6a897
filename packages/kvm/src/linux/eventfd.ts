/** eventfd(2) and poll(2): what ioeventfds and irqfds are made of. */
import { checked, Errno, lastErrno, library, LinuxError } from './libc.ts';

const EventFdFlag = { NonBlock: 0o4000, CloseOnExec: 0o2000000 } as const;

const eventfdFunction = library.func('int eventfd(unsigned int initial, int flags)');
const readFunction = library.func('int64_t read(int fd, _Out_ void *buffer, size_t size)');
const writeFunction = library.func('int64_t write(int fd, const void *buffer, size_t size)');
const pollFunction = library.func('int poll(_Inout_ void *fds, unsigned long count, int timeout)');

const CounterSize = 8;

/** A new eventfd, closed on exec. Non-blocking unless asked otherwise. */
export function createEventFd(initial = 0, { blocking = false } = {}): number {
  const flags = EventFdFlag.CloseOnExec | (blocking ? 0 : EventFdFlag.NonBlock);
  return checked('eventfd', eventfdFunction(initial, flags));
}

const one = new Uint8Array(BigUint64Array.of(1n).buffer);
const counter = new BigUint64Array(1);
const counterBytes = new Uint8Array(counter.buffer);

/** Adds 1 to the counter: wakes whoever polls it, raises the interrupt of an irqfd. */
export function signalEventFd(fd: number): void {
  if (writeFunction(fd, one, CounterSize) !== CounterSize) throw new LinuxError('write (eventfd)', lastErrno());
}

/**
 * Takes the counter and sets it to 0. 0n when there was none (non-blocking) or a signal interrupted the wait (blocking).
 */
export function drainEventFd(fd: number): bigint {
  if (readFunction(fd, counterBytes, CounterSize) === CounterSize) return counter[0]!;
  const errno = lastErrno();
  if (errno === Errno.EAGAIN || errno === Errno.EINTR) return 0n;
  throw new LinuxError('read (eventfd)', errno);
}

const PollEvent = { In: 1, Error: 8, HangUp: 16, Invalid: 32 } as const;
/** struct pollfd: fd (s32), events (s16), revents (s16). */
const PollFd = { Size: 8, Events: 4, Revents: 6 } as const;

/** A fixed set of file descriptors to wait for. */
export class PollSet {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #count: number;

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#bytes = new Uint8Array(fds.length * PollFd.Size);
    this.#view = new DataView(this.#bytes.buffer);
    fds.forEach((fd, index) => {
      this.#view.setInt32(index * PollFd.Size, fd, true);
      this.#view.setInt16(index * PollFd.Size + PollFd.Events, PollEvent.In, true);
    });
  }

  /** Waits until one of them is readable: how many are; 0 at the time-out (-1: none) or when a signal came. */
  wait(timeoutMilliseconds: number): number {
    const ready = pollFunction(this.#bytes, this.#count, timeoutMilliseconds) as number;
    if (ready >= 0) return ready;
    const errno = lastErrno();
    if (errno !== Errno.EINTR) throw new LinuxError('poll', errno);
    for (let index = 0; index < this.#count; index++) {
      this.#view.setInt16(index * PollFd.Size + PollFd.Revents, 0, true);
    }
    return 0;
  }

  /** True when the descriptor at `index` was readable (or in error) at the end of {@link wait}. */
  isReady(index: number): boolean {
    return this.#view.getInt16(index * PollFd.Size + PollFd.Revents, true) !== 0;
  }
}

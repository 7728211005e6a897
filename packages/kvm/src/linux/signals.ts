/**
 * Signals without handlers: masks of the calling thread, and taking pending ones.
 *
 * A signal set is a bigint with bit `signal - 1` set, which is also the kernel's own 8-byte form.
 */
import { Errno, lastErrno, library, LinuxError } from './libc.ts';

/** glibc's SIGRTMIN and SIGRTMAX: the kernel's first two real-time signals (32, 33) are glibc's own. */
export const RealTimeSignal = { First: 34, Last: 64 } as const;

/** sigset_t of glibc: 1024 bits, of which the kernel has 64. */
const SignalSetSize = 128;
/** The kernel's sigset_t (KVM_SET_SIGNAL_MASK). */
export const KernelSignalSetSize = 8;

const How = { Block: 0, Unblock: 1, SetMask: 2 } as const;

const sigmaskFunction = library.func('int pthread_sigmask(int how, const void *set, _Out_ void *old)');
const sigtimedwaitFunction = library.func('int sigtimedwait(const void *set, void *info, const void *timeout)');

export function signalSet(...signals: readonly number[]): bigint {
  return signals.reduce((set, signal) => set | (1n << BigInt(signal - 1)), 0n);
}

function encode(set: bigint): Uint8Array {
  const bytes = new Uint8Array(SignalSetSize);
  new DataView(bytes.buffer).setBigUint64(0, set, true);
  return bytes;
}

function changeMask(how: number, set: bigint): bigint {
  const old = new Uint8Array(SignalSetSize);
  // It answers the error number itself
  const error = sigmaskFunction(how, encode(set), old) as number;
  if (error !== 0) throw new LinuxError('pthread_sigmask', error);
  return new DataView(old.buffer).getBigUint64(0, true);
}

/** Blocks these signals in the calling thread. Answers the mask before. */
export function blockSignals(set: bigint): bigint {
  return changeMask(How.Block, set);
}

export function unblockSignals(set: bigint): bigint {
  return changeMask(How.Unblock, set);
}

export function setSignalMask(set: bigint): bigint {
  return changeMask(How.SetMask, set);
}

/** The mask of the calling thread. */
export function signalMask(): bigint {
  return changeMask(How.Block, 0n);
}

const noTime = new Uint8Array(16);

/** Takes pending signals of one (blocked) set from the calling thread without waiting; made once, used often. */
export class PendingSignals {
  readonly #set: Uint8Array;

  constructor(set: bigint) {
    this.#set = encode(set);
  }

  /** The number of the signal taken, or 0 when none was pending. */
  take(): number {
    const signal = sigtimedwaitFunction(this.#set, null, noTime) as number;
    if (signal > 0) return signal;
    const errno = lastErrno();
    if (errno === Errno.EAGAIN || errno === Errno.EINTR) return 0;
    throw new LinuxError('sigtimedwait', errno);
  }
}

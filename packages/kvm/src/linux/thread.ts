/**
 * What a thread does with signals, timers and its name: pthread_sigmask(3), sigwait(3), tgkill(2), timer_create(2),
 * prctl(2).
 */
import { lastErrno, library, LinuxError } from './libc.ts';

/** sizeof(sigset_t) of glibc; the kernel uses the first 8 bytes. */
const SignalSetSize = 128;
export const KernelSignalSetSize = 8;

/** `how` of pthread_sigmask. */
const SigBlock = 0;
const PrSetName = 15;
/** Bytes of a thread's name that the kernel keeps. */
const ThreadNameLength = 15;

const gettidFunction = library.func('int gettid()');
const tgkillFunction = library.func('int tgkill(int process, int thread, int signal)');
const sigmaskFunction = library.func('int pthread_sigmask(int how, void *set, void *old)');
const sigtimedwaitFunction = library.func('int sigtimedwait(void *set, void *info, void *timeout)');
const signalFunction = library.func('uint64_t signal(int signal, uint64_t handler)');
const dlsymFunction = library.func('uint64_t dlsym(uint64_t handle, const char *name)');
const prctlFunction = library.func('int prctl(int operation, const char *name)');
const timerCreateFunction = library.func('int timer_create(int clock, void *event, void *timer)');
const timerSettimeFunction = library.func('int timer_settime(uint64_t timer, int flags, void *value, void *old)');
const timerDeleteFunction = library.func('int timer_delete(uint64_t timer)');

/** gettid(2). */
export function currentThread(): number {
  return gettidFunction();
}

/** prctl(PR_SET_NAME): the name that `ps -T` and `top -H` show. */
export function nameThread(name: string): void {
  prctlFunction(PrSetName, name.slice(0, ThreadNameLength));
}

/** tgkill(2) within this process. False when there is no such thread (any more). */
export function signalThread(thread: number, signal: number): boolean {
  return tgkillFunction(process.pid, thread, signal) === 0;
}

/**
 * Installs a handler that does nothing, so that a stray signal harms nobody. JavaScript can't be a signal handler; a
 * function of libc that has no effect (getpid) is one. Ignoring the signal instead would make the kernel drop those that
 * are pending for threads that block it.
 */
export function handleByDoingNothing(signal: number): void {
  signalFunction(signal, dlsymFunction(0, 'getpid'));
}

function signalSet(signal: number): Uint8Array {
  const set = new Uint8Array(SignalSetSize);
  set[(signal - 1) >> 3] = 1 << ((signal - 1) & 7);
  return set;
}

/** Blocks `signal` on this thread. The answer is the kernel's set of what is blocked without it. */
export function blockSignal(signal: number): Uint8Array {
  const old = new Uint8Array(SignalSetSize);
  const error = sigmaskFunction(SigBlock, signalSet(signal), old);
  if (error !== 0) throw new LinuxError('pthread_sigmask', error);
  const blocked = old.slice(0, KernelSignalSetSize);
  blocked[(signal - 1) >> 3]! &= ~(1 << ((signal - 1) & 7));
  return blocked;
}

/** Takes what is pending of one signal that the thread blocks. */
export class PendingSignal {
  readonly #set: Uint8Array;
  readonly #noTime = new Uint8Array(16);

  constructor(signal: number) {
    this.#set = signalSet(signal);
  }

  take(): void {
    while (sigtimedwaitFunction(this.#set, null, this.#noTime) > 0);
  }
}

/** struct sigevent: offsets of sigev_signo, sigev_notify, _sigev_un._tid. */
const EventOffset = { Signal: 8, Notify: 12, Thread: 16 } as const;
const EventSize = 64;
const SigevThreadId = 4;
const ClockMonotonic = 1;
/** struct itimerspec: offset of it_value. */
const TimerValueOffset = 16;
const NanosecondsPerSecond = 1e9;

/** timer_delete(2), from any thread. */
export function deleteTimer(id: number): void {
  timerDeleteFunction(id);
}

/** A timer that sends a signal to the thread that made it. */
export class ThreadTimer {
  /** The kernel's number of it (timer_t of glibc, but for SIGEV_THREAD). */
  readonly id: number;
  readonly #value = new Uint8Array(32);
  readonly #view = new DataView(this.#value.buffer, TimerValueOffset);

  constructor(signal: number) {
    const event = new DataView(new ArrayBuffer(EventSize));
    event.setInt32(EventOffset.Signal, signal, true);
    event.setInt32(EventOffset.Notify, SigevThreadId, true);
    event.setInt32(EventOffset.Thread, currentThread(), true);
    const id = new BigUint64Array(1);
    if (timerCreateFunction(ClockMonotonic, new Uint8Array(event.buffer), new Uint8Array(id.buffer)) !== 0) {
      throw new LinuxError('timer_create', lastErrno());
    }
    this.id = Number(id[0]!);
  }

  /** Fires once, `nanoseconds` (at least 1) from now. 0 stops the timer. */
  set(nanoseconds: number): void {
    const whole = Math.ceil(nanoseconds);
    const seconds = Math.floor(whole / NanosecondsPerSecond);
    this.#view.setUint32(0, seconds, true);
    this.#view.setUint32(8, whole - seconds * NanosecondsPerSecond, true);
    if (timerSettimeFunction(this.id, 0, this.#value, null) !== 0) throw new LinuxError('timer_settime', lastErrno());
  }

  delete(): void {
    deleteTimer(this.id);
  }
}

/** Threads as Linux sees them: ids, names, signals sent to one, timers that signal one. x86-64's system call numbers. */
import { checked, library } from './libc.ts';

/**
 * arch/x86/entry/syscalls/syscall_64.tbl. Called by number because glibc has had functions for the first two only since
 * 2.30, and keeps the timers in another library before 2.34.
 */
const SystemCall = {
  GetPid: 39,
  GetTid: 186,
  TimerCreate: 222,
  TimerSetTime: 223,
  TimerDelete: 226,
  TgKill: 234,
} as const;

const systemCall = library.func('long syscall(long number, int64_t a, int64_t b, int64_t c)');
const systemCallTimer = library.func('long syscall(long number, int64_t a, _Inout_ void *b, _Inout_ void *c)');
const systemCallSetTime = library.func(
  'long syscall(long number, int64_t timer, int64_t flags, void *value, void *old)',
);
const prctlFunction = library.func('int prctl(int option, const char *name)');

/** The calling thread's id, as `ps -T` shows it. */
export function gettid(): number {
  return systemCall(SystemCall.GetTid, 0, 0, 0);
}

/** Sends `signal` to one thread of this process. */
export function tgkill(tid: number, signal: number): void {
  checked('tgkill', systemCall(SystemCall.TgKill, process.pid, tid, signal));
}

const PrSetName = 15;
/** TASK_COMM_LEN without its final zero. */
export const ThreadNameLimit = 15;

/** Names the calling thread, as `ps -T` and `top -H` show it; at most 15 bytes. */
export function setThreadName(name: string): void {
  checked('prctl', prctlFunction(PrSetName, name.slice(0, ThreadNameLimit)));
}

const ClockMonotonic = 1;
const SigevThreadId = 4;
/** struct sigevent: value (8), signo (s32), notify (s32), tid (s32), in 64 bytes. */
const Sigevent = { Size: 64, Signal: 8, Notify: 12, Tid: 16 } as const;
/** struct itimerspec: interval (16), value: seconds (s64), nanoseconds (s64). */
const TimerSpec = { Size: 32, Seconds: 16, Nanoseconds: 24 } as const;
const TimerAbsolute = 1;
const NanosecondsPerSecond = 1_000_000_000;

/** A timer on CLOCK_MONOTONIC that sends a signal to one thread of this process. */
export class ThreadTimer {
  readonly #id: number;
  readonly #spec = new Uint8Array(TimerSpec.Size);
  readonly #view = new DataView(this.#spec.buffer);

  constructor(tid: number, signal: number) {
    const event = new Uint8Array(Sigevent.Size);
    const view = new DataView(event.buffer);
    view.setInt32(Sigevent.Signal, signal, true);
    view.setInt32(Sigevent.Notify, SigevThreadId, true);
    view.setInt32(Sigevent.Tid, tid, true);
    const id = new Int32Array(1);
    const result = systemCallTimer(SystemCall.TimerCreate, ClockMonotonic, event, new Uint8Array(id.buffer));
    checked('timer_create', result);
    this.#id = id[0]!;
  }

  /** Sends the signal once, this many nanoseconds from now (at least 1). */
  armAfter(nanoseconds: number): void {
    this.#set(0, Math.max(1, Math.round(nanoseconds)));
  }

  /** Sends the signal once, when CLOCK_MONOTONIC (`process.hrtime`) shows `nanoseconds`; at once when it is past. */
  armAt(nanoseconds: number): void {
    this.#set(TimerAbsolute, Math.max(1, Math.round(nanoseconds)));
  }

  disarm(): void {
    this.#set(0, 0);
  }

  #set(flags: number, nanoseconds: number): void {
    const seconds = Math.floor(nanoseconds / NanosecondsPerSecond);
    this.#view.setBigInt64(TimerSpec.Seconds, BigInt(seconds), true);
    this.#view.setBigInt64(TimerSpec.Nanoseconds, BigInt(nanoseconds - seconds * NanosecondsPerSecond), true);
    checked('timer_settime', systemCallSetTime(SystemCall.TimerSetTime, this.#id, flags, this.#spec, null));
  }

  close(): void {
    checked('timer_delete', systemCall(SystemCall.TimerDelete, this.#id, 0, 0));
  }
}

/**
 * The PIT in the kernel: KVM API documentation 4.74 "KVM_GET_PIT2", 4.75 "KVM_SET_PIT2"; Linux arch/x86/kvm/i8254.c.
 *
 * KVM does not tell how far counter 0 has come, and begins a cycle when it is set: a move through KVM may make one cycle
 * of the timer longer. A one-shot is given the count that is left. The other counters tell; KVM begins them anew too.
 */
import type { PitState, SpeakerPortState } from '@lodger/vmm/engine/state.js';
import { CounterMode, NanosecondsPerTick, PitAccess } from '@lodger/vmm/devices/pit-8254.js';
import { NmiStatusControl } from '@lodger/vmm/devices/speaker-port.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { PitFlag, PitState2 } from '../api/state-layouts.ts';
import type { PitChannelState } from '../api/state-layouts.ts';
import type { Value } from '../api/struct.ts';
import { getState } from './transfer.ts';

type Channel = Value<typeof PitChannelState>;
type Counter = PitState['counters'][number];
type Port = PitState['ports'][number];

/** KVM's mode of a counter that has had no control word. */
const NoMode = 0xff;
/** RW_STATE_… of i8254.c: which byte is next. */
const ByteState = { None: 0, Low: 1, High: 2, FirstOfTwo: 3, SecondOfTwo: 4 } as const;
const MaximumCount = 0x1_0000;
const TimerCounter = 0;

export interface PitAndSpeaker {
  readonly pit: PitState;
  readonly speaker: SpeakerPortState;
}

/** `now`: CLOCK_MONOTONIC. */
export function readPit(vm: number, now = process.hrtime.bigint()): PitAndSpeaker {
  const { channels, flags } = getState(vm, KvmRequest.GetPit2, PitState2);
  const pit: PitState = {
    version: 1,
    counters: channels.map((channel, i) => decodeCounter(channel, i === TimerCounter ? undefined : now)),
    ports: channels.map(decodePort),
    // KVM's interrupts are pulses
    level: false,
  };
  return {
    pit,
    speaker: { version: 1, kept: NmiStatusControl.of({ SpeakerData: (flags & PitFlag.SpeakerDataOn) !== 0 }) },
  };
}

export function writePit(vm: number, { pit, speaker }: PitAndSpeaker): void {
  const channels = pit.counters.map((counter, i) => encodeChannel(counter, pit.ports[i]!));
  const flags = NmiStatusControl.SpeakerData.isSet(speaker.kept) ? PitFlag.SpeakerDataOn : 0;
  kvmIoctl(vm, KvmRequest.SetPit2, PitState2.create({ channels, flags }));
}

function decodeCounter(channel: Channel, now: bigint | undefined): Counter {
  const hasMode = channel.mode !== NoMode;
  const counts = hasMode && (channel.gate !== 0 || !isPeriodic(channel.mode));
  return {
    version: 1,
    mode: (hasMode ? channel.mode : CounterMode.InterruptOnTerminalCount) as Counter['mode'],
    bcd: channel.bcd !== 0,
    gate: channel.gate !== 0,
    modulus: channel.count || MaximumCount,
    pendingModulus: 0,
    loaded: hasMode,
    running: counts,
    age: counts && now !== undefined ? Math.max(0, Number(now - channel.count_load_time)) : 0,
  };
}

const isPeriodic = (mode: number): boolean => mode === CounterMode.RateGenerator || mode === CounterMode.SquareWave;

function decodePort(channel: Channel): Port {
  return {
    access: channel.mode === NoMode ? PitAccess.Latch : channel.rw_mode,
    writtenLow: channel.write_state === ByteState.SecondOfTwo ? channel.write_latch : undefined,
    readHighNext: isHighNext(channel),
    latchedCount: channel.count_latched === ByteState.None ? undefined : channel.latched_count,
    latchedStatus: channel.status_latched ? channel.status : undefined,
  };
}

/** A latched count of two bytes becomes one of the high byte when the low one was read. */
function isHighNext({ count_latched, read_state, rw_mode }: Channel): boolean {
  if (rw_mode !== PitAccess.LowThenHigh) return false;
  return count_latched === ByteState.None ? read_state === ByteState.SecondOfTwo : count_latched === ByteState.High;
}

function encodeChannel(counter: Counter, port: Port): Channel {
  const { access, latchedCount, latchedStatus, readHighNext, writtenLow } = port;
  const twoBytes = access === PitAccess.LowThenHigh;
  const readState = twoBytes && readHighNext ? ByteState.SecondOfTwo : access;
  const latched = twoBytes && readHighNext ? ByteState.High : access;
  return {
    count: remainingCount(counter),
    latched_count: latchedCount ?? 0,
    count_latched: latchedCount === undefined ? ByteState.None : latched,
    status_latched: Number(latchedStatus !== undefined),
    status: latchedStatus ?? 0,
    read_state: latchedCount === undefined ? readState : access,
    write_state: writtenLow === undefined ? access : ByteState.SecondOfTwo,
    write_latch: writtenLow ?? 0,
    rw_mode: access,
    mode: access === PitAccess.Latch ? NoMode : counter.mode,
    bcd: Number(counter.bcd),
    gate: Number(counter.gate),
    count_load_time: 0n,
  };
}

/** What KVM is to begin with: a one-shot that is over gets the longest count, as KVM cannot be told that it is. */
function remainingCount({ mode, loaded, pendingModulus, modulus, age }: Counter): number {
  if (!loaded) return MaximumCount;
  if (isPeriodic(mode)) return pendingModulus || modulus;
  const remaining = modulus - Math.floor(age / NanosecondsPerTick);
  return remaining > 0 ? remaining : MaximumCount;
}

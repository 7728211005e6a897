/** Stops a contract guest on one engine and continues it on another. */
import assert from 'node:assert/strict';
import type { VcpuState, VmState } from '@lodger/vmm/engine/state.js';
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import { decodeState, encodeState } from '@lodger/vmm/snapshot/state-json.js';
import { EngineGuest, MemorySize } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';

/** Two fresh engines, and how fast TSCs are to run so that both have the rate. */
export interface EnginePair {
  readonly from: EngineUnderTest;
  readonly to: EngineUnderTest;
}

export interface StoppedMachine {
  readonly vm: VmState;
  readonly vcpus: readonly VcpuState[];
}

const StopAttempts = 100;

/** Brings the vCPUs to where nothing of an instruction is left to do. */
export function stop(guest: EngineGuest): void {
  for (const vcpu of guest.vcpus) {
    let kind = '';
    for (let attempt = 0; attempt < StopAttempts && kind !== 'interrupted' && kind !== 'halt'; attempt++) {
      vcpu.kick();
      ({ kind } = vcpu.run());
    }
    assert.match(kind, /interrupted|halt/, `vCPU ${vcpu.id} does not stop`);
  }
}

/** The state as it would come from a file. The guest must have been stopped. */
export function save(guest: EngineGuest): StoppedMachine {
  const state: StoppedMachine = { vcpus: guest.vcpus.map((vcpu) => vcpu.state()), vm: guest.vm.state() };
  return decodeState(encodeState(state)) as StoppedMachine;
}

/** A guest that goes on where the other one stopped. `lines`: interrupt lines that devices assert. */
export function moveGuest(
  guest: EngineGuest,
  to: EngineUnderTest,
  lines: readonly number[] = [],
  { stopped = false } = {},
): EngineGuest {
  if (!stopped) stop(guest);
  const { vm, vcpus } = save(guest);
  const memory = guest.read(0, 0xa_0000);
  const above = guest.read(0x10_0000, MemorySize - 0x10_0000);
  const moved = new EngineGuest(to, vcpus.length);
  moved.write(0, memory);
  moved.write(0x10_0000, above);
  setLines(moved, lines, true);
  moved.vm.setState(vm);
  vcpus.forEach((state, id) => moved.vcpus[id]!.setState(state));
  return moved;
}

const lineSources = new WeakMap<EngineGuest, Map<number, InterruptLine>>();

/** Drives interrupt lines as one device each. */
export function setLines(guest: EngineGuest, lines: readonly number[], asserted: boolean): void {
  const sources = lineSources.get(guest) ?? new Map<number, InterruptLine>();
  lineSources.set(guest, sources);
  for (const gsi of lines) {
    const source = sources.get(gsi) ?? guest.vm.interruptLine(gsi);
    sources.set(gsi, source);
    source.setLevel(asserted);
  }
}

/** The local APIC: KVM API documentation 4.57 "KVM_GET_LAPIC", the page of registers with an ICR2 in x2APIC mode too. */
import type { LocalApicState } from '@lodger/vmm/engine/state.js';
import { LocalApicRegister, XApicTopByte } from '@lodger/vmm/interrupts/local-apic-registers.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { LapicState } from '../api/state-layouts.ts';
import { viewOfBytes } from '../api/struct.ts';

const Register = LocalApicRegister;
/** SDM Vol. 3B "CMCI Local APIC Interface": only processors that signal corrected machine checks have it. */
const LvtCmci = 0x2f0;
/** Registers of a vector bitmap and the bytes from one to the next. */
const BitmapWords = 8;
const RegisterSpacing = 16;

export function readLapic(fd: number): LocalApicState {
  const page = LapicState.create();
  kvmIoctl(fd, KvmRequest.GetLapic, page);
  const view = viewOfBytes(page);
  const get = (register: number): number => view.getUint32(register, true);
  const words = (register: number): number[] =>
    Array.from({ length: BitmapWords }, (_, i) => get(register + i * RegisterSpacing));
  return {
    version: 1,
    id: XApicTopByte.Value.get(get(Register.Id)),
    taskPriority: get(Register.TaskPriority),
    logicalDestination: get(Register.LogicalDestination),
    destinationFormat: get(Register.DestinationFormat),
    spuriousVector: get(Register.SpuriousVector),
    errorStatus: get(Register.ErrorStatus),
    pendingErrors: 0,
    commandLow: get(Register.InterruptCommandLow),
    commandHigh: get(Register.InterruptCommandHigh),
    lvt: {
      timer: get(Register.LvtTimer),
      thermal: get(Register.LvtThermal),
      performance: get(Register.LvtPerformance),
      lint0: get(Register.LvtLint0),
      lint1: get(Register.LvtLint1),
      error: get(Register.LvtError),
      ...(get(LvtCmci) !== 0 && { cmci: get(LvtCmci) }),
    },
    requests: words(Register.InterruptRequest),
    inService: words(Register.InService),
    triggerMode: words(Register.TriggerMode),
    timer: {
      divide: get(Register.TimerDivide),
      initialCount: get(Register.TimerInitialCount),
      currentCount: get(Register.TimerCurrentCount),
    },
  };
}

/** After IA32_APIC_BASE, which says how the page is to be read. The ID stays the vCPU's own; PPR follows by itself. */
export function writeLapic(fd: number, state: LocalApicState): void {
  const page = LapicState.create();
  kvmIoctl(fd, KvmRequest.GetLapic, page);
  const view = viewOfBytes(page);
  const set = (register: number, value: number): void => view.setUint32(register, value, true);
  const setWords = (register: number, words: readonly number[]): void =>
    words.forEach((word, i) => set(register + i * RegisterSpacing, word));
  const { lvt, timer } = state;
  set(Register.TaskPriority, state.taskPriority);
  set(Register.LogicalDestination, state.logicalDestination);
  set(Register.DestinationFormat, state.destinationFormat);
  set(Register.SpuriousVector, state.spuriousVector);
  set(Register.ErrorStatus, state.errorStatus);
  set(Register.InterruptCommandLow, state.commandLow);
  set(Register.InterruptCommandHigh, state.commandHigh);
  set(Register.LvtTimer, lvt.timer);
  set(Register.LvtThermal, lvt.thermal);
  set(Register.LvtPerformance, lvt.performance);
  set(Register.LvtLint0, lvt.lint0);
  set(Register.LvtLint1, lvt.lint1);
  set(Register.LvtError, lvt.error);
  if (lvt.cmci !== undefined) set(LvtCmci, lvt.cmci);
  setWords(Register.InterruptRequest, state.requests);
  setWords(Register.InService, state.inService);
  setWords(Register.TriggerMode, state.triggerMode);
  set(Register.TimerDivide, timer.divide);
  set(Register.TimerInitialCount, timer.initialCount);
  set(Register.TimerCurrentCount, timer.currentCount);
  kvmIoctl(fd, KvmRequest.SetLapic, page);
}

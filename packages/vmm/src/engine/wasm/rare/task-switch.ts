/**
 * Hardware task switches (SDM Vol. 3A "Task Switching"): by far jump and call, IRET with NT set, and task gates; 16- and
 * 32-bit TSS. Not in long mode.
 *
 * Faults up to reading the new TSS are the old task's. What is wrong with the new task's own segments faults in the new
 * task, which then has the registers that its TSS gave it.
 */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { Rflag } from '../emit/lazy-flags.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import type { Descriptor } from './descriptor.ts';
import {
  SystemType,
  fail,
  isNullSelector,
  markBusy,
  nullSegment,
  readDescriptor,
  selectorError,
  virtual8086Segment,
} from './descriptor.ts';
import type { RareCpu, RareResult } from './rare-cpu.ts';
import { dataSegment } from './segments.ts';
import { Access } from '../softmmu/access.ts';
import { isTask32, isWideTss, newStackSegment } from './stack.ts';
import { updateSimdDisabled } from './mode-bits.ts';

export type TaskSwitchCause = 'jump' | 'call' | 'gate' | 'return';

const LocalTable = 4;
const BackLink = 0;
const TaskSwitched = 8n;
const Cr0Paging = 1n << 31n;

/** Where a TSS keeps things. Selectors in the order ES CS SS DS (FS GS), general registers in encoding order. */
interface TaskLayout {
  readonly bytes: 2 | 4;
  readonly lowestLimit: number;
  readonly cr3: number | undefined;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
}
const Task32: TaskLayout = {
  bytes: 4,
  lowestLimit: 0x67,
  cr3: 0x1c,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
};
const Task16: TaskLayout = {
  bytes: 2,
  lowestLimit: 0x2b,
  cr3: undefined,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
};

/** The TSS descriptor that a selector names: in the GDT, available, present. */
export function readTaskDescriptor(cpu: RareCpu, selector: number): Descriptor | undefined {
  if (selector & LocalTable || isNullSelector(selector)) {
    return fail(cpu, Vector.GeneralProtection, selectorError(selector));
  }
  const descriptor = readDescriptor(cpu, selector);
  if (!descriptor) return undefined;
  const type = descriptor.systemType;
  if (!descriptor.isSystem || (type !== SystemType.Tss16 && type !== SystemType.Tss32)) {
    return fail(cpu, Vector.GeneralProtection, descriptor.error);
  }
  return descriptor.present ? descriptor : fail(cpu, Vector.SegmentNotPresent, descriptor.error);
}

/** The task behind a task gate whose own privilege and presence were checked. */
export const taskGate = (cpu: RareCpu, gate: Descriptor): Descriptor | undefined =>
  readTaskDescriptor(cpu, gate.gateSelector);

/** Far jump or call to a task: what the instruction answers. */
export function jumpToTask(cpu: RareCpu, task: Descriptor, cause: TaskSwitchCause): RareResult {
  const rip = cpu.rip;
  cpu.rip = cpu.nextRip;
  const switched = switchTask(cpu, task, cause);
  if (switched === 'old-task') {
    cpu.rip = rip;
    return cpu.slowStatus;
  }
  return switched === 'new-task' ? deliverHere(cpu) : HandlerResult.Resync;
}

/** A fault at Cpu.Rip as it is now, not at the running instruction. */
function deliverHere(cpu: RareCpu): RareResult {
  const exit = cpu.core.deliver(cpu.at);
  if (exit === 0) return HandlerResult.Resync;
  cpu.setU32(Cpu.ExitKind, exit);
  return HandlerResult.Exit;
}

/** IRET with NT set. */
export function returnToOuterTask(cpu: RareCpu): RareResult {
  const link = cpu.readSystem(cpu.segment(SegmentIndex.Tr).base + BigInt(BackLink), 2);
  if (link === undefined) return cpu.slowStatus;
  const selector = Number(link);
  if (selector & LocalTable || isNullSelector(selector)) return cpu.raise(Vector.InvalidTss, selectorError(selector));
  const task = readDescriptor(cpu, selector, Vector.InvalidTss);
  if (!task) return cpu.slowStatus;
  const type = task.systemType;
  if (!task.isSystem || (type !== SystemType.BusyTss16 && type !== SystemType.BusyTss32)) {
    return cpu.raise(Vector.InvalidTss, task.error);
  }
  if (!task.present) return cpu.raise(Vector.SegmentNotPresent, task.error);
  return jumpToTask(cpu, task, 'return');
}

/**
 * Switches with Cpu.Rip as the old task's. Answers whose fault was recorded, or undefined when there is none.
 * `old-task`: nothing changed.
 */
export function switchTask(
  cpu: RareCpu,
  task: Descriptor,
  cause: TaskSwitchCause,
): 'old-task' | 'new-task' | undefined {
  const layout = isTask32(task.systemType) ? Task32 : Task16;
  if (task.limit < layout.lowestLimit) {
    cpu.raise(Vector.InvalidTss, task.error);
    return 'old-task';
  }
  const old = cpu.segment(SegmentIndex.Tr);
  const oldDescriptor = readDescriptor(cpu, old.selector, Vector.InvalidTss);
  if (!oldDescriptor) return 'old-task';
  const image = readTask(cpu, task.base, layout);
  if (!image || !saveTask(cpu, old.base, cause)) return 'old-task';
  if (!linkTasks(cpu, oldDescriptor, task, cause)) return 'old-task';
  enterTask(cpu, task, image, cause);
  return loadTaskSegments(cpu, image) ? undefined : 'new-task';
}

interface TaskImage {
  readonly cr3: bigint | undefined;
  readonly ip: bigint;
  readonly flags: number;
  readonly registers: readonly bigint[];
  readonly segments: readonly number[];
  readonly ldt: number;
}

function readTask(cpu: RareCpu, base: bigint, layout: TaskLayout): TaskImage | undefined {
  let faulted = false;
  const field = (offset: number, bytes: 2 | 4 = layout.bytes): bigint => {
    const value = faulted ? undefined : cpu.readSystem(base + BigInt(offset), bytes);
    faulted ||= value === undefined;
    return value ?? 0n;
  };
  const image: TaskImage = {
    cr3: layout.cr3 === undefined ? undefined : field(layout.cr3),
    ip: field(layout.ip),
    flags: Number(field(layout.flags)),
    registers: Array.from({ length: 8 }, (_, i) => field(layout.registers + i * layout.bytes)),
    segments: Array.from({ length: layout.segmentCount }, (_, i) =>
      Number(field(layout.segments + i * layout.bytes, 2)),
    ),
    ldt: Number(field(layout.ldt, 2)),
  };
  return faulted ? undefined : image;
}

/** Saves the running task's registers into its TSS; all of it is checked for writing first. */
function saveTask(cpu: RareCpu, base: bigint, cause: TaskSwitchCause): boolean {
  const layout = isWideTss(cpu) ? Task32 : Task16;
  const { bytes } = layout;
  const flags = cause === 'return' ? cpu.rflags & ~Rflag.NestedTask : cpu.rflags;
  const fields: [offset: number, value: bigint, bytes: 2 | 4][] = [
    [layout.ip, cpu.rip, bytes],
    [layout.flags, BigInt(flags >>> 0), bytes],
  ];
  for (let i = 0; i < 8; i++) fields.push([layout.registers + i * bytes, cpu.gpr(i), bytes]);
  for (let i = 0; i < layout.segmentCount; i++) {
    fields.push([layout.segments + i * bytes, BigInt(cpu.segment(i).selector), 2]);
  }
  const size = (width: 2 | 4): bigint => (1n << BigInt(width * 8)) - 1n;
  return (
    fields.every(([offset, , width]) => cpu.probeWrite(base + BigInt(offset), width, Access.System)) &&
    fields.every(([offset, value, width]) => cpu.writeSystem(base + BigInt(offset), width, value & size(width)))
  );
}

/** Busy bits and the back link (SDM Vol. 3A "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, and TS Flag"). */
function linkTasks(cpu: RareCpu, old: Descriptor, task: Descriptor, cause: TaskSwitchCause): boolean {
  const nests = cause === 'call' || cause === 'gate';
  if (nests && !cpu.writeSystem(task.base + BigInt(BackLink), 2, BigInt(old.selector))) return false;
  if (!nests && !markBusy(cpu, old.linear, false)) return false;
  return cause === 'return' || markBusy(cpu, task.linear, true);
}

function enterTask(cpu: RareCpu, task: Descriptor, image: TaskImage, cause: TaskSwitchCause): void {
  const Busy = 2 << 8;
  const cache = task.cache();
  cpu.setSegment(SegmentIndex.Tr, { ...cache, attributes: cache.attributes | Busy });
  cpu.setU64(Cpu.Cr0, cpu.u64(Cpu.Cr0) | TaskSwitched);
  updateSimdDisabled(cpu);
  if (image.cr3 !== undefined && cpu.u64(Cpu.Cr0) & Cr0Paging) {
    cpu.setU64(Cpu.Cr3, image.cr3);
    cpu.flushTlb(false);
  }
  const nests = cause === 'call' || cause === 'gate';
  cpu.rflags = (image.flags & TaskFlags) | (nests ? Rflag.NestedTask : 0);
  image.registers.forEach((value, i) => cpu.setGpr(i, value));
  const LocalBreakpoints = 0x155n;
  cpu.setU64(Cpu.Dr7, cpu.u64(Cpu.Dr7) & ~LocalBreakpoints);
  cpu.rip = image.ip;
  cpu.setU32(Cpu.Shadow, 0);
}

const TaskFlags = 0x3f_7fd7; /* all that exist in EFLAGS, bits 3, 5 and 15 excepted */

/** LDTR and the segment registers of the new task; false with its fault recorded. */
function loadTaskSegments(cpu: RareCpu, image: TaskImage): boolean {
  const { segments } = image;
  const at = (i: number): number => segments[i] ?? 0;
  // Until they are checked the registers hold the selectors but cannot be used
  for (let i = 0; i < 6; i++) cpu.setSegment(i, nullSegment(at(i)));
  cpu.setSegment(SegmentIndex.Ldtr, nullSegment(image.ldt));
  if (image.flags & Rflag.Virtual8086) {
    for (let i = 0; i < 6; i++) cpu.setSegment(i, virtual8086Segment(at(i)));
    cpu.setU32(Cpu.Cpl, 3);
    cpu.updateMode();
    return loadTaskLdt(cpu, image.ldt) && checkIp(cpu);
  }
  const cpl = at(SegmentIndex.Cs) & 3;
  cpu.setU32(Cpu.Cpl, cpl);
  cpu.updateMode();
  const loaded =
    loadTaskLdt(cpu, image.ldt) &&
    loadTaskCode(cpu, at(SegmentIndex.Cs)) &&
    loadTaskStack(cpu, at(SegmentIndex.Ss), cpl);
  if (!loaded) return false;
  for (const i of [SegmentIndex.Es, SegmentIndex.Ds, SegmentIndex.Fs, SegmentIndex.Gs]) {
    const selector = at(i);
    if (isNullSelector(selector)) continue;
    const segment = dataSegment(cpu, selector, cpl, Vector.InvalidTss);
    if (!segment) return false;
    cpu.setSegment(i, segment);
  }
  return checkIp(cpu);
}

function checkIp(cpu: RareCpu): boolean {
  if (cpu.rip <= BigInt(cpu.segment(SegmentIndex.Cs).limit)) return true;
  cpu.raise(Vector.GeneralProtection);
  return false;
}

function loadTaskLdt(cpu: RareCpu, selector: number): boolean {
  if (isNullSelector(selector)) return true;
  const linear = selector & LocalTable ? undefined : readDescriptor(cpu, selector, Vector.InvalidTss);
  if (linear && linear.isSystem && linear.systemType === SystemType.Ldt && linear.present) {
    cpu.setSegment(SegmentIndex.Ldtr, linear.cache());
    return true;
  }
  const alreadyRecorded = linear === undefined && !(selector & LocalTable);
  if (!alreadyRecorded) cpu.raise(Vector.InvalidTss, selectorError(selector));
  return false;
}

function loadTaskCode(cpu: RareCpu, selector: number): boolean {
  if (isNullSelector(selector)) {
    cpu.raise(Vector.InvalidTss, selectorError(selector));
    return false;
  }
  const code = readDescriptor(cpu, selector, Vector.InvalidTss);
  if (!code) return false;
  const allowed = code.isConforming ? code.dpl <= code.rpl : code.dpl === code.rpl;
  if (!code.isCode || !allowed) {
    cpu.raise(Vector.InvalidTss, code.error);
    return false;
  }
  if (!code.present) {
    cpu.raise(Vector.SegmentNotPresent, code.error);
    return false;
  }
  const cache = code.cache();
  cpu.setSegment(SegmentIndex.Cs, { ...cache, attributes: cache.attributes & ~SegmentAttribute.Long });
  cpu.updateMode();
  return true;
}

function loadTaskStack(cpu: RareCpu, selector: number, cpl: number): boolean {
  const segment = newStackSegment(cpu, selector, cpl);
  if (!segment) return false;
  cpu.setSegment(SegmentIndex.Ss, segment);
  cpu.updateMode();
  return true;
}

/**
 * Every size, offset and number of the KVM API against the C headers of this host, by a C program that is generated from
 * the declarations, compiled and run.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as capabilities from './capabilities.ts';
import * as exits from './exits.ts';
import * as layouts from './layouts.ts';
import { KvmRequest } from './requests.ts';
import * as runLayout from './run-layout.ts';
import * as stateLayouts from './state-layouts.ts';
import type { Struct, Type } from './struct.ts';

type AnyStruct = Struct<Record<string, Type<unknown>>>;

/** What C is asked, and what this package says. */
interface Question {
  readonly expression: string;
  readonly expected: bigint;
  /** Asked only where this macro exists: headers may be older than the names. */
  readonly macro?: string;
}

const Header = '/usr/include/linux/kvm.h';
const { constantName } = exits;

function isStruct(value: unknown): value is AnyStruct {
  return typeof value === 'object' && value !== null && 'fields' in value && 'cName' in value;
}

/** Sizes and offsets of a structure and of what is declared inside it. */
function structQuestions(root: string, type: AnyStruct, path: string, start: number): Question[] {
  return Object.entries(type.fields).flatMap(([name, field]) => {
    if (name.startsWith('_')) return [];
    const at = start + type.offset[name]!;
    if (isStruct(field) && field.anonymous) return structQuestions(root, field, path, at);
    const full = `${path}${name}`;
    const member = `((${root} *)0)->${full}`;
    const questions = [{ expression: `offsetof(${root}, ${full})`, expected: BigInt(at) }];
    if (field.size > 0) questions.push({ expression: `sizeof(${member})`, expected: BigInt(field.size) });
    return isStruct(field) ? [...questions, ...structQuestions(root, field, `${full}.`, at)] : questions;
  });
}

function allStructs(): AnyStruct[] {
  const exported = [layouts, stateLayouts, runLayout].flatMap((module) => Object.values(module) as unknown[]);
  return exported.filter((value) => isStruct(value) && value.cName !== '') as AnyStruct[];
}

/** Names of C that are not the PascalCase ones spelled in capitals. */
const spelled: Record<string, string> = {
  KVM_CPUID_FLAG_SIGNIFICANT_INDEX: 'KVM_CPUID_FLAG_SIGNIFCANT_INDEX',
  KVM_X86_QUIRK_OUT7E_INC_RIP: 'KVM_X86_QUIRK_OUT_7E_INC_RIP',
  KVM_X2APIC_API_USE32_BIT_IDS: 'KVM_X2APIC_API_USE_32BIT_IDS',
};

function macroQuestions(prefix: string, table: Record<string, number | bigint>): Question[] {
  return Object.entries(table).map(([name, value]) => {
    const plain = `${prefix}${constantName(name)}`;
    const macro = spelled[plain] ?? plain;
    return { expression: `(unsigned long long)(${macro})`, expected: BigInt(value), macro };
  });
}

const macroTables: readonly (readonly [string, Record<string, number | bigint>])[] = [
  ['KVM_', KvmRequest],
  ['KVM_CAP_', capabilities.KvmCapability],
  ['KVM_X86_DISABLE_EXITS_', capabilities.DisableExits],
  ['KVM_X86_QUIRK_', capabilities.Quirk],
  ['KVM_X2APIC_API_', capabilities.X2apicApi],
  ['KVM_X86_NOTIFY_VMEXIT_', capabilities.NotifyVmexit],
  ['KVM_BUS_LOCK_DETECTION_', capabilities.BusLockDetection],
  ['KVM_EXIT_', exits.KvmExit],
  ['KVM_EXIT_IO_', exits.IoDirection],
  ['KVM_INTERNAL_ERROR_', exits.InternalError],
  ['KVM_INTERNAL_ERROR_EMULATION_FLAG_', exits.EmulationFlag],
  ['KVM_SYSTEM_EVENT_', exits.SystemEvent],
  ['KVM_MSR_EXIT_REASON_', exits.MsrExitReason],
  ['KVM_RUN_X86_', exits.RunFlag],
  ['KVM_MEM_', layouts.MemoryFlag],
  ['KVM_DIRTY_GFN_F_', layouts.DirtyGfnFlag],
  ['KVM_DIRTY_LOG_', layouts.DirtyLogFlag],
  ['KVM_IRQFD_FLAG_', layouts.IrqfdFlag],
  ['KVM_IOEVENTFD_FLAG_', layouts.IoeventfdFlag],
  ['KVM_IRQ_ROUTING_', layouts.IrqRoutingType],
  ['KVM_GUESTDBG_', layouts.GuestDebugControl],
  ['KVM_CPUID_FLAG_', layouts.CpuidFlag],
  ['KVM_VCPU_', layouts.VcpuAttribute],
  ['KVM_SREGS2_FLAGS_', stateLayouts.Sregs2Flag],
  ['KVM_VCPUEVENT_', stateLayouts.VcpuEventFlag],
  ['KVM_X86_SHADOW_INT_', stateLayouts.InterruptShadow],
  ['KVM_MP_STATE_', stateLayouts.MpStateValue],
  ['KVM_IRQCHIP_', stateLayouts.IrqchipId],
  ['KVM_PIT_FLAGS_', stateLayouts.PitFlag],
  ['KVM_CLOCK_', stateLayouts.ClockFlag],
  ['KVM_SYNC_X86_', runLayout.SyncRegsFlag],
];

const constants: readonly Question[] = [
  { expression: 'KVM_PIO_PAGE_OFFSET', expected: BigInt(layouts.VcpuMapPage.Pio) },
  { expression: 'KVM_COALESCED_MMIO_PAGE_OFFSET', expected: BigInt(layouts.VcpuMapPage.CoalescedMmio) },
  { expression: 'KVM_DIRTY_LOG_PAGE_OFFSET', expected: BigInt(layouts.VcpuMapPage.DirtyLog) },
  { expression: 'KVM_PIT_SPEAKER_DUMMY', expected: BigInt(layouts.PitSpeakerDummy) },
  { expression: 'KVM_IOAPIC_NUM_PINS', expected: BigInt(stateLayouts.IoapicPins) },
  { expression: 'KVM_MAX_XCRS', expected: BigInt(stateLayouts.Xcrs.fields.xcrs.size / stateLayouts.Xcr.size) },
];

function program(questions: readonly Question[]): string {
  const lines = questions.map(({ expression, macro }, index) => {
    const ask = `  printf("${index} %llu\\n", (unsigned long long)(${expression}));`;
    return macro === undefined ? ask : `#ifdef ${macro}\n${ask}\n#endif`;
  });
  return `#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n${lines.join('\n')}\n}\n`;
}

/** C's answer to each question; undefined where the header has no such macro. */
function askC(directory: string, compiler: string, questions: readonly Question[]): (bigint | undefined)[] {
  const source = join(directory, 'ask.c');
  const binary = join(directory, 'ask');
  writeFileSync(source, program(questions));
  execFileSync(compiler, ['-o', binary, source], { stdio: ['ignore', 'ignore', 'pipe'] });
  const answers: (bigint | undefined)[] = questions.map(() => undefined);
  for (const line of execFileSync(binary, { encoding: 'utf8' }).trim().split('\n')) {
    const [index, value] = line.split(' ');
    answers[Number(index)] = BigInt(value!);
  }
  return answers;
}

function missing(compiler: string | undefined): string | false {
  if (compiler === undefined) return 'no C compiler (cc, gcc, clang) to ask for sizes and numbers';
  return existsSync(Header) ? false : `no ${Header} to compare with`;
}

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);

describe('the KVM API agrees with the C headers', { skip: missing(compiler) }, () => {
  let directory = '';
  before(() => void (directory = mkdtempSync(join(tmpdir(), 'lodger-kvm-api-'))));
  after(() => rmSync(directory, { recursive: true }));

  test('sizes and offsets of structures', (context) => {
    const questions = allStructs().flatMap((type) => [
      { expression: `sizeof(${type.cName})`, expected: BigInt(type.size) },
      ...structQuestions(type.cName, type, '', 0),
    ]);
    context.diagnostic(`${allStructs().length} structures, ${questions.length} sizes and offsets`);
    const answers = askC(directory, compiler!, questions);
    const show = (values: readonly (bigint | undefined)[]): string[] =>
      questions.map(({ expression }, index) => `${expression} = ${values[index]}`);
    assert.deepEqual(show(questions.map(({ expected }) => expected)), show(answers));
  });

  test('requests, capabilities, exits and flags', (context) => {
    const questions = [...constants, ...macroTables.flatMap(([prefix, table]) => macroQuestions(prefix, table))];
    const answers = askC(directory, compiler!, questions);
    const older = questions.filter((_, index) => answers[index] === undefined);
    const known = questions.filter((_, index) => answers[index] !== undefined);
    context.diagnostic(`${known.length} numbers compared`);
    if (older.length > 0) {
      context.diagnostic(`not in this host's header: ${older.map(({ macro }) => macro).join(', ')}`);
    }
    const show = (values: readonly (bigint | undefined)[]): string[] =>
      known.map(({ expression }, index) => `${expression} = ${values[index]}`);
    const given = answers.filter((answer) => answer !== undefined);
    assert.deepEqual(show(known.map(({ expected }) => expected)), show(given));
    // What the header lacks must be few and new: a misspelled name would hide among them
    const oldNames = older.filter(({ macro }) => !newNames.has(macro!));
    assert.deepEqual(oldNames, []);
  });
});

/** Names that came after Linux 6.1, whose headers Debian 12 has. */
const newNames = new Set([
  'KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP',
  'KVM_CAP_USER_MEMORY2',
  'KVM_CAP_MEMORY_FAULT_INFO',
  'KVM_CAP_VM_TYPES',
  'KVM_CAP_PRE_FAULT_MEMORY',
  'KVM_CAP_X86_APIC_BUS_CYCLES_NS',
  'KVM_CAP_X86_GUEST_MODE',
  'KVM_EXIT_MEMORY_FAULT',
]);

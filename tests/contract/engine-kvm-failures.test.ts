/**
 * Guests that KVM cannot go on with, and what is said of them: KVM API documentation, section 5 "The kvm_run structure",
 * KVM_EXIT_INTERNAL_ERROR and KVM_EXIT_FAIL_ENTRY.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { KvmExit } from '@lodger/kvm/api/exits.js';
import { RunOffset } from '@lodger/kvm/api/run-layout.js';
import { KvmEngine } from '@lodger/kvm/engine.js';
import { reportExit } from '@lodger/kvm/failure-report.js';
import type { KvmVcpu } from '@lodger/kvm/vcpu.js';
import type { KvmVm } from '@lodger/kvm/vm.js';
import { longModeState, protectedModeState } from '@lodger/vmm/boot/initial-state.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { kvmMissing, realClock } from './kvm-host.ts';

const skip = kvmMissing() ?? false;

const At = { PageTables: 0x1000, Code: 0x1_0000, Stack: 0x8000, Gdt: { base: 0x500, limit: 0x27 } } as const;
const MemorySize = 2 << 20;
/** Neither RAM nor anything of KVM's: 0xd0000000. */
const nowhere = [0x00, 0x00, 0x00, 0xd0];
/** Nanoseconds that a guest may take to fail. */
const Patience = 500e6;
const clock = realClock();

interface Guest {
  readonly vm: KvmVm;
  readonly vcpu: KvmVcpu;
}

function guestWith(context: TestContext, code: readonly number[], state: VcpuState): Guest {
  const vm = new KvmEngine().createVm({ memorySize: MemorySize, vcpus: 1, clock });
  const vcpu = vm.createVcpu(0);
  context.after(() => {
    vcpu.leaveThread();
    vm.close();
  });
  vm.memory.write(gpa(At.Code), Uint8Array.from(code));
  [0x2003n, 0x3003n, 0x83n].forEach((entry, level) => vm.memory.writeU64(gpa(At.PageTables + level * 0x1000), entry));
  vcpu.setState(state);
  return { vm, vcpu };
}

const registers = { entry: gpa(At.Code), rsp: BigInt(At.Stack), rax: 0x1234n };
const protectedMode = () => protectedModeState(registers, At.Gdt);
const longMode = () => longModeState(registers, At.Gdt, gpa(At.PageTables));

/** The reason of a failure; otherwise what came instead. */
function failureOf({ vcpu }: Guest): string {
  const deadline = clock.now() + Patience;
  let exit = vcpu.run(deadline);
  while (exit.kind === 'interrupted' && clock.now() < deadline) exit = vcpu.run(deadline);
  return exit.kind === 'failure' ? exit.reason : exit.kind;
}

test('an instruction on a device that KVM cannot emulate: its bytes and all registers', { skip }, (context) => {
  const fadd = [0xd8, 0x05, ...nowhere];
  const report = failureOf(guestWith(context, [0xdb, 0xe3, ...fadd, 0xf4], protectedMode()));
  assert.match(report, /^KVM_EXIT_INTERNAL_ERROR \(KVM_INTERNAL_ERROR_EMULATION\b.* on vCPU 0\n/);
  assert.match(report, /\brax=0x1234 /);
  assert.match(report, /\brip=0x10002 rflags=0x/);
  assert.match(report, /\bcr0=0x[0-9a-f]+ cr2=.* efer=0x0/);
  for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs', 'tr', 'ldt', 'gdt', 'idt']) {
    assert.match(report, new RegExp(`\\n +${name}\\b.*base=0x`));
  }
  assert.match(report, /\n +code at RIP: d8 05 00 00 00 d0 f4 00/);
});

test('code where there is no memory: the report says that it cannot be read', { skip }, (context) => {
  // mov eax, 0xd0000000; jmp eax
  const report = failureOf(guestWith(context, [0xb8, ...nowhere, 0xff, 0xe0], protectedMode()));
  assert.match(report, /^KVM_EXIT_INTERNAL_ERROR \(.*\brip=0xd0000000\b/s);
  assert.match(report, /code at RIP: not readable/);
});

/** States that processors refuse to enter (APM Vol. 2 §15.5.1 "Basic Operation", SDM Vol. 3C §27.3 "Checking Guest State"). */
const Illegal: Readonly<Record<string, (state: VcpuState) => void>> = {
  'a code segment of both 64 and 32 bits': ({ sregs }) => void (sregs.cs.db = true),
  'no task state segment': ({ sregs }) => Object.assign(sregs.tr, { type: 0x1, unusable: true, present: false }),
};

test('a state that the processor refuses to enter', { skip }, (context) => {
  const seen = Object.entries(Illegal).map(([name, change]) => {
    const state = longMode();
    change(state);
    const report = failureOf(guestWith(context, [0xe6, 0x80], state));
    if (!report.startsWith('KVM_EXIT_FAIL_ENTRY')) return `${name}: ${report.split('\n')[0]}`;
    assert.match(report, /^KVM_EXIT_FAIL_ENTRY \(hardware reason 0x[0-9a-f]+, host processor \d+\) on vCPU 0\n/);
    // QEMU's TCG leaves another RIP than it was entered with.
    assert.match(report, /\n +code at RIP: [0-9a-f]{2} /);
    return undefined;
  });
  const others = seen.filter((each) => each !== undefined);
  if (others.length === seen.length) context.skip(`this KVM enters them all (${others.join('; ')})`);
});

test('the report of a refused entry, from what KVM leaves in kvm_run', { skip }, (context) => {
  const { vm, vcpu } = guestWith(context, [0xe6, 0x80], longMode());
  vcpu.runPage.setUint32(RunOffset.ExitReason, KvmExit.FailEntry, true);
  vcpu.runPage.setBigUint64(RunOffset.FailEntryReason, 0x8000_0021n, true);
  vcpu.runPage.setUint32(RunOffset.FailEntryCpu, 3, true);
  const report = reportExit({ id: vcpu.id, fd: vcpu.fd, run: vcpu.runPage, memory: vm.memory });
  assert.match(report, /^KVM_EXIT_FAIL_ENTRY \(hardware reason 0x80000021, host processor 3\) on vCPU 0\n/);
  assert.match(report, /\n +code at RIP: e6 80 /);
});

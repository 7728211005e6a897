/** The kvm engine of this host for the contract suite, and what this host's KVM can't do. */
import { KvmEngine } from '@lodger/kvm/engine.js';
import type { KvmEngineOptions } from '@lodger/kvm/engine.js';
import type { EngineVm } from '@lodger/vmm/engine/engine.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { isEmulatedByQemu } from './emulated-host.ts';
import { EngineGuest, done } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import type { ContractOptions } from './engine-suite.ts';

type Skips = NonNullable<ContractOptions['skip']>;

const NanosecondsPerMillisecond = 1e6;

/** Time as it passes. */
function realClock(): Clock {
  const start = performance.now();
  return {
    now: () => (performance.now() - start) * NanosecondsPerMillisecond,
    wallClock: () => BigInt(Date.now()) * BigInt(NanosecondsPerMillisecond),
  };
}

export function kvmUnderTest(options: KvmEngineOptions): EngineUnderTest {
  const clock = realClock();
  const vms: EngineVm[] = [];
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  return {
    clock,
    createVm(config) {
      const vm = new KvmEngine(options).createVm({ ...config, clock });
      vms.push(vm);
      return vm;
    },
    advance: (nanoseconds) => void Atomics.wait(sleeper, 0, 0, nanoseconds / NanosecondsPerMillisecond),
    close: () => vms.splice(0).forEach((vm) => vm.close()),
  };
}

/** Why this host has no KVM to test, or undefined. */
export function whyNoKvm(): string | undefined {
  const engine = kvmUnderTest({});
  try {
    engine.createVm({ memorySize: 1 << 20, vcpus: 1 });
    return undefined;
  } catch (error) {
    if (error instanceof HostError) return error.message;
    throw error;
  } finally {
    engine.close?.();
  }
}

/** True when kernel code of guests is emulated here: KVM's emulator does not know SSE moves between registers. */
export function emulatesKernelCode(): boolean {
  const engine = kvmUnderTest({});
  try {
    const guest = new EngineGuest(engine);
    guest.start((a) => done(a.db(0x66, 0x48, 0x0f, 0x6e, 0xc0))); // movq xmm0, rax
    return guest.run().end === 'failure';
  } finally {
    engine.close?.();
  }
}

/** What no KVM does as silicon does. */
const always: Skips = [
  {
    reason: 'KVM reads the port of INS before it looks at the memory',
    tests: ['a port read in virtual memory that is not there asks nobody'],
  },
  {
    reason: 'KVM gives up (KVM_EXIT_INTERNAL_ERROR) where code is fetched from a device',
    tests: ['device memory as code is an invalid opcode'],
  },
  {
    reason: 'KVM does no FXSAVE to a device',
    tests: ['an image of 512 bytes goes to and comes from device memory'],
  },
];

/** What a KVM does not do that emulates guests' kernel code. */
const underEmulation: Skips = [
  {
    reason: 'this host’s KVM emulates kernel code, and its emulator does not know SSE moves between registers',
    tests: ['device memory: stores of every size, and wide ones in halves'],
  },
  {
    reason: 'this host’s KVM emulates kernel code, and its emulator knows INT in real mode only',
    tests: [
      'what the handler of INT3 finds',
      'what the handler of INT 0x40 finds',
      'INT3 is an exit where a debugger asks for it, and the guest’s own exception else',
    ],
  },
  {
    reason: 'this host’s KVM runs programs in its own way: INT is an invalid opcode in them',
    tests: ['what a program may not do: a gate of the kernel'],
  },
  {
    reason: 'this host’s KVM emulates kernel code, and its emulator writes page by page',
    tests: ['an access over two pages faults for the one that is absent, and does nothing before'],
  },
  {
    reason:
      'this host’s KVM emulates kernel code, and lets an interrupt that becomes possible wait for some instructions',
    tests: [
      'POPF opens the window at once',
      'priorities: the higher vector first, the lower one after its end',
      'CR8 and the task priority register hold interrupts back',
      'NMI comes with interrupts off, and only once before IRET',
      'an interrupt whose handler is absent: double fault',
    ],
  },
  {
    reason: 'this host’s KVM emulates kernel code, and steps over a whole repetition at once',
    tests: ['single-stepping a repetition traps after each iteration'],
  },
  {
    reason: 'this host’s KVM emulates kernel code, and gives every guest the host’s own TSC',
    tests: ['the TSC follows the clock; writes move it', 'the TSC of a state is what RDTSC reads'],
  },
];

/** What QEMU does not do as silicon does when it emulates the host's processor. */
const underQemu: Skips = [
  {
    reason: 'this host is emulated by QEMU, which goes on with code of its block that the block itself has changed',
    tests: ['code written by the guest itself is what runs next'],
  },
  {
    reason: 'this host is emulated by QEMU, which does not look whether an address is canonical',
    tests: [
      'MSRs keep what is written; reserved bits and unknown ones are #GP',
      'a jump, call or return to a non-canonical address is the instruction’s own #GP',
      'what the handler of a non-canonical stack finds',
    ],
  },
  {
    reason: 'this host is emulated by QEMU, which gets error codes of gates and of reserved bits wrong',
    tests: ['what a program may not do: a gate of the kernel', 'page faults: a reserved bit'],
  },
  {
    reason: 'this host is emulated by QEMU, which has no breakpoints for a hypervisor, nor takes INT3 for an exception',
    tests: [
      'breakpoints: before their instruction, until they are taken away',
      'INT3 is an exit where a debugger asks for it, and the guest’s own exception else',
    ],
  },
];

export function kvmSkips(): Skips {
  return [...always, ...(emulatesKernelCode() ? underEmulation : []), ...(isEmulatedByQemu() ? underQemu : [])];
}

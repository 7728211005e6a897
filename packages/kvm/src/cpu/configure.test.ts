/** What can be asked of a VM's processors, on this host's /dev/kvm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { Leaf } from '@lodger/vmm/x86/cpu-features.js';
import { PortableModels, parseCpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { DisableExits } from '../api/capabilities.ts';
import { KvmSystem } from '../system.ts';
import { offeredChoice } from './configure.ts';
import { FeatureMsr, featureMsrList, readMsrs, writeMsrs } from './msrs.ts';
import type { DisableableExit, KvmCpuOptions } from './options.ts';
import { CpuidGuest, kvmUnusable } from './testing/cpuid-guest.ts';
import { tscKhz } from './tsc.ts';

const skip = kvmUnusable() ?? false;

function withGuest<T>(options: KvmCpuOptions, body: (guest: CpuidGuest) => T): T {
  const guest = new CpuidGuest(1, options);
  try {
    return body(guest);
  } finally {
    guest.close();
  }
}

function withSystem<T>(body: (system: KvmSystem) => T): T {
  const system = KvmSystem.open();
  try {
    return body(system);
  } finally {
    system.close();
  }
}

function refused(options: KvmCpuOptions, message: RegExp): void {
  assert.throws(
    () => withGuest(options, () => undefined),
    (error) => error instanceof HostError && error.code === 'InvalidArgument' && message.test(error.message),
    message.source,
  );
}

test('exits that KVM can leave out are left out, others are refused', { skip }, () => {
  const bits = {
    hlt: DisableExits.Hlt,
    mwait: DisableExits.Mwait,
    pause: DisableExits.Pause,
    cstate: DisableExits.Cstate,
  };
  const offered = withSystem((system) => system.capability('X86DisableExits'));
  for (const name of Object.keys(bits) as DisableableExit[]) {
    const options = { disableExits: [name] };
    if ((offered & bits[name]) === 0) refused(options, new RegExp(`cannot leave out the exits of ${name}: `));
    else {
      withGuest(options, (guest) => {
        const [version, monitor, features] = guest.ask(0, [[1, 0], [5, 0], [Leaf.HypervisorFeatures, 0]]); // prettier-ignore
        if (name === 'hlt') assert.equal(features!.eax & (1 << 7), 0, 'nobody to kick');
        assert.equal((version!.ecx >>> 3) & 1, name === 'mwait' ? 1 : 0, 'MONITOR');
        if (name === 'mwait') assert.ok(monitor!.eax > 0);
      });
    }
  }
});

test('halt polling takes nanoseconds', { skip }, () => {
  if (withSystem((system) => system.has('HaltPoll'))) {
    for (const haltPolling of [0, 200_000]) withGuest({ haltPolling }, () => undefined);
  } else refused({ haltPolling: 0 }, /has no halt polling by VM: leave it out/);
  for (const haltPolling of [-1, 0.5, 2 ** 32]) refused({ haltPolling }, /halt polling takes 0 to 4294967295/);
});

test('the TSC’s frequency is the host’s, or one that its processor scales to', { skip }, () => {
  const host = withGuest({}, (guest) => tscKhz(guest.vcpus[0]!))!;
  assert.ok(host > 100_000);
  assert.equal(
    withGuest({ tscKhz: host }, (guest) => tscKhz(guest.vcpus[0]!)),
    host,
  );
  if (withSystem((system) => system.has('TscControl'))) {
    assert.equal(
      withGuest({ tscKhz: 1_000_000 }, (guest) => tscKhz(guest.vcpus[0]!)),
      1_000_000,
    );
  } else {
    for (const khz of [host - 1000, host + 1000]) {
      refused({ tscKhz: khz }, new RegExp(`cannot count at ${khz} kHz: the host's counts at ${host} kHz and`));
    }
  }
  for (const khz of [0, -5, 1.5]) refused({ tscKhz: khz }, /whole number of kilohertz/);
});

test('a portable model’s TSC counts at the model’s frequency where the processor scales it', { skip }, () => {
  const scales = withSystem((system) => system.has('TscControl'));
  withGuest({ cpu: parseCpuChoice('x86-64-v2'), unchecked: true }, (guest) => {
    const khz = tscKhz(guest.vcpus[0]!);
    if (scales) assert.equal(khz, PortableModels['x86-64-v2'].tscKhz);
    else assert.notEqual(khz, undefined);
  });
});

test('options of host only are refused with portable models', { skip }, () => {
  const cpu = parseCpuChoice('x86-64-v2');
  refused({ cpu, unchecked: true, nested: true }, /nested virtualization is not part of .* x86-64-v2: use --cpu host/);
  refused({ cpu, unchecked: true, realtimeHint: true }, /the real-time hint is not part of/);
  refused({ cpu, unchecked: true, disableExits: ['mwait'] }, /MWAIT without exits is not part of/);
});

test('what a host offers of a model can be asked of it', { skip }, () => {
  for (const model of ['x86-64-v2', 'x86-64-v3'] as const) {
    const choice = withSystem((system) => offeredChoice(system, model));
    const shown = withGuest({ cpu: choice }, (guest) => guest.cpus.choice);
    assert.deepEqual(shown, choice);
  }
});

test('feature MSRs: the host’s on host, the wasm engine’s on a portable model', { skip }, () => {
  const microcode = (guest: CpuidGuest) => readMsrs(guest.vcpus[0]!, [FeatureMsr.MicrocodeRevision]);
  const onHost = withSystem((system) => {
    const listed = featureMsrList(system.fd).includes(FeatureMsr.MicrocodeRevision);
    return listed ? readMsrs(system.fd, [FeatureMsr.MicrocodeRevision]) : undefined;
  });
  if (onHost) assert.deepEqual(withGuest({}, microcode), onHost);
  const portable = withGuest({ cpu: parseCpuChoice('x86-64-v2'), unchecked: true }, microcode);
  assert.deepEqual(portable, [[FeatureMsr.MicrocodeRevision, 0x0100_0065n]]);
});

test('MSRs that KVM refuses are skipped by reads and named by writes', { skip }, () => {
  withGuest({}, (guest) => {
    const vcpu = guest.vcpus[0]!;
    const [known, unknown] = [0xc000_0081, 0x7fff_0000];
    assert.deepEqual(
      readMsrs(vcpu, [unknown, known, unknown + 1]).map(([index]) => index),
      [known],
    );
    const values = [
      [unknown, 1n],
      [known, 0x1234n],
      [unknown + 1, 2n],
    ] as const;
    assert.deepEqual(writeMsrs(vcpu, values), [values[0], values[2]]);
    assert.deepEqual(readMsrs(vcpu, [known]), [[known, 0x1234n]]);
  });
});

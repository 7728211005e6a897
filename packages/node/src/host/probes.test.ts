/** What the probes make of hosts as Linux describes them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAddressSpace } from './address-space.ts';
import { probeCgroups } from './cgroups.ts';
import { HostFiles } from './host-files.ts';
import { probeKvmDevice } from './kvm-device.ts';
import { probeMemory } from './memory.ts';
import { probeNetwork } from './network.ts';
import { probePrivileges } from './privileges.ts';
import { probeProcessor } from './processor.ts';
import { hostWith } from './testing.ts';

const MiB = 2 ** 20;

test('a processor with hardware virtualization and its back end', () => {
  const host = hostWith({
    '/proc/cpuinfo':
      'processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu vmx sse\n\nprocessor\t: 1\nflags\t\t: fpu vmx sse\n',
    '/sys/module/kvm/parameters/halt_poll_ns': '200000\n',
    '/sys/module/kvm_intel/parameters/nested': 'Y\n',
    '/sys/module/virtio/x': '',
  });
  assert.deepEqual(probeProcessor(host), {
    model: 'A Processor',
    count: 2,
    virtualization: 'vmx',
    virtualMachine: false,
    backEnds: [{ module: 'kvm_intel', description: 'Intel VT-x', nested: true }],
  });
});

test('a virtual machine with a back end that nobody knows', () => {
  const host = hostWith({ '/proc/cpuinfo': 'processor: 0\nflags: hypervisor\n', '/sys/module/kvm_new/x': '' });
  const { virtualization, virtualMachine, backEnds } = probeProcessor(host);
  assert.equal(virtualization, undefined);
  assert.equal(virtualMachine, true);
  assert.deepEqual(backEnds, [
    { module: 'kvm_new', description: 'a back end that Lodger does not know', nested: undefined },
  ]);
});

const Limits = `Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max processes             96365                96365                processes
Max open files            1024                 1048576              files
Max locked memory         8388608              8388608              bytes
Max address space         unlimited            unlimited            bytes
`;

test('memory: huge pages, merging, strict overcommit, limits', () => {
  const host = hostWith({
    '/proc/meminfo': `MemTotal:  2048 kB\nMemAvailable: 1024 kB\nSwapFree: 0 kB\nCommitLimit: 4096 kB\nCommitted_AS: 1024 kB\n`,
    '/sys/kernel/mm/transparent_hugepage/enabled': 'always [madvise] never\n',
    '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '8\n',
    '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '5\n',
    '/sys/kernel/mm/ksm/run': '1\n',
    '/sys/kernel/mm/ksm/pages_shared': '2\n',
    '/sys/kernel/mm/ksm/pages_sharing': '30\n',
    '/proc/sys/vm/overcommit_memory': '2\n',
    '/proc/self/limits': Limits,
  });
  assert.deepEqual(probeMemory(host), {
    total: 2 * MiB,
    available: 1 * MiB,
    swapFree: 0,
    transparentHugePages: 'madvise',
    hugePagePools: [{ size: 2 * MiB, total: 8, free: 5 }],
    merging: { running: true, pagesShared: 2, pagesSharing: 30 },
    overcommit: { mode: 'strict', left: 3 * MiB },
    limits: { addressSpace: Infinity, lockedMemory: 8 * MiB, openFiles: 1024, processes: 96365 },
  });
});

test('a machine that does not fit into the address space of the process', () => {
  const host = (limit: string) =>
    hostWith({
      '/proc/self/limits': `Max address space  ${limit}  unlimited  bytes\n`,
      '/proc/self/status': 'VmSize:\t1048576 kB\n',
    });
  const kvm = { engine: 'kvm', memorySize: 4 * 1024 * MiB, guestThreads: 1 } as const;
  const wasm = { engine: 'wasm', memorySize: 2 * MiB, guestThreads: 1 } as const;
  const eightGiB = String(8 * 1024 * MiB);
  for (const use of [kvm, wasm]) checkAddressSpace(use, host('unlimited'));
  checkAddressSpace(kvm, host(eightGiB));
  for (const use of [wasm, { ...kvm, guestThreads: 4 }, { ...kvm, memorySize: 6 * 1024 * MiB }]) {
    assert.throws(() => checkAddressSpace(use, host(eightGiB)), {
      code: 'MemoryTooLarge',
      message: /7\.0 GiB more.*ulimit -v/,
    });
  }
});

test('cgroup version 2, as systemd delegates it', () => {
  const host = hostWith({
    '/proc/self/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n',
    '/proc/self/cgroup': '0::/user.slice/a.scope\n',
    '/sys/fs/cgroup/user.slice/a.scope/cgroup.controllers': 'memory pids\n',
  });
  assert.deepEqual(probeCgroups(host), {
    layout: 'v2',
    memory: { version: 2, path: '/sys/fs/cgroup/user.slice/a.scope', writable: true },
    cpu: undefined,
  });
});

test('cgroup version 1 with version 2 beside it, seen from a container', () => {
  const host = hostWith({
    '/proc/self/mounts':
      'cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n',
    '/proc/self/cgroup': '3:cpu,cpuacct:/docker/abc\n0::/\n',
    '/sys/fs/cgroup/cpu,cpuacct/tasks': '',
    '/sys/fs/cgroup/unified/cgroup.controllers': 'memory\n',
  });
  const { layout, memory, cpu } = probeCgroups(host);
  assert.equal(layout, 'hybrid');
  assert.equal(memory?.version, 2);
  assert.deepEqual([cpu?.version, cpu?.path], [1, '/sys/fs/cgroup/cpu,cpuacct']);
});

test('only a named hierarchy is no version 1', () => {
  const mounts = 'cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /c cgroup2 rw 0 0\n';
  assert.equal(probeCgroups(hostWith({ '/proc/self/mounts': mounts })).layout, 'v2');
});

test('what forbids user namespaces is named', () => {
  const files = { '/proc/self/ns/user': '', '/proc/sys/user/max_user_namespaces': '0\n' };
  assert.deepEqual(probePrivileges(hostWith(files)).userNamespaces, {
    kind: 'forbidden',
    reason: '/proc/sys/user/max_user_namespaces is 0',
  });
});

test('CAP_NET_ADMIN is read from the effective set', () => {
  const status = (set: string) => hostWith({ '/proc/self/status': `CapPrm:\t${set}\nCapEff:\t${set}\n` });
  assert.equal(probePrivileges(status('0000000000001000')).netAdmin, true);
  assert.equal(probePrivileges(status('000001ffffffefff')).netAdmin, false);
});

test('no /dev/kvm: the next step fits the processor', () => {
  const step = (flags: string) => {
    const host = hostWith({ '/proc/cpuinfo': `flags: ${flags}\n` });
    const device = probeKvmDevice(host);
    return device.kind === 'absent' ? device.nextStep : device.kind;
  };
  assert.match(step('svm hypervisor'), /modprobe kvm_amd/);
  assert.match(step('vmx'), /modprobe kvm_intel/);
  assert.match(step('hypervisor'), /nested virtualization/);
  assert.match(step('sse'), /firmware/);
});

test('a file in the place of /dev/kvm is no device', () => {
  const host = hostWith({ '/dev/kvm': '' });
  const device = probeKvmDevice(host);
  assert.equal(device.kind, 'unusable');
});

test('an empty host: everything unknown, nothing thrown', async () => {
  const host = hostWith({});
  const privileges = probePrivileges(host);
  assert.equal(privileges.netAdmin, false);
  assert.equal(probeProcessor(host).count, 0);
  const { total, transparentHugePages, merging, hugePagePools } = probeMemory(host);
  assert.deepEqual([total, transparentHugePages, merging, hugePagePools], [undefined, undefined, undefined, []]);
  assert.deepEqual(probeCgroups(host), { layout: 'none', memory: undefined, cpu: undefined });
  assert.deepEqual((await probeNetwork(host, privileges)).tap, { kind: 'absent' });
});

test('this host: what every Linux has', { skip: process.platform !== 'linux' && 'no Linux' }, () => {
  const host = new HostFiles();
  assert.ok(probeProcessor(host).count > 0);
  const { total, available, limits } = probeMemory(host);
  assert.ok(total! >= available! && available! > 0);
  assert.ok(limits.openFiles! > 0);
  assert.equal(probePrivileges(host).uid, process.getuid!());
});

/** The lines of `lodger doctor` about the host around the engines: memory, cgroups, network, system. */
import type { ControllerReport } from '../host/cgroups.ts';
import type { HostReport } from '../host/host-report.ts';
import type { MemoryReport } from '../host/memory.ts';
import type { NetworkReport } from '../host/network.ts';
import { inSection } from './doctor-text.ts';
import type { DoctorLine } from './doctor-text.ts';

export function hostLines({ memory, cgroups, network, privileges, ...report }: HostReport): DoctorLine[] {
  return [
    ...memoryLines(memory),
    ...limitLines(memory),
    ...cgroupLines(cgroups),
    ...networkLines(network),
    ...namespaceLines(privileges),
    ...systemLines(report),
  ];
}

function memoryLines({ total, available, swapFree, ...memory }: MemoryReport): DoctorLine[] {
  const line = inSection('Memory');
  const lines = [
    line('', 'free', `${size(available)} of ${size(total)}, ${swapFree ? `${size(swapFree)} of swap` : 'no swap'}`),
  ];
  const huge = memory.transparentHugePages;
  if (huge === undefined) lines.push(line('note', 'huge pages', 'this kernel has no transparent huge pages'));
  else if (huge === 'never') {
    const step = 'echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled';
    lines.push(line('note', 'huge pages', 'transparent huge pages are off', step));
  } else lines.push(line('ok', 'huge pages', `transparent huge pages: ${huge}`));
  for (const pool of memory.hugePagePools) {
    lines.push(line('', '', `pool of ${size(pool.size)}: ${pool.free} of ${pool.total} pages free`));
  }
  return [...lines, mergingLine(memory.merging), overcommitLine(memory.overcommit)];
}

function mergingLine(merging: MemoryReport['merging']): DoctorLine {
  const line = inSection('Memory');
  if (!merging) return line('note', 'KSM', 'this kernel cannot merge equal pages');
  const { running, pagesSharing } = merging;
  if (running) return line('ok', 'KSM', `runs; ${pagesSharing ?? 0} pages are shared at present`);
  return line('', 'KSM', 'stopped: equal pages of machines are not merged', 'echo 1 | sudo tee /sys/kernel/mm/ksm/run');
}

function overcommitLine({ mode, left }: MemoryReport['overcommit']): DoctorLine {
  const line = inSection('Memory');
  if (mode === 'strict') return line('note', 'overcommit', `strict: ${size(left)} can still be promised to guests`);
  return line('', 'overcommit', mode ?? 'unknown');
}

/** Only limits that can be in a machine's way. */
function limitLines({ limits }: MemoryReport): DoctorLine[] {
  const line = inSection('Limits of this process');
  const { addressSpace = Infinity, lockedMemory = Infinity, openFiles = Infinity, processes = Infinity } = limits;
  const step = 'ulimit -v unlimited';
  return [
    addressSpace < Infinity
      ? line('note', 'address space', `${size(addressSpace)}: guest memory has to fit into it`, step)
      : line('ok', 'address space', 'unlimited'),
    line('', 'locked memory', size(lockedMemory)),
    line('', 'open files', String(openFiles)),
    line('', 'threads', String(processes)),
  ];
}

function cgroupLines({ layout, memory, cpu }: HostReport['cgroups']): DoctorLine[] {
  const line = inSection('Control groups');
  const names = { v2: 'version 2', v1: 'version 1', hybrid: 'version 1, and version 2 beside it', none: 'none' };
  return [
    line(layout === 'v2' ? 'ok' : 'note', 'layout', names[layout]),
    controllerLine('memory', memory),
    controllerLine('cpu', cpu),
  ];
}

function controllerLine(name: string, controller: ControllerReport | undefined): DoctorLine {
  const line = inSection('Control groups');
  if (!controller) return line('note', name, 'this process cannot limit it: no controller');
  const { version, path, writable } = controller;
  if (writable) return line('ok', name, `version ${version}, writable: ${path}`);
  const step = 'have it delegated, for example by systemd-run --user --scope -p Delegate=yes';
  return line('note', name, `version ${version}, not writable: ${path}`, step);
}

function networkLines({ tap, passt }: NetworkReport): DoctorLine[] {
  const line = inSection('Network');
  const tapLine = () => {
    switch (tap.kind) {
      case 'usable':
        return line('ok', 'tap', '/dev/net/tun can be opened, interfaces can be created');
      case 'existing-only':
        return line('note', 'tap', 'interfaces made for this user can be used; creating them takes CAP_NET_ADMIN');
      case 'not-permitted':
        return line('note', 'tap', 'this user may not open /dev/net/tun', 'sudo chmod 666 /dev/net/tun');
      case 'absent':
        return line('note', 'tap', 'there is no /dev/net/tun', 'sudo modprobe tun');
      default:
        return tap satisfies never;
    }
  };
  return [
    tapLine(),
    passt.kind === 'installed'
      ? line('ok', 'passt', passt.version ?? 'installed')
      : line('note', 'passt', 'not installed', 'sudo apt-get install passt'),
  ];
}

function namespaceLines({ userNamespaces }: HostReport['privileges']): DoctorLine[] {
  const line = inSection('System');
  return [
    userNamespaces.kind === 'available'
      ? line('ok', 'user namespaces', 'available')
      : line('note', 'user namespaces', `not for this user: ${userNamespaces.reason}`),
  ];
}

function systemLines({
  lodger,
  node,
  system,
  processor,
}: Pick<HostReport, 'lodger' | 'node' | 'system' | 'processor'>) {
  const line = inSection('System');
  return [
    line('', 'processor', `${processor.count} × ${processor.model ?? 'unknown'}`),
    line('', 'system', `${system.name}, Linux ${system.kernel}`),
    line('', 'versions', `Lodger ${lodger}, Node ${node.replace(/^v/, '')}`),
  ];
}

const Units = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const;

function size(bytes: number | undefined): string {
  if (bytes === undefined) return 'an unknown size';
  if (bytes === Infinity) return 'unlimited';
  const [name, unit] = Units.find(([, each]) => bytes >= each) ?? Units[Units.length - 1]!;
  return `${Number((bytes / unit).toFixed(1))} ${name}`;
}

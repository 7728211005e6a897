/** What is measured: Lodger as its users start it, and QEMU TCG on two boards. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { linuxCommandLine } from '#lodger/vm/command-line.js';
import { Guests } from './programs.ts';
import type { GuestName } from './programs.ts';

const Qemu = 'qemu-system-x86_64';

export interface GuestFiles {
  readonly guest: GuestName;
  /** The bzImage, and the vmlinux that it holds. */
  readonly kernel: string;
  readonly vmlinux: string;
  readonly initrd: string;
}

export type EmulatorName = 'lodger' | 'microvm' | 'q35';

export interface Emulator {
  readonly name: EmulatorName;
  readonly title: string;
  readonly command: string;
  readonly args: (files: GuestFiles) => readonly string[];
  /** Without it: as many as wanted. */
  readonly mostProcessors?: number;
  /** What to go on with where this one does not boot. */
  readonly instead?: Emulator;
}

const append = 'lodger.bench=1';

export const lodger: Emulator = {
  name: 'lodger',
  title: 'Lodger',
  command: process.execPath,
  args: ({ guest, kernel, initrd }) => [
    fileURLToPath(new URL('../../packages/node/bin/lodger.js', import.meta.url)),
    'run',
    ...['--engine', 'wasm', '--kernel', kernel, '--initrd', initrd, '--append', append],
    ...['--memory', `${Guests[guest].mebibytes}M`, '--cpus', String(Guests[guest].processors)],
  ],
};

/**
 * Chosen for speed, by trying: the unpacked kernel through its PVH entry (a bzImage costs 0.2 s more), QEMU's own default
 * processor (`-cpu max` and `-cpu EPYC` cost more), no default devices.
 */
function qemu(name: EmulatorName, machine: string): Emulator {
  return {
    name,
    title: `TCG ${name}`,
    command: Qemu,
    args: ({ guest, vmlinux, initrd }) => [
      ...['-accel', 'tcg', '-M', machine],
      ...['-m', `${Guests[guest].mebibytes}M`, '-smp', String(Guests[guest].processors)],
      ...['-nodefaults', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-kernel', vmlinux, '-initrd', initrd, '-append', linuxCommandLine({ filter: true, append })],
    ],
  };
}

const microvm = 'microvm,x-option-roms=off,auto-kernel-cmdline=off';

/**
 * With ACPI, microvm tells Linux of no timer that interrupts but the local APIC's. Where the PIT is too inexact to measure the
 * TSC by it (some hosts that are virtual machines, busy ones), Linux says "tsc: No reference available" and stands still.
 * Without ACPI it has the PIT, and one processor only.
 */
const microvmWithoutAcpi: Emulator = { ...qemu('microvm', `${microvm},acpi=off`), mostProcessors: 1 };

export const qemuEmulators: readonly Emulator[] = [
  { ...qemu('microvm', microvm), instead: microvmWithoutAcpi },
  qemu('q35', 'q35'),
];

/** `QEMU emulator version …`, or undefined when it is not installed. */
export function qemuVersion(): string | undefined {
  const { stdout, status } = spawnSync(Qemu, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0]!.replace('emulator version ', '') : undefined;
}

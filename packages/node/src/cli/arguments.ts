/** The command line of `lodger`: options to values, and everything wrong with them to one message. */
import { parseArgs } from 'node:util';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { DiskOptions, EngineChoice, VirtualMachineOptions } from '../vm/options.ts';

export type Command =
  | { readonly kind: 'run'; readonly options: VirtualMachineOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' };

export const HelpText = `usage: lodger run [options]

Boots a Linux kernel in a virtual machine and attaches this terminal to its console.
Ctrl-] ends the machine; every other key goes to the guest.

options:
  --kernel F             kernel: bzImage, vmlinux, PVH or multiboot image
                         (default: Debian's newest cloud kernel, fetched once)
  --initrd F             initial RAM file system
                         (default: a small busybox system, with the default kernel)
  --append S             added to the kernel's command line
  --memory SIZE          guest memory, for example 256M or 1G (default: 256M)
  --cpus N               processors of the guest (default: 1)
  --disk F[,readonly]    raw disk image, as a virtio disk; may be repeated
  --engine E             auto, wasm or kvm (default: auto)
  --timeout S            end the machine after S seconds
  --help, --version

When standard input or output is not a terminal, lodger works as a filter:
  echo 'uname -a; poweroff' | lodger run

exit code: 0 power-off or Ctrl-]; 2 wrong usage; 64 kernel or initrd; 65 memory size;
  66 disk; 67 fetching; 68 engine; 70 internal error; 72 guest panic; 74 triple fault;
  124 time-out; 128+n signal n; debug-exit port: (value * 2 + 1) mod 256
`;

/**
 * Parses what follows `lodger` on the command line.
 *
 * @throws HostError InvalidArgument, which is a usage error
 */
export function parseCommandLine(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  if (values.help) return { kind: 'help' };
  if (values.version) return { kind: 'version' };
  const [command, ...rest] = positionals;
  if (command === 'help') return { kind: 'help' };
  if (command === undefined) throw usage('a command is missing');
  if (command !== 'run') throw usage(`there is no command "${command}"`);
  if (rest.length > 0) throw usage(`"${rest[0]}" is no option of lodger run`);
  return {
    kind: 'run',
    options: {
      ...(values.kernel !== undefined && { kernel: values.kernel }),
      ...(values.initrd !== undefined && { initrd: values.initrd }),
      ...(values.append !== undefined && { append: values.append }),
      ...(values.memory !== undefined && { memory: values.memory }),
      ...(values.cpus !== undefined && { cpus: wholeNumber(values.cpus, '--cpus') }),
      ...(values.engine !== undefined && { engine: engineChoice(values.engine) }),
      ...(values.timeout !== undefined && { timeout: seconds(values.timeout) }),
      disks: (values.disk ?? []).map(diskOptions),
    },
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        kernel: { type: 'string' },
        initrd: { type: 'string' },
        append: { type: 'string' },
        memory: { type: 'string' },
        cpus: { type: 'string' },
        disk: { type: 'string', multiple: true },
        engine: { type: 'string' },
        timeout: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw usage((error as Error).message.split('\n')[0]!.replace(/\. To specify.*/, ''), error);
  }
}

function usage(message: string, cause?: unknown): HostError {
  return new HostError('InvalidArgument', `${message}; see lodger --help`, { cause });
}

function wholeNumber(text: string, option: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw usage(`${option} takes a whole number, not "${text}"`);
  return Number(text);
}

function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) <= 0) throw usage(`--timeout takes seconds, not "${text}"`);
  return Number(text);
}

function engineChoice(text: string): EngineChoice {
  if (text === 'auto' || text === 'wasm' || text === 'kvm') return text;
  throw usage(`--engine takes auto, wasm or kvm, not "${text}"`);
}

/** `F[,readonly]`; a comma elsewhere in the path is part of it. */
function diskOptions(text: string): DiskOptions {
  const readOnly = text.endsWith(',readonly');
  const path = readOnly ? text.slice(0, -',readonly'.length) : text;
  if (path === '') throw usage(`--disk takes a file, not "${text}"`);
  return { path, readOnly };
}

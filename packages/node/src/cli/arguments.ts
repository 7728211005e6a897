/** The command line of `lodger`: options to values, and everything wrong with them to one message. */
import { parseArgs } from 'node:util';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { HelpTopic } from './help.ts';
import type { DiskOptions, VirtualMachineOptions } from '../vm/options.ts';

export type Command =
  | { readonly kind: 'run'; readonly options: VirtualMachineOptions }
  | { readonly kind: 'doctor'; readonly json: boolean }
  | { readonly kind: 'help'; readonly topic: HelpTopic }
  | { readonly kind: 'version' };

/** Options of each command; `help` and `version` belong to all of them. */
const CommandOptions = {
  run: {
    kernel: { type: 'string' },
    initrd: { type: 'string' },
    append: { type: 'string' },
    memory: { type: 'string' },
    prefault: { type: 'boolean' },
    'huge-pages': { type: 'string' },
    irqchip: { type: 'string' },
    cpus: { type: 'string' },
    cpu: { type: 'string' },
    'halt-polling': { type: 'string' },
    'disable-exits': { type: 'string' },
    disk: { type: 'string', multiple: true },
    engine: { type: 'string' },
    timeout: { type: 'string' },
  },
  doctor: { json: { type: 'boolean' } },
} as const;
type CommandName = keyof typeof CommandOptions;

/**
 * Parses what follows `lodger` on the command line.
 *
 * @throws HostError InvalidArgument, which is a usage error
 */
export function parseCommandLine(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  const [command, ...rest] = positionals;
  if (values.help) return { kind: 'help', topic: isCommand(command) ? command : 'lodger' };
  if (values.version) return { kind: 'version' };
  if (command === 'help') return { kind: 'help', topic: helpTopic(rest) };
  if (command === undefined) throw usage('a command is missing');
  if (!isCommand(command)) throw usage(`there is no command "${command}"`);
  if (rest.length > 0) throw usage(`"${rest[0]}" is no option of lodger ${command}`, command);
  const foreign = Object.keys(values).find((name) => !(name in CommandOptions[command]));
  if (foreign !== undefined) throw usage(`--${foreign} is no option of lodger ${command}`, command);
  switch (command) {
    case 'run':
      return { kind: 'run', options: runOptions(values) };
    case 'doctor':
      return { kind: 'doctor', json: values.json ?? false };
    default:
      return command satisfies never;
  }
}

function isCommand(name: string | undefined): name is CommandName {
  return name !== undefined && Object.hasOwn(CommandOptions, name);
}

function helpTopic([name, ...rest]: readonly string[]): HelpTopic {
  if (name === undefined) return 'lodger';
  if (!isCommand(name) || rest.length > 0) throw usage(`there is no help for "${[name, ...rest].join(' ')}"`);
  return name;
}

type Values = ReturnType<typeof parse>['values'];

function runOptions(values: Values): VirtualMachineOptions {
  return {
    ...(values.kernel !== undefined && { kernel: values.kernel }),
    ...(values.initrd !== undefined && { initrd: values.initrd }),
    ...(values.append !== undefined && { append: values.append }),
    ...(values.memory !== undefined && { memory: values.memory }),
    ...(values.prefault && { prefault: true }),
    ...(values['huge-pages'] !== undefined && {
      hugePages: oneOf(values['huge-pages'], '--huge-pages', ['transparent', 'hugetlb']),
    }),
    ...(values.irqchip !== undefined && { irqchip: oneOf(values.irqchip, '--irqchip', ['kernel', 'split']) }),
    ...(values.cpus !== undefined && { cpus: wholeNumber(values.cpus, '--cpus') }),
    ...(values.cpu !== undefined && { cpu: values.cpu }),
    ...(values['halt-polling'] !== undefined && { haltPolling: nanoseconds(values['halt-polling']) }),
    ...(values['disable-exits'] !== undefined && {
      disableExits: values['disable-exits']
        .split(',')
        .map((exit) => oneOf(exit, '--disable-exits', ['hlt', 'mwait', 'pause', 'cstate'])),
    }),
    ...(values.engine !== undefined && { engine: oneOf(values.engine, '--engine', ['auto', 'wasm', 'kvm']) }),
    ...(values.timeout !== undefined && { timeout: seconds(values.timeout) }),
    disks: (values.disk ?? []).map(diskOptions),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...CommandOptions.run,
        ...CommandOptions.doctor,
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw usage((error as Error).message.split('\n')[0]!.replace(/\. To specify.*/, ''), undefined, error);
  }
}

function usage(message: string, command?: CommandName, cause?: unknown): HostError {
  const help = command === undefined ? 'lodger --help' : `lodger ${command} --help`;
  return new HostError('InvalidArgument', `${message}; see ${help}`, { cause });
}

function wholeNumber(text: string, option: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw usage(`${option} takes a whole number, not "${text}"`, 'run');
  return Number(text);
}

function nanoseconds(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw usage(`--halt-polling takes whole nanoseconds, not "${text}"`, 'run');
  return Number(text);
}

function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) <= 0) throw usage(`--timeout takes seconds, not "${text}"`, 'run');
  return Number(text);
}

/** `text`, if it is one of `choices`. */
function oneOf<const T extends string>(text: string, option: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  const list = `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  throw usage(`${option} takes ${list}, not "${text}"`, 'run');
}

/** `F[,readonly]`; a comma elsewhere in the path is part of it. */
function diskOptions(text: string): DiskOptions {
  const readOnly = text.endsWith(',readonly');
  const path = readOnly ? text.slice(0, -',readonly'.length) : text;
  if (path === '') throw usage(`--disk takes a file, not "${text}"`, 'run');
  return { path, readOnly };
}

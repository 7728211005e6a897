/**
 * Runs a command in the nested test host: a virtual Debian with the semantics of real hardware behind its /dev/kvm, on
 * any Debian host, without a /dev/kvm there and without root.
 *
 *     node tools/nested-host.js -- node --test packages/kvm/dist/system.test.js
 */
import { parseArgs } from 'node:util';
import { NestedHostError, whyNot } from './nested-host/host.js';
import { TimeOut } from './nested-host/machine.js';
import { Defaults, prepareNestedHost, runInNestedHost } from './nested-host/run.js';
import { note } from './setup.js';

/** What this program answers itself; other statuses are the command's. */
const ExitCode = { Usage: 2, TimeOut: 124, Failed: 125, Interrupted: 130, Terminated: 143 };

const Help = `Usage: node tools/nested-host.js [options] -- COMMAND [ARGUMENT…]

Runs COMMAND as root in the nested test host: a Debian with Linux's own kernel and /dev/kvm (kvm_amd), which QEMU
emulates with SVM (slow: 20 to 50 times slower than this host). It sees the built checkout at the same path, the guests'
kernels of lodger's cache, cgroup v2, /dev/shm, huge pages; no network. What it writes is gone afterwards.

Options:
  --cpus N         processors (default: ${Defaults.cpus}; with more, QEMU 7.2 loses guests that have interrupts often)
  --memory MIB     memory (default: ${Defaults.memory})
  --huge-pages N   pages of 2 MiB set aside at /dev/hugepages (default: ${Defaults.hugePages})
  --timeout S      seconds after which the host is ended, counted from its start (default: ${Defaults.timeout})
  --qemu           a larger image that has QEMU, for comparisons
  --prepare        only makes the image; it is kept in lodger's cache folder
  --verbose        tells how long the steps took
  -h, --help       prints this

Exit status: COMMAND's own (128 + N after signal N); ${ExitCode.TimeOut}: time-out; ${ExitCode.Failed}: the nested host could not be made or
started, or it ended by itself; ${ExitCode.Usage}: wrong options; ${ExitCode.Interrupted}, ${ExitCode.Terminated}: interrupted.
`;

const OptionTypes = {
  cpus: { type: 'string' },
  memory: { type: 'string' },
  'huge-pages': { type: 'string' },
  timeout: { type: 'string' },
  qemu: { type: 'boolean', default: false },
  prepare: { type: 'boolean', default: false },
  verbose: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
};

class UsageError extends Error {}

function readArguments(args) {
  let parsed;
  try {
    parsed = parseArgs({ args, options: OptionTypes, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error.message, { cause: error });
  }
  const { values, positionals } = parsed;
  if (positionals.length === 0 && !values.help && !values.prepare)
    throw new UsageError('which command? (… -- COMMAND)');
  const number = (name, fallback, minimum) => {
    const text = values[name] ?? String(fallback);
    if (!/^\d+$/.test(text) || Number(text) < minimum) throw new UsageError(`--${name} takes a number from ${minimum}`);
    return Number(text);
  };
  return {
    help: values.help,
    prepare: values.prepare,
    verbose: values.verbose,
    command: positionals,
    qemu: values.qemu,
    cpus: number('cpus', Defaults.cpus, 1),
    memory: number('memory', Defaults.memory, 512),
    hugePages: number('huge-pages', Defaults.hugePages, 0),
    timeout: number('timeout', Defaults.timeout, 1),
  };
}

async function main() {
  const options = readArguments(process.argv.slice(2));
  if (options.help) return void process.stdout.write(Help);
  const reason = whyNot();
  if (reason !== undefined) throw new NestedHostError(reason);
  const interruption = new AbortController();
  let interrupted;
  for (const [name, status] of [
    ['SIGINT', ExitCode.Interrupted],
    ['SIGTERM', ExitCode.Terminated],
    ['SIGHUP', ExitCode.Terminated],
  ]) {
    process.on(name, () => {
      interrupted ??= status;
      interruption.abort(new NestedHostError('interrupted'));
    });
  }
  const common = { ...options, directory: process.cwd(), note, signal: interruption.signal };
  try {
    if (options.prepare) return void (await prepareNestedHost(common));
    process.exitCode = await runInNestedHost({
      ...common,
      onOutput: (chunk) => process.stdout.write(chunk),
      onErrors: (chunk) => process.stderr.write(chunk),
    });
  } catch (error) {
    if (interrupted === undefined) throw error;
    process.exitCode = interrupted;
  }
}

main().catch((error) => {
  if (error instanceof UsageError) {
    process.stderr.write(`nested-host: ${error.message}\n\n${Help}`);
    process.exitCode = ExitCode.Usage;
  } else {
    note(`nested host: ${error instanceof NestedHostError ? error.message : error.stack}`);
    process.exitCode = error instanceof TimeOut ? ExitCode.TimeOut : ExitCode.Failed;
  }
});

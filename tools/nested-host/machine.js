/** The nested host as a process: QEMU with TCG, which emulates AMD's SVM as well as the rest of the machine. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout, clearTimeout } from 'node:timers';
import { join } from 'node:path';
import { hasProgram, NestedHostError, toolEnvironment } from './host.js';

/** File descriptors of the QEMU process, each a socket that is a virtio port in the machine. */
const Ports = { output: 3, errors: 4, status: 5 };
/** Milliseconds in which QEMU ends when it is asked to. */
const EndPatience = 10_000;
/** The last words of the machine's kernel that a failure shows. */
const ShownConsole = 3000;

/**
 * No XSAVE: TCG's SVM does not intercept XSETBV, so KVM would not know of a guest's XCR0 and load another one, and guests
 * would lose their vector registers.
 */
const Processor = 'EPYC,+svm,+npt,-xsave';

/**
 * One thread for all processors, and by default one processor.
 *
 * QEMU 7.2 delivers an interrupt that VMRUN injects, but keeps its vector as a pending exception until the guest
 * leaves. If anything makes the processor look up meanwhile, other than an interrupt of its own, it delivers the vector
 * again, whether the guest has interrupts enabled or not: Linux then waits for a lock that the interrupted handler holds.
 * With one thread every interrupt, and the time slice's end, makes all processors look up, and most boots of guests with
 * two vCPUs were lost. A single processor has an interrupt of its own whenever it looks up: it leaves the guest for it.
 *
 * With a thread for each processor the whole machine stood still now and then, and guests boot no faster.
 */
const Accelerator = 'tcg,thread=single';

const KernelParameters = [
  'console=ttyS0',
  'quiet',
  // QEMU ends at a panic instead of hanging (-no-reboot).
  'panic=-1',
  // Emulated silicon leaks nothing, and its measures against leaks cost much.
  'mitigations=off',
  // QEMU's time stamp counters are one clock; checking costs seconds.
  'tsc=reliable',
  'no_timer_check',
  'random.trust_cpu=on',
  'rcupdate.rcu_expedited=1',
  'cgroup_no_v1=all',
  'audit=0',
];

/**
 * Boots the machine and runs the command of its run disk.
 *
 * `onOutput(chunk)`, `onErrors(chunk)`: what the command prints. `onReady()`: it starts now.
 * @returns its exit status
 * @throws NestedHostError when the machine ends without telling one
 */
export async function runMachine({ image, runDisk, cache, work, cpus, memory, signal, onOutput, onErrors, onReady }) {
  const console = join(work, 'console.log');
  const args = qemuArguments({ image, runDisk, cache, console, cpus, memory });
  const qemu = startQemu(args);
  const stop = () => qemu.kill('SIGKILL');
  signal.addEventListener('abort', stop);
  let words = '';
  qemu.stderr.setEncoding('utf8').on('data', (text) => (words += text));
  const streams = Object.values(Ports).map((fd) => qemu.stdio[fd]);
  streams[0].on('data', onOutput);
  streams[1].on('data', onErrors);
  const ended = new Promise((resolve) => qemu.on('close', resolve).on('error', (error) => resolve(error)));
  try {
    signal.throwIfAborted();
    const status = await resultFrom(streams[2], onReady);
    // SIGTERM lets QEMU hand over what is still in its sockets.
    qemu.kill('SIGTERM');
    const patience = setTimeout(stop, EndPatience);
    const failure = await ended;
    clearTimeout(patience);
    if (failure instanceof Error) throw new NestedHostError(`QEMU could not be started: ${failure.message}`);
    if (signal.aborted) throw await explained(signal.reason, words, console);
    if (status !== undefined) return status;
    throw await explained(new NestedHostError('the machine ended before its command did'), words, console);
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}

/** The child ends with this process, however this process ends. */
function startQemu(args) {
  const program = 'qemu-system-x86_64';
  const stdio = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'];
  const options = { stdio, env: toolEnvironment() };
  return hasProgram('setpriv')
    ? spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], options)
    : spawn(program, args, options);
}

function qemuArguments({ image, runDisk, cache, console, cpus, memory }) {
  const disk = (id, file) => [
    '-drive',
    `id=${id},file=${escape(file)},format=raw,if=none,snapshot=on,cache=unsafe`,
    '-device',
    `virtio-blk-pci,drive=${id}`,
  ];
  const port = (name, fd) => [
    '-chardev',
    `socket,id=${name},fd=${fd}`,
    '-device',
    `virtserialport,chardev=${name},name=${name}`,
  ];
  return [
    '-nodefaults',
    '-no-user-config',
    '-no-reboot',
    ...['-display', 'none'],
    ...['-M', 'q35,graphics=off,vmport=off'],
    ...['-accel', Accelerator],
    ...['-cpu', Processor],
    ...['-smp', String(cpus)],
    ...['-m', String(memory)],
    ...['-kernel', join(image, 'vmlinux')],
    ...['-initrd', join(image, 'initramfs.cpio')],
    ...['-append', KernelParameters.join(' ')],
    ...['-serial', `file:${console}`],
    ...disk('root', join(image, 'root.ext4')),
    ...disk('run', runDisk),
    ...['-device', 'virtio-serial-pci'],
    ...Object.entries(Ports).flatMap(([name, fd]) => port(name, fd)),
    ...['-virtfs', `local,path=${escape(cache)},mount_tag=cache,security_model=none,readonly=on,multidevs=remap`],
  ];
}

/** QEMU's option parser takes a doubled comma for one. */
function escape(path) {
  return path.replaceAll(',', ',,');
}

/** Reads the status port: the exit status, or undefined when the port closes before one came. */
function resultFrom(stream, onReady) {
  return new Promise((resolve) => {
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk) => {
      const before = text;
      text += chunk;
      if (!/^ready$/m.test(before) && /^ready$/m.test(text)) onReady();
      const status = /^ended (\d+)\n/m.exec(text)?.[1];
      if (status !== undefined) resolve(Number(status));
    });
    stream.on('close', () => resolve(undefined)).on('error', () => resolve(undefined));
  });
}

/** The same error with the last words of QEMU and of the machine's kernel. */
async function explained(error, stderr, consoleFile) {
  if (!(error instanceof NestedHostError)) return error;
  const log = await readFile(consoleFile, 'latin1').catch(() => '');
  const told = (name, text) => (text.trim() === '' ? '' : `\n--- ${name}:\n${text.trim().slice(-ShownConsole)}`);
  // What this processor model has and TCG has not is no news.
  const words = stderr.replace(/^.*TCG doesn't support requested feature.*\n/gm, '');
  error.message += told('QEMU', words) + told('its console', log);
  return error;
}

/** An AbortSignal that fires after some seconds, with a message; `clear()` when it is not needed any more. */
export function deadline(seconds) {
  const controller = new AbortController();
  const message = `the command was not done after ${seconds} s: the nested host was ended (--timeout S allows more)`;
  const timer = setTimeout(() => controller.abort(new TimeOut(message)), seconds * 1000);
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

export class TimeOut extends NestedHostError {}

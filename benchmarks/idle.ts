/**
 * What an idle guest costs and whether its time is right: processor time of this process over ten idle seconds, the
 * host's view of `sleep 10` in the guest, and the guest's wall clock beside the host's. Ends with 1 when a bar is missed.
 *
 *     node benchmarks/dist/idle.js
 */
import { VirtualMachine } from '#lodger/index.js';

const IdleSeconds = 10;
/** Bars: share of a core; seconds that a sleep may be off; seconds that the clock may be off (`date` shows whole ones). */
const Bar = { idleShare: 0.05, sleepError: 0.1, clockError: 1.5 } as const;

await using vm = await VirtualMachine.create({ append: 'quiet' });
await vm.start();
const prompt = /# /;
await vm.console.waitFor(prompt);
await sleep(2);

const before = process.cpuUsage();
await sleep(IdleSeconds);
const used = process.cpuUsage(before);
const idleShare = (used.user + used.system) / 1e6 / IdleSeconds;

vm.console.write(`echo be"gin"; sleep ${IdleSeconds}; echo fin"ished"\n`);
await vm.console.waitFor(/begin/);
const started = performance.now();
await vm.console.waitFor(/finished/);
const slept = (performance.now() - started) / 1000;

vm.console.write('echo now=$(date +%s)\n');
const [, guestSeconds] = await vm.console.waitFor(/now=(\d+)/);
const clockError = Math.abs(Number(guestSeconds) - Date.now() / 1000);
vm.console.write('poweroff\n');
await vm.exited;

const results: [name: string, value: string, met: boolean][] = [
  ['idle guest, share of a core', `${(idleShare * 100).toFixed(1)} %`, idleShare < Bar.idleShare],
  [`sleep ${IdleSeconds}, by the host`, `${slept.toFixed(3)} s`, Math.abs(slept - IdleSeconds) <= Bar.sleepError],
  ['wall clock, difference', `${clockError.toFixed(1)} s`, clockError <= Bar.clockError],
];
for (const [name, value, met] of results)
  console.log(`${name.padEnd(30)} ${value.padStart(9)}  ${met ? 'pass' : 'MISS'}`);
process.exitCode = results.every(([, , met]) => met) ? 0 : 1;

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

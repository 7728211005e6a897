/**
 * Which engine a machine gets.
 *
 * `auto` takes kvm where it is usable and fast. A KVM without hardware virtualization below it may emulate the guest's
 * kernel an instruction at a time, hundreds of times slower than the wasm engine, so its speed is measured, once per boot
 * of the host (speed-cache.ts).
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { EngineName } from '../threads/engine-name.ts';
import type { EngineChoice } from '../vm/options.ts';
import type { EngineSpeed } from './engine-speed.ts';
import { HostFiles } from './host-files.ts';
import { describeKvmDevice, KvmDevicePath, probeKvmDevice } from './kvm-device.ts';
import type { KvmDeviceReport } from './kvm-device.ts';
import { inspectKvm } from './kvm-inspection.ts';
import type { KvmInspection } from './kvm-inspection.ts';
import { measureKvm } from './kvm-speed.ts';
import type { KvmMeasurement } from './kvm-speed.ts';
import { probeBackEnds } from './processor.ts';
import { readSpeed, speedKey, writeSpeed } from './speed-cache.ts';

export interface EngineDecision {
  readonly engine: EngineName;
  /** One sentence. */
  readonly reason: string;
  /** What gives a guest more memory or processors than the engine has, as the end of a sentence: "or …". */
  readonly forMore: string;
}

/**
 * The wasm engine's rate in the loop of engine-speed.ts, as benchmarks/RESULTS.md has it ("decrement and branch"). A
 * constant, because measuring it means to compile the engine, which takes longer (150 ms) than `auto` may.
 */
export const WasmRing0Rate = 600e6;

/**
 * Below this rate, `auto` takes wasm. Between the emulators of guest kernels (kvm-pvm on the development machine: 1.3
 * million) and everything that runs them natively (thousands of millions; hundreds under QEMU's TCG, which is the slowest
 * real KVM that is known) there is nothing, so that a busy host can be wrong by a factor of ten both ways.
 */
export const SlowestRing0Rate = 20e6;

const ForMoreThanWasm = `use a host with a fast ${KvmDevicePath}; lodger doctor says what is wrong with this one's`;
const ForMoreThanKvm = 'use a larger host';

/** The engine for `choice`; without one, what LODGER_ENGINE says, and `auto` without that. */
export async function chooseEngine(choice: EngineChoice | undefined): Promise<EngineDecision> {
  const wanted = choice ?? choiceOfEnvironment() ?? 'auto';
  switch (wanted) {
    case 'auto':
      return chooseAutomatically();
    case 'wasm':
      return wasm('the wasm engine was asked for', 'pass --engine kvm where lodger doctor finds it usable');
    case 'kvm':
      return requireKvm();
    default:
      throw new HostError('InvalidArgument', `there is no engine "${String(wanted satisfies never)}"`);
  }
}

/** @throws HostError InvalidArgument */
export function choiceOfEnvironment(): EngineChoice | undefined {
  const value = process.env['LODGER_ENGINE'];
  if (value === undefined || value === '') return undefined;
  if (value === 'auto' || value === 'wasm' || value === 'kvm') return value;
  throw new HostError('InvalidArgument', `LODGER_ENGINE is "${value}": set it to auto, wasm or kvm`);
}

async function chooseAutomatically(): Promise<EngineDecision> {
  const host = new HostFiles();
  const device = probeKvmDevice(host);
  if (device.kind !== 'usable') return decideEngine(device, undefined, undefined);
  const key = speedKey(host, device.device, probeBackEnds(host));
  const known = key && (await readSpeed(key));
  // The package is not even loaded for a KVM that is too slow.
  if (known && known.ring0Rate < SlowestRing0Rate) return decideBySpeed(known);
  const inspection = await inspectKvm();
  if (inspection.kind !== 'usable') return decideEngine(device, inspection, undefined);
  if (known) return decideBySpeed(known);
  const measurement = await measureKvm({ enough: SlowestRing0Rate });
  if (key && measurement.kind === 'measured') await writeSpeed(key, measurement.speed);
  return decideEngine(device, inspection, measurement);
}

/** What `auto` takes, from what is known of KVM. */
export function decideEngine(
  device: KvmDeviceReport,
  inspection: KvmInspection | undefined,
  measurement: KvmMeasurement | undefined,
): EngineDecision {
  if (device.kind !== 'usable') return wasm(describeKvmDevice(device));
  if (inspection?.kind !== 'usable') return wasm(inspection?.reason ?? `${KvmDevicePath} was not looked at`);
  if (measurement?.kind !== 'measured') return wasm(measurement?.reason ?? `${KvmDevicePath} was not measured`);
  return decideBySpeed(measurement.speed);
}

function decideBySpeed(speed: EngineSpeed): EngineDecision {
  const kernel = `${KvmDevicePath} runs a guest's kernel at ${rateText(speed.ring0Rate)}`;
  if (speed.ring0Rate < SlowestRing0Rate) {
    return wasm(`${kernel}, ${slownessText(speed)}`, `pass --engine kvm, which is ${slownessText(speed)} here`);
  }
  return { engine: 'kvm', reason: `${kernel}, an exit costs ${costText(speed)}`, forMore: ForMoreThanKvm };
}

function wasm(reason: string, forMore = ForMoreThanWasm): EngineDecision {
  return { engine: 'wasm', reason, forMore };
}

/** @throws HostError EngineUnavailable */
async function requireKvm(): Promise<EngineDecision> {
  const device = probeKvmDevice(new HostFiles());
  if (device.kind !== 'usable') {
    const message = `${describeKvmDevice(device)}; ${device.nextStep}, or pass --engine wasm`;
    throw new HostError('EngineUnavailable', message);
  }
  const inspection = await inspectKvm();
  if (inspection.kind !== 'usable') throw new HostError('EngineUnavailable', inspection.reason);
  return { engine: 'kvm', reason: 'the kvm engine was asked for', forMore: ForMoreThanKvm };
}

/** `1.3 million instructions/s` */
export function rateText(rate: number): string {
  return `${compact(rate / 1e6)} million instructions/s`;
}

/** `460 times slower than the wasm engine` */
export function slownessText({ ring0Rate }: EngineSpeed, wasmRate = WasmRing0Rate): string {
  return `${compact(wasmRate / ring0Rate)} times slower than the wasm engine`;
}

export function costText({ exitMicroseconds }: EngineSpeed): string {
  return `${compact(exitMicroseconds)} µs`;
}

/** Two significant digits, and never an exponent. */
function compact(value: number): string {
  return value < 10 ? String(Number(value.toPrecision(2))) : String(Math.round(value));
}

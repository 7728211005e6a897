/** Everything that `lodger doctor` says, gathered. Nothing here throws or changes the host. */
import { release } from 'node:os';
import { lodgerVersion } from '../version.ts';
import { probeCgroups } from './cgroups.ts';
import type { CgroupReport } from './cgroups.ts';
import { decideEngine } from './choose-engine.ts';
import type { EngineDecision } from './choose-engine.ts';
import type { EngineSpeed } from './engine-speed.ts';
import { HostFiles } from './host-files.ts';
import { probeKvmDevice } from './kvm-device.ts';
import type { KvmDeviceReport } from './kvm-device.ts';
import { inspectKvm } from './kvm-inspection.ts';
import type { KvmInspection } from './kvm-inspection.ts';
import { measureKvm } from './kvm-speed.ts';
import type { KvmMeasurement } from './kvm-speed.ts';
import { probeMemory } from './memory.ts';
import type { MemoryReport } from './memory.ts';
import { probeNetwork } from './network.ts';
import type { NetworkReport } from './network.ts';
import { probePrivileges } from './privileges.ts';
import type { PrivilegesReport } from './privileges.ts';
import { probeProcessor } from './processor.ts';
import type { ProcessorReport } from './processor.ts';
import { readSpeed, speedCachePath, speedKey } from './speed-cache.ts';
import { measureWasm } from './wasm-speed.ts';
import type { WasmMeasurement } from './wasm-speed.ts';

export interface HostReport {
  readonly lodger: string;
  readonly node: string;
  readonly system: SystemReport;
  readonly processor: ProcessorReport;
  readonly kvm: KvmReport;
  readonly wasm: WasmMeasurement;
  readonly memory: MemoryReport;
  readonly cgroups: CgroupReport;
  readonly privileges: PrivilegesReport;
  readonly network: NetworkReport;
  /** What `auto` takes. */
  readonly auto: EngineDecision;
  /** Some engine can run machines here. */
  readonly ok: boolean;
}

export interface SystemReport {
  readonly name: string;
  readonly kernel: string;
}

export interface KvmReport {
  readonly device: KvmDeviceReport;
  /** Only when the device can be opened; the measurement only when KVM has what the engine needs. */
  readonly inspection: KvmInspection | undefined;
  readonly measurement: KvmMeasurement | undefined;
  /** What `auto` goes by instead of measuring anew, and the file that it is kept in. */
  readonly remembered: { readonly speed: EngineSpeed; readonly path: string } | undefined;
}

export async function probeHost(host = new HostFiles()): Promise<HostReport> {
  const processor = probeProcessor(host);
  const privileges = probePrivileges(host);
  const network = probeNetwork(host, privileges);
  const kvm = await probeKvm(host, processor);
  const wasm = await measureWasm();
  const { device, inspection, measurement, remembered } = kvm;
  const auto = decideEngine(
    device,
    inspection,
    remembered ? { kind: 'measured', speed: remembered.speed } : measurement,
  );
  return {
    lodger: lodgerVersion(),
    node: process.version,
    system: systemOf(host),
    processor,
    kvm,
    wasm,
    memory: probeMemory(host),
    cgroups: probeCgroups(host),
    privileges,
    network: await network,
    auto,
    ok: auto.engine === 'kvm' || wasm.kind === 'measured' || measurement?.kind === 'measured',
  };
}

async function probeKvm(host: HostFiles, processor: ProcessorReport): Promise<KvmReport> {
  const device = probeKvmDevice(host);
  const nothing = { inspection: undefined, measurement: undefined, remembered: undefined };
  if (device.kind !== 'usable') return { device, ...nothing };
  const inspection = await inspectKvm();
  if (inspection.kind !== 'usable') return { device, ...nothing, inspection };
  const key = speedKey(host, device.device, processor.backEnds);
  const speed = key && (await readSpeed(key));
  return {
    device,
    inspection,
    measurement: await measureKvm({ thorough: true }),
    remembered: speed && { speed, path: speedCachePath() },
  };
}

/** os-release(5) */
function systemOf(host: HostFiles): SystemReport {
  const name = /^PRETTY_NAME="?(.*?)"?$/m.exec(host.text('/etc/os-release') ?? '')?.[1];
  return { name: name ?? 'Linux', kernel: release() };
}

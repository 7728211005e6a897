/**
 * The processors of a VM: what they show, how fast their TSC counts, when they exit. The VM's part is done before its first
 * vCPU is made, each vCPU's part before it runs.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { CpuChoice, PortableModelName } from '@lodger/vmm/x86/cpu-models.js';
import { PortableModels, reducedModel } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { DisableExits, KvmCapability, type KvmCapabilityName } from '../api/capabilities.ts';
import { EnableCap } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { setCpuid, supportedCpuid } from './cpuid.ts';
import { hostCpuid } from './host-model.ts';
import { enableMonitor, setHostFeatureMsrs, setPortableFeatureMsrs } from './msrs.ts';
import { DisableableExits, type KvmCpuOptions } from './options.ts';
import { type PortableChoice, type ShownModel, missingFeatures, portableCpuid, shownModel } from './portable-model.ts';
import { setTscKhz, tscKhz } from './tsc.ts';

/** What is needed of /dev/kvm: KvmSystem has it. */
export interface CpuSystem {
  readonly fd: number;
  capability(name: KvmCapabilityName): number;
  has(name: KvmCapabilityName): boolean;
}

export interface KvmCpus {
  /** What the guest is shown, as another host or engine would have to be asked for the same. */
  readonly choice: CpuChoice;
  /** After KVM_CREATE_VCPU, before the vCPU's state is set. */
  configureVcpu(vcpu: number, id: number): void;
}

const HostChoice: CpuChoice = { model: 'host', without: [] };

/**
 * To be called after the interrupt controllers are made and before the first vCPU.
 *
 * @throws HostError InvalidArgument for what this host's KVM can't do, with what to do instead
 */
export function configureCpus(system: CpuSystem, vm: number, vcpus: number, options: KvmCpuOptions = {}): KvmCpus {
  const choice = options.cpu ?? HostChoice;
  checkOptions(choice, options);
  disableExits(system, vm, options);
  setHaltPolling(system, vm, options);
  const supported = supportedCpuid(system.fd);
  return choice.model === 'host'
    ? hostCpus(system, vcpus, supported, { ...options, cpu: choice })
    : portableCpus(system, vcpus, supported, { ...choice, model: choice.model }, options);
}

/**
 * The most of a portable model that this host can give: the same choice is right for the wasm engine, whose guest can then
 * go on here.
 */
export function offeredChoice(system: CpuSystem, model: PortableModelName): CpuChoice {
  const offer = {
    supported: supportedCpuid(system.fd),
    tscDeadline: system.has('TscDeadlineTimer'),
    tscFixed: system.has('TscControl'),
  };
  return { model, without: missingFeatures(PortableModels[model], offer) };
}

function checkOptions({ model }: CpuChoice, { disableExits = [], nested, realtimeHint, tscKhz }: KvmCpuOptions): void {
  const hostOnly = [
    nested && 'nested virtualization',
    realtimeHint && 'the real-time hint',
    disableExits.includes('mwait') && 'MWAIT without exits',
  ].find((what) => typeof what === 'string');
  if (hostOnly !== undefined && model !== 'host') {
    throw invalid(`${hostOnly} is not part of the CPU model ${model}: use --cpu host for it`);
  }
  if (tscKhz !== undefined && !(Number.isInteger(tscKhz) && tscKhz > 0)) {
    throw invalid(`the TSC's frequency is a whole number of kilohertz, not ${tscKhz}`);
  }
}

function hostCpus(system: CpuSystem, vcpus: number, supported: readonly CpuidEntry[], options: KvmCpuOptions): KvmCpus {
  const { cpu: choice = HostChoice, disableExits = [] } = options;
  return {
    choice,
    configureVcpu(vcpu, id) {
      if (options.tscKhz !== undefined) setTscKhz(vcpu, options.tscKhz, system.has('TscControl'));
      const entries = hostCpuid(supported, {
        apicId: id,
        vcpus,
        without: choice.without,
        tscDeadline: system.has('TscDeadlineTimer'),
        tscKhz: tscKhz(vcpu),
        nested: options.nested ?? false,
        haltsInGuest: disableExits.includes('hlt'),
        mwait: disableExits.includes('mwait'),
        realtimeHint: options.realtimeHint ?? false,
      });
      showCpuid(system, vcpu, entries);
      setHostFeatureMsrs(system.fd, vcpu, supported);
      if (disableExits.includes('mwait')) enableMonitor(vcpu);
    },
  };
}

function portableCpus(
  system: CpuSystem,
  vcpus: number,
  supported: readonly CpuidEntry[],
  choice: PortableChoice,
  options: KvmCpuOptions,
): KvmCpus {
  const canScale = system.has('TscControl');
  const { tscKhz: modelKhz } = PortableModels[choice.model];
  // Without scaling, the TSC counts as the host's does, and is not shown as invariant: other hosts' differ
  const wantedKhz = options.tscKhz ?? (canScale ? modelKhz : undefined);
  const offer = { supported, tscDeadline: system.has('TscDeadlineTimer'), tscFixed: wantedKhz !== undefined };
  const shown: ShownModel = options.unchecked
    ? { choice, model: reducedModel(PortableModels[choice.model], choice.without) }
    : shownModel(choice, offer);
  return {
    choice: shown.choice,
    configureVcpu(vcpu, id) {
      if (wantedKhz !== undefined) setTscKhz(vcpu, wantedKhz, canScale);
      showCpuid(system, vcpu, portableCpuid(shown.model, { apicId: id, vcpus }, supported));
      setPortableFeatureMsrs(vcpu);
    },
  };
}

/** Sets CPUID, and keeps the guest from paravirtual features that it does not show. */
function showCpuid(system: CpuSystem, vcpu: number, entries: readonly CpuidEntry[]): void {
  if (system.has('EnforcePvFeatureCpuid')) enableCapability(vcpu, 'EnforcePvFeatureCpuid', 1);
  setCpuid(vcpu, entries);
}

/** KVM_ENABLE_CAP of a VM or a vCPU. */
function enableCapability(fd: number, name: KvmCapabilityName, argument: number): void {
  const args = [BigInt(argument), 0n, 0n, 0n];
  kvmIoctl(fd, KvmRequest.EnableCap, EnableCap.create({ cap: KvmCapability[name], args }));
}

const ExitBits = {
  mwait: DisableExits.Mwait,
  hlt: DisableExits.Hlt,
  pause: DisableExits.Pause,
  cstate: DisableExits.Cstate,
} as const;

function disableExits(system: CpuSystem, vm: number, { disableExits: wanted = [] }: KvmCpuOptions): void {
  if (wanted.length === 0) return;
  const mask = wanted.reduce((bits, name) => bits | ExitBits[name], 0);
  const offered = system.capability('X86DisableExits');
  const refused = wanted.filter((name) => (offered & ExitBits[name]) === 0);
  if (refused.length > 0) {
    const possible = DisableableExits.filter((name) => offered & ExitBits[name]);
    const next = possible.length === 0 ? 'leave it out' : `it can: ${possible.join(', ')}`;
    throw invalid(`this host's KVM cannot leave out the exits of ${refused.join(', ')}: ${next}`);
  }
  enableCapability(vm, 'X86DisableExits', mask);
}

const MostHaltPolling = 0xffff_ffff;

function setHaltPolling(system: CpuSystem, vm: number, { haltPolling }: KvmCpuOptions): void {
  if (haltPolling === undefined) return;
  if (!Number.isInteger(haltPolling) || haltPolling < 0 || haltPolling > MostHaltPolling) {
    throw invalid(`halt polling takes 0 to ${MostHaltPolling} whole nanoseconds, not ${haltPolling}`);
  }
  if (!system.has('HaltPoll')) {
    const where = '/sys/module/kvm/parameters/halt_poll_ns';
    throw invalid(`this host's KVM has no halt polling by VM: leave it out, or set ${where} for all VMs`);
  }
  enableCapability(vm, 'HaltPoll', haltPolling);
}

function invalid(message: string): HostError {
  return new HostError('InvalidArgument', message);
}

/** The host's processor and the KVM modules that are loaded for it. */
import type { HostFiles } from './host-files.ts';

export interface ProcessorReport {
  readonly model: string | undefined;
  /** Processors that are online, as /proc/cpuinfo has them. */
  readonly count: number;
  /** The processor's own virtualization, as its flags say: Intel VT-x or AMD-V. */
  readonly virtualization: 'vmx' | 'svm' | undefined;
  /** The host is itself a virtual machine. */
  readonly virtualMachine: boolean;
  readonly backEnds: readonly KvmBackEnd[];
}

export interface KvmBackEnd {
  /** The module's name: `kvm_intel`. */
  readonly module: string;
  readonly description: string;
  /** Guests may have KVM themselves; undefined when the module does not say. */
  readonly nested: boolean | undefined;
}

const BackEndDescriptions: Readonly<Record<string, string>> = {
  kvm_intel: 'Intel VT-x',
  kvm_amd: 'AMD-V',
  kvm_pvm: 'no hardware virtualization: guest kernels run in user mode or are emulated (PVM)',
};

/** /proc/cpuinfo takes its time on a host with many processors. */
export function probeProcessor(host: HostFiles): ProcessorReport {
  const flags = new Set(host.field('/proc/cpuinfo', 'flags')?.split(' '));
  const processors = host.text('/proc/cpuinfo')?.match(/^processor\s*:/gm);
  return {
    model: host.field('/proc/cpuinfo', 'model name'),
    count: processors?.length ?? 0,
    virtualization: flags.has('vmx') ? 'vmx' : flags.has('svm') ? 'svm' : undefined,
    virtualMachine: flags.has('hypervisor'),
    backEnds: probeBackEnds(host),
  };
}

/** Modules named `kvm_…`; `kvm` itself is what they have in common. Built-in modules are listed when they have parameters. */
export function probeBackEnds(host: HostFiles): KvmBackEnd[] {
  return host
    .list('/sys/module')
    .filter((name) => name.startsWith('kvm_'))
    .map((module) => ({
      module,
      description: BackEndDescriptions[module] ?? 'a back end that Lodger does not know',
      nested: flag(host.text(`/sys/module/${module}/parameters/nested`)),
    }));
}

/** A module's parameter: of type bool (`Y`, `N`) or int. */
function flag(text: string | undefined): boolean | undefined {
  return text === undefined ? undefined : text === 'Y' || text === '1';
}

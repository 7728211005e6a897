/** KVM as its API shows it: version and capabilities. The package @lodger/kvm is loaded only when it is asked. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { KvmCapabilityName } from '@lodger/kvm/api/capabilities.js';
import type { KvmSystem, SystemOptions } from '@lodger/kvm/system.js';
import { KvmDevicePath } from './kvm-device.ts';

export type KvmInspection =
  | { readonly kind: 'usable'; readonly capabilities: readonly CapabilityReport[] }
  /** `reason` says what to do as well. */
  | { readonly kind: 'unusable'; readonly reason: string };

export interface CapabilityReport {
  /** `DirtyLogRing` is KVM_CAP_DIRTY_LOG_RING. */
  readonly name: string;
  /** What KVM_CHECK_EXTENSION answers: 0 when it is absent. */
  readonly value: number;
  /** The kvm engine cannot do without it. */
  readonly required: boolean;
}

/** What the kvm engine uses where it is there. */
const OptionalCapabilities = [
  'CoalescedMmio',
  'CoalescedPio',
  'SplitIrqchip',
  'X2apicApi',
  'X86DisableExits',
  'HaltPoll',
  'TscControl',
  'TscDeadlineTimer',
  'Clocksource',
  'KvmclockCtrl',
  'StealTime',
  'AsyncPfInt',
  'ManualDirtyLogProtect2',
  'DirtyLogRing',
  'Xsave2',
  'GetMsrFeatures',
  'MaxVcpus',
  'NrMemslots',
] as const satisfies readonly KvmCapabilityName[];

/** Never rejects. */
export async function inspectKvm(options: SystemOptions = {}): Promise<KvmInspection> {
  try {
    const { KvmSystem, RequiredCapabilities } = await import('@lodger/kvm/system.js');
    const system = KvmSystem.open(KvmDevicePath, options);
    try {
      const required = reports(system, options.required ?? RequiredCapabilities, true);
      return { kind: 'usable', capabilities: [...required, ...reports(system, OptionalCapabilities, false)] };
    } finally {
      system.close();
    }
  } catch (error) {
    return { kind: 'unusable', reason: whyUnusable(error) };
  }
}

function reports(system: KvmSystem, names: readonly KvmCapabilityName[], required: boolean): CapabilityReport[] {
  return names.map((name) => ({ name, value: system.capability(name), required }));
}

/** What to say of an exception of @lodger/kvm, or of its import. */
export function whyUnusable(error: unknown): string {
  if (error instanceof HostError) return error.message;
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ERR_MODULE_NOT_FOUND') {
    return 'the package @lodger/kvm is not installed: it is for Linux on x86-64, and optional elsewhere';
  }
  return error instanceof Error ? error.message : String(error);
}

/** The frequency of a guest's TSC (KVM API documentation, 4.55 "KVM_SET_TSC_KHZ", 4.56 "KVM_GET_TSC_KHZ"). */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { KvmRequest } from '../api/requests.ts';
import { LinuxError, tryIoctl } from '../linux/libc.ts';

/** Kilohertz; undefined where KVM does not know, since the host's TSC is not constant. */
export function tscKhz(vcpu: number): number | undefined {
  const result = tryIoctl(vcpu, KvmRequest.GetTscKhz);
  return result > 0 ? result : undefined;
}

/**
 * Makes a vCPU's TSC count at `khz`, which must be done before the vCPU runs.
 *
 * @throws HostError when neither the host's TSC counts so nor its processor can scale it. KVM would then follow the
 *   frequency by jumps, or refuse.
 */
export function setTscKhz(vcpu: number, khz: number, canScale: boolean): void {
  const host = tscKhz(vcpu);
  if (khz === host) return;
  if (!canScale) {
    const counts = host === undefined ? 'has no constant one' : `counts at ${host} kHz`;
    throw impossible(khz, `the host's ${counts} and its processor cannot scale it: leave the frequency out`);
  }
  const result = tryIoctl(vcpu, KvmRequest.SetTscKhz, khz);
  if (result < 0) {
    const cause = new LinuxError('KVM_SET_TSC_KHZ', -result);
    throw impossible(
      khz,
      `it is beyond what the processor can scale to (${cause.code}): choose another frequency`,
      cause,
    );
  }
}

function impossible(khz: number, why: string, cause?: unknown): HostError {
  return new HostError('InvalidArgument', `the guest's TSC cannot count at ${khz} kHz: ${why}`, { cause });
}

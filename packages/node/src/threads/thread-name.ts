/** The names of threads as Linux shows them: `ps -T`, `top -H`, /proc/<pid>/task/<tid>/comm. */
import { writeFileSync } from 'node:fs';

/** Bytes of a name that the kernel keeps. */
const NameLength = 15;

/** Names the calling thread. Where that cannot be done (another system, no /proc), it goes without. */
export function nameThread(name: string): void {
  try {
    // A synchronous call of node:fs happens on the calling thread.
    writeFileSync('/proc/thread-self/comm', name.slice(0, NameLength));
  } catch {
    // Only people read it.
  }
}

export function vcpuThreadName(id: number): string {
  return `vcpu${id}`;
}

/** The machine's thread, which runs the first `vcpus` vCPUs: `vcpu0`, `vcpu0-3`. */
export function machineThreadName(vcpus: number): string {
  return vcpus > 1 ? `vcpu0-${vcpus - 1}` : 'vcpu0';
}

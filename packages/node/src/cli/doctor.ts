/** `lodger doctor`: what this host offers, for people or as JSON. */
import { HostErrorCode } from '@lodger/vmm/errors/host-error.js';
import { probeHost } from '../host/host-report.ts';
import { doctorLines, formatDoctor } from './doctor-text.ts';

/** Prints the report and returns the exit code: 0 when this host can run machines. */
export async function doctorCommand({ json }: { readonly json: boolean }): Promise<number> {
  const report = await probeHost();
  process.stdout.write(json ? `${JSON.stringify(report, finite, 2)}\n` : formatDoctor(doctorLines(report)));
  return report.ok ? 0 : HostErrorCode.EngineUnavailable.exitCode;
}

/** JSON has no Infinity: an unlimited limit is "unlimited". */
function finite(_key: string, value: unknown): unknown {
  return value === Infinity ? 'unlimited' : value;
}

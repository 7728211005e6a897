/** What Linux says of a running process (proc(5)). */
import { readFileSync } from 'node:fs';

/** sysconf(_SC_CLK_TCK): 100 on every Linux that Node runs on. */
const TicksPerSecond = 100;
/** Fields of /proc/PID/stat, counted from the one behind the command's closing parenthesis. */
const StatField = { UserTicks: 11, SystemTicks: 12 } as const;

export interface ProcessStatistics {
  /** Seconds of processor time of all threads, ended ones too. */
  readonly user: number;
  readonly system: number;
  /** Bytes: the most that was resident so far. */
  readonly peakResident: number;
}

/** Undefined when the process has ended. */
export function processStatistics(pid: number): ProcessStatistics | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const peak = /^VmHWM:\s+(\d+) kB$/m.exec(status);
    if (!peak) return undefined;
    return {
      user: Number(fields[StatField.UserTicks]) / TicksPerSecond,
      system: Number(fields[StatField.SystemTicks]) / TicksPerSecond,
      peakResident: Number(peak[1]) * 1024,
    };
  } catch {
    return undefined;
  }
}

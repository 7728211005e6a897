/** The report of `lodger doctor` in lines for people: a mark, what was looked at, what was found, what to do. */
import { costText, rateText, slownessText, SlowestRing0Rate } from '../host/choose-engine.ts';
import type { EngineSpeed } from '../host/engine-speed.ts';
import type { HostReport } from '../host/host-report.ts';
import { describeKvmDevice, KvmDevicePath, modeText } from '../host/kvm-device.ts';
import type { CapabilityReport } from '../host/kvm-inspection.ts';
import { hostLines } from './doctor-host-text.ts';

export type Mark = 'ok' | 'note' | 'no' | '';

export interface DoctorLine {
  readonly section: string;
  /** `ok`: as it should be; `note`: works, but better is possible; `no`: cannot be used. Empty: only information. */
  readonly mark: Mark;
  readonly label: string;
  readonly text: string;
  readonly nextStep?: string;
}

const MarkWidth = 5;
const LabelWidth = 16;

export function doctorLines(report: HostReport): DoctorLine[] {
  return [...kvmLines(report), ...engineLines(report), ...hostLines(report)];
}

export function formatDoctor(lines: readonly DoctorLine[]): string {
  const output: string[] = [];
  let section = '';
  for (const line of lines) {
    if (line.section !== section) output.push(...(output.length > 0 ? [''] : []), line.section);
    section = line.section;
    output.push(`  ${line.mark.padEnd(MarkWidth)}${line.label.padEnd(LabelWidth)}${line.text}`);
    if (line.nextStep) output.push(`${' '.repeat(2 + MarkWidth + LabelWidth)}-> ${line.nextStep}`);
  }
  return `${output.join('\n')}\n`;
}

/** Lines of one section. */
export function inSection(section: string) {
  return (mark: Mark, label: string, text: string, nextStep?: string): DoctorLine => ({
    section,
    mark,
    label,
    text,
    ...(nextStep !== undefined && { nextStep }),
  });
}

function kvmLines({ kvm, processor, wasm }: HostReport): DoctorLine[] {
  const line = inSection('KVM');
  const { device, inspection, measurement } = kvm;
  const lines: DoctorLine[] = [];
  if (device.kind === 'usable') {
    const { mode, group } = device;
    lines.push(line('ok', 'device', `${KvmDevicePath} can be opened (group ${group.name}, mode ${modeText(mode)})`));
  } else {
    lines.push(line('no', 'device', describeKvmDevice(device), device.nextStep));
  }
  lines.push(...processorLines(processor));
  if (inspection?.kind === 'usable') {
    lines.push(...capabilityLines(inspection.capabilities));
  } else if (inspection) {
    lines.push(line('no', 'API', inspection.reason));
  }
  if (measurement?.kind === 'measured') {
    const wasmRate = wasm.kind === 'measured' ? wasm.speed.ring0Rate : undefined;
    lines.push(...speedLines(measurement.speed, wasmRate));
  } else if (measurement) {
    lines.push(line('no', 'speed', measurement.reason));
  }
  return lines;
}

function processorLines({ virtualization, virtualMachine, backEnds }: HostReport['processor']): DoctorLine[] {
  const line = inSection('KVM');
  const lines = backEnds.map(({ module, description, nested }) => {
    const guests = nested === undefined ? '' : `; guests ${nested ? 'can' : 'cannot'} have KVM themselves`;
    return line('', 'back end', `${module}: ${description}${guests}`);
  });
  if (lines.length === 0) lines.push(line('', 'back end', 'none that /sys/module names'));
  const where = virtualMachine ? 'this host is itself a virtual machine' : 'this host is no virtual machine';
  const flag = virtualization === undefined ? 'no vmx or svm among the flags of its processor' : `${virtualization}`;
  return [...lines, line(virtualization ? 'ok' : 'note', 'hardware', `${flag}; ${where}`)];
}

function capabilityLines(capabilities: readonly CapabilityReport[]): DoctorLine[] {
  const line = inSection('KVM');
  const needed = capabilities.filter(({ required }) => required);
  const missing = capabilities.filter(({ value, required }) => value === 0 && !required).map(({ name }) => name);
  const lines = [line('ok', 'API', `version 12, with all ${needed.length} capabilities that Lodger needs`)];
  if (missing.length > 0) lines.push(line('note', '', `not here, and done without: ${missing.join(', ')}`));
  return lines;
}

function speedLines(speed: EngineSpeed, wasmRate: number | undefined): DoctorLine[] {
  const line = inSection('KVM');
  const slow = speed.ring0Rate < SlowestRing0Rate;
  const comparison = slow ? `, ${slownessText(speed, wasmRate)}` : '';
  return [
    line('', 'exit', `${costText(speed)} for a port write of the guest`),
    line(slow ? 'no' : 'ok', 'ring 0', `${rateText(speed.ring0Rate)} of a guest's kernel${comparison}`),
  ];
}

function engineLines({ wasm, auto, kvm, ok }: HostReport): DoctorLine[] {
  const line = inSection('Engines');
  const lines = [
    wasm.kind === 'measured'
      ? line(
          'ok',
          'wasm',
          `${rateText(wasm.speed.ring0Rate)} in the same loop, ${costText(wasm.speed)} for a port write`,
        )
      : line('no', 'wasm', wasm.reason),
    autoLine(auto, wasm, ok),
  ];
  const { remembered, measurement } = kvm;
  if (remembered && measurement?.kind === 'measured' && differ(remembered.speed, measurement.speed)) {
    const text = `auto goes by an earlier measurement of this boot: ${rateText(remembered.speed.ring0Rate)}`;
    lines.push(line('note', '', text, `to have it measured again: rm ${remembered.path}`));
  }
  return lines;
}

function autoLine({ engine, reason }: HostReport['auto'], wasm: HostReport['wasm'], ok: boolean): DoctorLine {
  const line = inSection('Engines');
  if (!ok) return line('no', 'auto', 'no engine can run here');
  if (engine === 'wasm' && wasm.kind === 'failed') {
    return line(
      'no',
      'auto',
      `takes wasm, which cannot run here: ${reason}`,
      'pass --engine kvm, or make room for wasm',
    );
  }
  return line('ok', 'auto', `takes ${engine}: ${reason}`);
}

/** They lead to different decisions. */
function differ(a: EngineSpeed, b: EngineSpeed): boolean {
  return a.ring0Rate < SlowestRing0Rate !== b.ring0Rate < SlowestRing0Rate;
}

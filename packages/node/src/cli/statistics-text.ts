/** What `lodger run --statistics` says at the end: one line for each part of the engine that did something. */
import type { EngineStatistics, ExitCounts } from '../threads/engine-choice.ts';

const KiB = 1024;

/** Lines of text. */
export function statisticsText(statistics: EngineStatistics): string[] {
  const exits = `exits to devices: ${exitsText(statistics.exits)}`;
  if (statistics.engine === 'kvm') {
    const perVcpu = statistics.vcpus.map(({ exits }, id) => `  vcpu${id}: ${exitsText(exits)}`);
    return ['engine kvm', exits, ...(perVcpu.length > 1 ? perVcpu : [])];
  }
  const { instructions, translatedInstructions, regionEntries, droppedBlocks, flushes, forms, tlbMisses, translator } =
    statistics;
  return [
    `engine wasm: ${count(instructions)} instructions`,
    tierText('interpreter', instructions - translatedInstructions, instructions),
    ...(translator === undefined
      ? ['translator: off']
      : [
          `${tierText('translated', translatedInstructions, instructions)} in ${count(regionEntries)} calls`,
          `compiled: ${count(translator.regions)} regions of ${count(translator.instructions)} instructions, ` +
            `${count(translator.modules)} modules of ${count(translator.moduleBytes / KiB)} KiB, ` +
            `${(translator.compileTime / 1000).toFixed(2)} s on the translator's thread; ` +
            `${count(translator.left)} hot places left to the interpreter`,
          `dropped: ${count(translator.dropped)} regions whose code was written; ` +
            `all of them ${count(translator.evictions)} times because there were too many`,
        ]),
    `blocks: ${count(droppedBlocks)} dropped whose code was written; all of them ${count(flushes)} times for want of ` +
      `room; ${count(forms)} forms of instructions`,
    `TLB misses: ${count(tlbMisses)}`,
    exits,
  ];
}

function tierText(name: string, part: number, whole: number): string {
  const share = whole === 0 ? 0 : (part / whole) * 100;
  return `${name}: ${count(part)} instructions (${share.toFixed(1)} %)`;
}

function exitsText(exits: ExitCounts): string {
  const list = Object.entries(exits).sort(([, a], [, b]) => b - a);
  return list.length === 0 ? 'none' : list.map(([kind, times]) => `${kind} ${count(times)}`).join(', ');
}

const count = (value: number): string => Math.round(value).toLocaleString('en-US');

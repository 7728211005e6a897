/** Random ring-3 programs through the engine contract: the kvm engine, the wasm engine and the silicon end in the same state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KvmEngine } from '@lodger/kvm/engine.js';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { EngineModes, modeOfTest } from '../guest/engine-modes.ts';
import { EngineTarget } from './engine-runner.ts';
import { loadHarness } from './harness-image.ts';
import { GuestSize, OutputFields, RecordSize } from './harness-layout.ts';
import { kvmAvailable } from './kvm-runner.ts';
import { NoFault, normalize } from './normalize.ts';
import { generatePrograms } from './program-generator.ts';
import type { ProgramBatch } from './program-generator.ts';
import { ProcessTarget } from './process-runner.ts';
import { Random } from './random.ts';
import { runPrograms } from './run-batch.ts';
import type { OracleTarget } from './target.ts';

const Batches = 40;
const ProgramsPerBatch = 60;
const Seed = Number(process.env['LODGER_SEED'] ?? 20261122);

/** Normalized output records. */
function run(target: OracleTarget, batch: ProgramBatch): Uint8Array {
  const output = runPrograms(target, batch);
  batch.cases.forEach((info, index) => {
    const record = new DataView(output.buffer, index * RecordSize, RecordSize);
    assert.equal(record.getUint32(OutputFields.Vector, true), NoFault, `program ${index} faults on ${target.name}`);
    normalize(record, info);
  });
  return output;
}

/** Runs the same programs on both; the end states must be equal. */
function compare(targets: readonly [OracleTarget, OracleTarget]): void {
  try {
    const [exit] = targets.map((target) => loadHarness(target, 'legacy').exit);
    const random = new Random(Seed);
    for (let batch = 0; batch < Batches; batch++) {
      const programs = generatePrograms(random, ProgramsPerBatch, exit!);
      const [one, other] = targets.map((target) => run(target, programs)) as [Uint8Array, Uint8Array];
      programs.cases.forEach(({ code }, index) => {
        const record = (bytes: Uint8Array): Uint8Array => bytes.subarray(index * RecordSize, (index + 1) * RecordSize);
        const same = Buffer.compare(record(one), record(other)) === 0;
        assert.ok(same, `batch ${batch}, program ${index} differs: ${Buffer.from(code).toString('hex')}`);
      });
    }
  } finally {
    for (const target of targets) target.close();
  }
}

const wasm = (): OracleTarget => new EngineTarget(new WasmEngine(EngineModes[modeOfTest]), GuestSize);

describe(`${Batches * ProgramsPerBatch} random ring-3 programs (LODGER_SEED=${Seed})`, () => {
  it('end in the same state on the wasm engine and on the silicon', () => {
    compare([new ProcessTarget(GuestSize), wasm()]);
  });

  it('end in the same state on the kvm engine and on the wasm engine', async (context) => {
    if (!(await kvmAvailable())) {
      context.skip('no usable /dev/kvm');
      return;
    }
    compare([new EngineTarget(new KvmEngine(), GuestSize), wasm()]);
  });
});

/**
 * The instruction set of the wasm engine against the silicon: every form of the instruction table, as code in ring 3.
 *
 * Expectations are committed. LODGER_ORACLE=regenerate makes them anew first, on this machine's processor. What differs is
 * shown in full by: node tests/dist/differential/oracle.js --verbose --row 'ADD Ev, Gv'
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { EngineModes, modeOfTest } from '../guest/engine-modes.ts';
import { EngineTarget } from './engine-runner.ts';
import { readExpectations } from './expectations.ts';
import { formName, harnessOf, testedForms } from './forms.ts';
import type { Form, Mode } from './forms.ts';
import type { HarnessKind } from './harness-guest.ts';
import { GuestSize } from './harness-layout.ts';
import { kvmAvailable, KvmTarget } from './kvm-runner.ts';
import { OracleSession } from './session.ts';

/**
 * A case takes a millisecond when its blocks are translated first: then each third form of the large groups has to do. (What a
 * faulting FXRSTOR leaves depends on the forms of its group before it: misc is run whole.) All of them:
 * LODGER_TEST_MODE=translator node tests/dist/differential/oracle.js --mode 64
 */
const isTested = ({ row }: Form, position: number): boolean =>
  modeOfTest === 'interpreter' || row.group === 'misc' || position % 3 === 0;
/** Only 64-bit code is translated. */
const modes: readonly Mode[] = modeOfTest === 'interpreter' ? [64, 32, 16] : [64];

/** Compares forms; prints a line for each that differs. Answers how many cases differ. */
function compareForms(session: OracleSession, group: string, mode: Mode, forms: readonly Form[]): number {
  const expectations = readExpectations(group, mode);
  let failed = 0;
  for (const form of forms) {
    const failures = session.compareExpected(form, expectations);
    failed += failures.length;
    if (failures.length > 0) console.log(`${formName(form)}: ${failures.length} of ${form.cases} differ`);
  }
  return failed;
}

describe('instructions on the wasm engine do what they do on the silicon', () => {
  let sessions: Record<HarnessKind, OracleSession>;
  before(() => {
    if (process.env['LODGER_ORACLE'] === 'regenerate') {
      const oracle = fileURLToPath(new URL('oracle.js', import.meta.url));
      assert.equal(spawnSync(process.execPath, [oracle, '--regenerate'], { stdio: 'inherit' }).status, 0);
    }
    const open = (kind: HarnessKind) =>
      new OracleSession(new EngineTarget(new WasmEngine(EngineModes[modeOfTest]), GuestSize, kind), kind);
    sessions = { legacy: open('legacy'), avx: open('avx') };
  });
  after(() => Object.values(sessions).forEach((session) => session.close()));

  for (const mode of modes) {
    const forms = testedForms(mode).filter(isTested);
    for (const group of new Set(forms.map((form) => form.row.group))) {
      const members = forms.filter((form) => form.row.group === group);
      const cases = members.reduce((sum, form) => sum + form.cases, 0);
      it(`${mode}-bit code, ${group}: ${members.length} forms, ${cases} cases`, () => {
        assert.equal(compareForms(sessions[harnessOf(group)], group, mode, members), 0, 'cases differ');
      });
    }
  }

  it('at least 200,000 cases', { skip: modeOfTest !== 'interpreter' && 'counted by the interpreter’s run' }, () => {
    const cases = modes.flatMap((mode) => testedForms(mode)).reduce((sum, form) => sum + form.cases, 0);
    assert.ok(cases >= 200_000, `${cases} cases`);
  });
});

describe('a KVM engine sees the same silicon', () => {
  it('64-bit arithmetic and shifts under /dev/kvm', async (context) => {
    if (!(await kvmAvailable())) {
      context.skip('no usable /dev/kvm');
      return;
    }
    const session = new OracleSession(await KvmTarget.create(GuestSize));
    const forms = testedForms(64).filter(({ row }) => ['arithmetic', 'shift'].includes(row.group));
    let cases = 0;
    let different = 0;
    for (const form of forms) {
      different += session.compareExpected(form, readExpectations(form.row.group, 64)).length;
      cases += form.cases;
    }
    session.close();
    // The back end of the development machine's /dev/kvm emulates an instruction now and then, in particular after #GP,
    // and does not know those of BMI.
    assert.ok(different < cases / 100, `${different} of ${cases} cases differ`);
  });
});

/** States that an engine or a host cannot go on with are refused, with what to do instead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { EngineGuest } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';
import { wasmUnderTest } from './wasm-under-test.ts';

const invalid = (message: RegExp): object => ({ code: 'InvalidArgument', message });

function withState(engine: EngineUnderTest, body: (guest: EngineGuest, state: VcpuState) => void): void {
  try {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.hlt());
    body(guest, guest.vcpu.state());
  } finally {
    engine.close?.();
  }
}

test('wasm: features that its processor does not have', () => {
  withState(wasmUnderTest(), (guest, state) => {
    const { sregs } = state;
    const refused: [Partial<VcpuState>, RegExp][] = [
      [{ xcr0: 7n }, /XCR0 0x7, which the wasm engine does not have, .*: continue the machine on kvm/],
      [{ sregs: { ...sregs, cr4: sregs.cr4 | (1n << 21n) } }, /CR4 bits 0x200000/],
      [{ sregs: { ...sregs, efer: sregs.efer | (1n << 12n) } }, /EFER bits 0x1000/],
      [{ events: { ...state.events, smi: { inSmm: true, pending: false, insideNmi: false } } }, /system management/],
    ];
    for (const [change, message] of refused) {
      assert.throws(() => guest.vcpu.setState({ ...state, ...change }), invalid(message));
    }
    guest.vcpu.setState(state);
    assert.equal(guest.run().end, 'halt', 'and nothing was changed');
  });
});

test('wasm: TSCs of vCPUs that are read and set one after the other stay in step', () => {
  const engine = wasmUnderTest();
  const guest = new EngineGuest(engine, 2);
  const tscOf = (state: VcpuState): bigint => new Map(state.msrs).get(0x10)!;
  const states = guest.vcpus.map((vcpu) => {
    engine.advance(1000);
    return vcpu.state();
  });
  assert.notEqual(tscOf(states[0]!), tscOf(states[1]!));
  states.forEach((state, id) => guest.vcpus[id]!.setState(state));
  assert.equal(tscOf(guest.vcpus[0]!.state()), tscOf(guest.vcpus[1]!.state()));
  const apart = tscOf(states[1]!) + 5_000_000_000n;
  guest.vcpus[1]!.setState({ ...states[1]!, msrs: [[0x10, apart]] });
  assert.equal(tscOf(guest.vcpus[1]!.state()), apart, 'unless they were set apart');
});

const reason = whyNoKvm();
const skip = reason ?? false;

test('kvm: a TSC rate that the host cannot give, but for a little', { skip }, () => {
  withState(kvmUnderTest({}), (guest, state) => {
    const { tscKhz } = state;
    assert.ok(tscKhz !== undefined);
    guest.vcpu.setState({ ...state, tscKhz: Math.round(tscKhz * 1.0002) });
    assert.equal(guest.vcpu.state().tscKhz, tscKhz, 'within 250 ppm the host’s own is taken');
    try {
      guest.vcpu.setState({ ...state, tscKhz: tscKhz * 2 });
      assert.equal(guest.vcpu.state().tscKhz, tscKhz * 2, 'a host that scales');
    } catch (error) {
      const message =
        /a TSC of \d+ kHz, which this host cannot give it: continue it on wasm or on a host with TSC scaling/;
      assert.throws(() => {
        throw error;
      }, invalid(message));
    }
  });
});

test('kvm: registers that no processor could have', { skip }, () => {
  withState(kvmUnderTest({}), (guest, state) => {
    const refused: [Partial<VcpuState>, RegExp][] = [
      [{ sregs: { ...state.sregs, cr4: 1n << 63n } }, /refuses the system registers/],
      [{ xcr0: 0n }, /refuses XCR0 0x0/],
      [{ debug: { ...state.debug, dr7: 1n << 40n } }, /refuses the debug registers/],
      [{ fpu: { ...state.fpu, mxcsr: 0xffff_ffff } }, /its XSAVE state/],
      [{ xsave: { others: [{ component: 62, bytes: new Uint8Array(8) }] } }, /XSAVE component 62/],
      [{ msrs: [[0x1234_5678, 1n]] }, /cannot set the saved MSRs 0x12345678/],
    ];
    for (const [change, message] of refused) {
      assert.throws(() => guest.vcpu.setState({ ...state, ...change }), invalid(message), String(message));
    }
    guest.vcpu.setState({ ...state, msrs: [...state.msrs, [0x1234_5678, 0n]] });
    assert.equal(guest.run().end, 'halt');
  });
});

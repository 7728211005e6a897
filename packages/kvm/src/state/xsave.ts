/** x87, SSE and the other components of XSAVE: KVM API documentation 4.42 "KVM_GET_XSAVE", 4.134 "KVM_GET_XSAVE2". */
import type { ExtendedState, FpuState, VcpuState } from '@lodger/vmm/engine/state.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { Xsave } from '../api/state-layouts.ts';
import { viewOfBytes } from '../api/struct.ts';
import { Errno, LinuxError } from '../linux/libc.ts';
import type { StateContext } from './context.ts';
import {
  LegacyArea,
  StackRegisters,
  VectorBytes,
  VectorRegisters,
  XsaveComponentNumber,
  XsaveHeader,
} from './xsave-layout.ts';
import type { XsaveComponent } from './xsave-layout.ts';

const Component = XsaveComponentNumber;
const bit = (component: number): bigint => 1n << BigInt(component);

export function readXsave(fd: number, context: StateContext): Pick<VcpuState, 'fpu' | 'xsave'> {
  const { xsave2Size, xsaveComponents } = context;
  const area = new Uint8Array(xsave2Size ?? Xsave.size);
  kvmIoctl(fd, xsave2Size === undefined ? KvmRequest.GetXsave : KvmRequest.GetXsave2, area);
  const fpu = decodeFpu(viewOfBytes(area));
  const xsave = decodeExtended(area, xsaveComponents);
  return xsave === undefined ? { fpu } : { fpu, xsave };
}

export function writeXsave(fd: number, context: StateContext, state: VcpuState): void {
  const area = new Uint8Array(context.xsave2Size ?? Xsave.size);
  const view = viewOfBytes(area);
  encodeFpu(view, state.fpu);
  let present = bit(Component.X87) | bit(Component.Sse);
  for (const { component, bytes } of extendedParts(state.xsave)) {
    const place = context.xsaveComponents.find(({ number }) => number === component);
    if (place?.size !== bytes.length) throw refused(`XSAVE component ${component}`);
    area.set(bytes, place.offset);
    present |= bit(component);
  }
  view.setBigUint64(XsaveHeader.XstateBv, present, true);
  try {
    kvmIoctl(fd, KvmRequest.SetXsave, area);
  } catch (error) {
    if (error instanceof LinuxError && error.errno === Errno.EINVAL) throw refused('its XSAVE state', error);
    throw error;
  }
}

function refused(what: string, cause?: unknown): HostError {
  return new HostError(
    'InvalidArgument',
    `the saved processor has ${what}, which this host's processor does not have or the machine's CPU model leaves out: ` +
      'continue it with the model and on a host like those that it was saved with',
    { cause },
  );
}

function decodeFpu(view: DataView): FpuState {
  return {
    st: Array.from({ length: StackRegisters }, (_, i) => {
      const at = LegacyArea.Registers + i * VectorBytes;
      return { significand: view.getBigUint64(at, true), signExponent: view.getUint16(at + 8, true) };
    }),
    fcw: view.getUint16(LegacyArea.Control, true),
    fsw: view.getUint16(LegacyArea.Status, true),
    ftw: view.getUint8(LegacyArea.Tags),
    lastOpcode: view.getUint16(LegacyArea.LastOpcode, true),
    lastIp: view.getBigUint64(LegacyArea.LastIp, true),
    lastDp: view.getBigUint64(LegacyArea.LastDp, true),
    xmm: readVectors(view, LegacyArea.Xmm),
    mxcsr: view.getUint32(LegacyArea.Mxcsr, true),
  };
}

function encodeFpu(view: DataView, fpu: FpuState): void {
  fpu.st.forEach(({ significand, signExponent }, i) => {
    const at = LegacyArea.Registers + i * VectorBytes;
    view.setBigUint64(at, significand, true);
    view.setUint16(at + 8, signExponent, true);
  });
  view.setUint16(LegacyArea.Control, fpu.fcw, true);
  view.setUint16(LegacyArea.Status, fpu.fsw, true);
  view.setUint8(LegacyArea.Tags, fpu.ftw);
  view.setUint16(LegacyArea.LastOpcode, fpu.lastOpcode, true);
  view.setBigUint64(LegacyArea.LastIp, fpu.lastIp, true);
  view.setBigUint64(LegacyArea.LastDp, fpu.lastDp, true);
  writeVectors(view, LegacyArea.Xmm, fpu.xmm);
  view.setUint32(LegacyArea.Mxcsr, fpu.mxcsr, true);
}

/** The components in use, whose bit of XSTATE_BV is set; undefined when there are none. */
function decodeExtended(area: Uint8Array, components: readonly XsaveComponent[]): ExtendedState | undefined {
  const present = viewOfBytes(area).getBigUint64(XsaveHeader.XstateBv, true);
  const state: ExtendedState = {};
  const others: NonNullable<ExtendedState['others']> = [];
  for (const { number, offset, size } of components) {
    if ((present & bit(number)) === 0n) continue;
    const bytes = area.slice(offset, offset + size);
    if (number === Component.YmmHigh) state.ymmHigh = readVectors(viewOfBytes(bytes), 0);
    else others.push({ component: number, bytes });
  }
  if (others.length > 0) state.others = others;
  return state.ymmHigh || state.others ? state : undefined;
}

function extendedParts(state: ExtendedState | undefined): { component: number; bytes: Uint8Array }[] {
  const parts = [...(state?.others ?? [])];
  if (state?.ymmHigh) {
    const bytes = new Uint8Array(VectorRegisters * VectorBytes);
    writeVectors(viewOfBytes(bytes), 0, state.ymmHigh);
    parts.push({ component: Component.YmmHigh, bytes });
  }
  return parts;
}

function readVectors(view: DataView, start: number): bigint[] {
  return Array.from({ length: VectorRegisters }, (_, i) => {
    const at = start + i * VectorBytes;
    return view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n);
  });
}

function writeVectors(view: DataView, start: number, values: readonly bigint[]): void {
  values.forEach((value, i) => {
    const at = start + i * VectorBytes;
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    view.setBigUint64(at + 8, BigInt.asUintN(64, value >> 64n), true);
  });
}

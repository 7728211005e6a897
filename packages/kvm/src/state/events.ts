/** Events on their way and the state of start-up: KVM API documentation 4.31 "KVM_GET_VCPU_EVENTS", 4.38 "KVM_GET_MP_STATE". */
import type { PendingException, VcpuEvents, VcpuState } from '@lodger/vmm/engine/state.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import * as layout from '../api/state-layouts.ts';
import type { Value } from '../api/struct.ts';
import type { StateContext } from './context.ts';
import { getState } from './transfer.ts';

type RawEvents = Value<typeof layout.VcpuEvents>;
const Flag = layout.VcpuEventFlag;
const Shadow = layout.InterruptShadow;

export function readEvents(fd: number): VcpuEvents {
  const raw = getState(fd, KvmRequest.GetVcpuEvents, layout.VcpuEvents);
  const { interrupt, nmi, smi, flags } = raw;
  const exception = decodeException(raw);
  return {
    exception,
    interrupt: interrupt.injected ? { vector: interrupt.nr, soft: interrupt.soft !== 0 } : undefined,
    interruptShadow: decodeShadow(interrupt.shadow),
    nmi: { injected: nmi.injected !== 0, pending: nmi.pending !== 0, masked: nmi.masked !== 0 },
    ...(flags & Flag.ValidSipiVector && { sipiVector: raw.sipi_vector }),
    ...(flags & Flag.ValidSmm && {
      initPending: smi.latched_init !== 0,
      smi: { inSmm: smi.smm !== 0, pending: smi.pending !== 0, insideNmi: smi.smm_inside_nmi !== 0 },
    }),
    tripleFault: (flags & Flag.ValidTripleFault) !== 0 && raw.triple_fault.pending !== 0,
  };
}

function decodeException(raw: RawEvents): PendingException | undefined {
  const { injected, pending, nr, has_error_code, error_code } = raw.exception;
  if (injected === 0 && pending === 0) return undefined;
  const exception = { vector: nr, errorCode: has_error_code ? error_code : undefined };
  // Without the payload's capability what is pending counts as injected: its effects on registers have happened
  if (injected !== 0) return exception;
  return { ...exception, pending: true, ...(raw.exception_has_payload && { payload: raw.exception_payload }) };
}

/** AMD's processors have one shadow for both, which KVM shows as both: then it is that of STI, as it holds back less. */
function decodeShadow(shadow: number): VcpuEvents['interruptShadow'] {
  if (shadow & Shadow.Sti) return 'sti';
  return shadow & Shadow.MovSs ? 'mov-ss' : 'none';
}

export function writeEvents(fd: number, events: VcpuEvents, { smm, payloads, tripleFaults }: StateContext): void {
  const { exception, interrupt, nmi, smi } = events;
  const isPending = exception?.pending === true && payloads;
  const shadow = { none: 0, sti: Shadow.Sti, 'mov-ss': Shadow.MovSs }[events.interruptShadow];
  const flags =
    Flag.ValidNmiPending |
    Flag.ValidShadow |
    (events.sipiVector === undefined ? 0 : Flag.ValidSipiVector) |
    (smm ? Flag.ValidSmm : 0) |
    (payloads ? Flag.ValidPayload : 0) |
    (tripleFaults ? Flag.ValidTripleFault : 0);
  const raw = layout.VcpuEvents.create({
    exception: {
      injected: Number(exception !== undefined && !isPending),
      nr: exception?.vector ?? 0,
      has_error_code: Number(exception?.errorCode !== undefined),
      pending: Number(isPending),
      error_code: exception?.errorCode ?? 0,
    },
    interrupt: {
      injected: Number(interrupt !== undefined),
      nr: interrupt?.vector ?? 0,
      soft: Number(interrupt?.soft ?? false),
      shadow,
    },
    nmi: { injected: Number(nmi.injected ?? false), pending: Number(nmi.pending), masked: Number(nmi.masked), pad: 0 },
    sipi_vector: events.sipiVector ?? 0,
    flags,
    ...(smm && {
      smi: {
        smm: Number(smi?.inSmm ?? false),
        pending: Number(smi?.pending ?? false),
        smm_inside_nmi: Number(smi?.insideNmi ?? false),
        latched_init: Number(events.initPending ?? false),
      },
    }),
    ...(tripleFaults && { triple_fault: { pending: Number(events.tripleFault ?? false) } }),
    ...(isPending && {
      exception_has_payload: Number(exception.payload !== undefined),
      exception_payload: exception.payload ?? 0n,
    }),
  });
  kvmIoctl(fd, KvmRequest.SetVcpuEvents, raw);
}

const Mp = layout.MpStateValue;
const MpStates = {
  runnable: Mp.Runnable,
  uninitialized: Mp.Uninitialized,
  'init-received': Mp.InitReceived,
  halted: Mp.Halted,
  'sipi-received': Mp.SipiReceived,
} as const satisfies Record<VcpuState['mpState'], number>;
const mpStateNames = new Map(Object.entries(MpStates).map(([name, value]) => [value, name as VcpuState['mpState']]));

export function readMpState(fd: number): VcpuState['mpState'] {
  const { mp_state } = getState(fd, KvmRequest.GetMpState, layout.MpState);
  const name = mpStateNames.get(mp_state as (typeof MpStates)[VcpuState['mpState']]);
  if (name === undefined) throw new RangeError(`a vCPU in the unknown multiprocessing state ${mp_state}`);
  return name;
}

export function writeMpState(fd: number, state: VcpuState['mpState']): void {
  kvmIoctl(fd, KvmRequest.SetMpState, layout.MpState.create({ mp_state: MpStates[state] }));
}

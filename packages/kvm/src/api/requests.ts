/**
 * The requests of the KVM API by their names in include/uapi/linux/kvm.h: KVM_GET_REGS is `KvmRequest.GetRegs`.
 *
 * A number holds the size of the structure that the request passes. It is computed from the layout, so the two can't
 * disagree.
 */
import { LinuxError, tryIoctl } from '../linux/libc.ts';
import { constantName } from './exits.ts';
import * as layout from './layouts.ts';
import * as state from './state-layouts.ts';

/** Fields of an ioctl number (include/uapi/asm-generic/ioctl.h). */
const IoctlShift = { Type: 8, Size: 16, Direction: 30 } as const;
const Direction = { None: 0, Write: 1, Read: 2, ReadWrite: 3 } as const;
/** KVMIO. */
const KvmType = 0xae;

interface Sized {
  readonly size: number;
}

const U64: Sized = { size: 8 };

function encode(direction: number, number: number, size: number): number {
  const high = ((direction << IoctlShift.Direction) | (size << IoctlShift.Size)) >>> 0;
  return high + (KvmType << IoctlShift.Type) + number;
}

/** _IO: no structure, or a number in its place. */
const io = (number: number): number => encode(Direction.None, number, 0);
/** _IOR: the kernel writes the structure. */
const ior = (number: number, { size }: Sized): number => encode(Direction.Read, number, size);
/** _IOW: the kernel reads it. */
const iow = (number: number, { size }: Sized): number => encode(Direction.Write, number, size);
/** _IOWR: both. */
const iowr = (number: number, { size }: Sized): number => encode(Direction.ReadWrite, number, size);

export const KvmRequest = {
  // /dev/kvm
  GetApiVersion: io(0x00),
  CreateVm: io(0x01),
  GetMsrIndexList: iowr(0x02, layout.MsrList),
  /** Also of a VM, where KVM_CAP_CHECK_EXTENSION_VM is present. */
  CheckExtension: io(0x03),
  GetVcpuMmapSize: io(0x04),
  GetSupportedCpuid: iowr(0x05, layout.Cpuid2),
  GetEmulatedCpuid: iowr(0x09, layout.Cpuid2),
  GetMsrFeatureIndexList: iowr(0x0a, layout.MsrList),

  // A VM
  CreateVcpu: io(0x41),
  GetDirtyLog: iow(0x42, layout.DirtyLog),
  SetUserMemoryRegion: iow(0x46, layout.UserspaceMemoryRegion),
  SetTssAddr: io(0x47),
  SetIdentityMapAddr: iow(0x48, U64),
  CreateIrqchip: io(0x60),
  IrqLine: iow(0x61, layout.IrqLevel),
  GetIrqchip: iowr(0x62, state.Irqchip),
  SetIrqchip: ior(0x63, state.Irqchip),
  IrqLineStatus: iowr(0x67, layout.IrqLevel),
  RegisterCoalescedMmio: iow(0x67, layout.CoalescedMmioZone),
  UnregisterCoalescedMmio: iow(0x68, layout.CoalescedMmioZone),
  SetGsiRouting: iow(0x6a, layout.IrqRouting),
  ReinjectControl: io(0x71),
  Irqfd: iow(0x76, layout.Irqfd),
  CreatePit2: iow(0x77, layout.PitConfig),
  SetBootCpuId: io(0x78),
  Ioeventfd: iow(0x79, layout.Ioeventfd),
  SetClock: iow(0x7b, state.ClockData),
  GetClock: ior(0x7c, state.ClockData),
  GetPit2: ior(0x9f, state.PitState2),
  SetPit2: iow(0xa0, state.PitState2),
  SignalMsi: iow(0xa5, layout.Msi),
  ClearDirtyLog: iowr(0xc0, layout.ClearDirtyLog),
  X86SetMsrFilter: iow(0xc6, layout.MsrFilter),
  ResetDirtyRings: io(0xc7),

  // A vCPU
  Run: io(0x80),
  GetRegs: ior(0x81, state.Regs),
  SetRegs: iow(0x82, state.Regs),
  GetSregs: ior(0x83, state.Sregs),
  SetSregs: iow(0x84, state.Sregs),
  Translate: iowr(0x85, layout.Translation),
  Interrupt: iow(0x86, layout.Interrupt),
  /** Also of /dev/kvm: the feature MSRs. */
  GetMsrs: iowr(0x88, layout.Msrs),
  SetMsrs: iow(0x89, layout.Msrs),
  SetSignalMask: iow(0x8b, layout.SignalMask),
  GetFpu: ior(0x8c, state.Fpu),
  SetFpu: iow(0x8d, state.Fpu),
  GetLapic: ior(0x8e, state.LapicState),
  SetLapic: iow(0x8f, state.LapicState),
  SetCpuid2: iow(0x90, layout.Cpuid2),
  GetCpuid2: iowr(0x91, layout.Cpuid2),
  GetMpState: ior(0x98, state.MpState),
  SetMpState: iow(0x99, state.MpState),
  Nmi: io(0x9a),
  SetGuestDebug: iow(0x9b, layout.GuestDebug),
  X86SetupMce: iow(0x9c, U64),
  X86GetMceCapSupported: ior(0x9d, U64),
  GetVcpuEvents: ior(0x9f, state.VcpuEvents),
  SetVcpuEvents: iow(0xa0, state.VcpuEvents),
  GetDebugregs: ior(0xa1, state.Debugregs),
  SetDebugregs: iow(0xa2, state.Debugregs),
  /** Also of a VM, where KVM_CAP_VM_TSC_CONTROL is present. */
  SetTscKhz: io(0xa2),
  GetTscKhz: io(0xa3),
  /** Also of a VM. */
  EnableCap: iow(0xa3, layout.EnableCap),
  GetXsave: ior(0xa4, state.Xsave),
  SetXsave: iow(0xa5, state.Xsave),
  GetXcrs: ior(0xa6, state.Xcrs),
  SetXcrs: iow(0xa7, state.Xcrs),
  KvmclockCtrl: io(0xad),
  GetSregs2: ior(0xcc, state.Sregs2),
  SetSregs2: iow(0xcd, state.Sregs2),
  /** Also of a VM. */
  GetStatsFd: io(0xce),
  GetXsave2: ior(0xcf, state.Xsave),
  SetDeviceAttr: iow(0xe1, layout.DeviceAttr),
  GetDeviceAttr: iow(0xe2, layout.DeviceAttr),
  HasDeviceAttr: iow(0xe3, layout.DeviceAttr),
} as const;

const requestNames = new Map(Object.entries(KvmRequest).map(([name, number]) => [number, name]));

/** For messages: `KVM_GET_REGS`. */
export function requestName(request: number): string {
  const name = requestNames.get(request);
  return name === undefined ? `ioctl 0x${request.toString(16)}` : `KVM_${constantName(name)}`;
}

/** A request of the KVM API. A failure is a {@link LinuxError} that names the request. */
export function kvmIoctl(fd: number, request: number, argument: Uint8Array | bigint | number = 0): number {
  const result = tryIoctl(fd, request, argument);
  if (result < 0) throw new LinuxError(requestName(request), -result);
  return result;
}

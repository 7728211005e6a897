/** Multiboot kernels of a few bytes of 32-bit code, for what needs no operating system. */
import { writeFileSync } from 'node:fs';
import { AcpiPmLayout, SleepTypeS5 } from '@lodger/vmm/devices/acpi-pm.js';
import { PortMap } from '@lodger/vmm/machine/memory-map.js';

const LoadAddress = 0x10_0000;
const HeaderBytes = 32;
/** Multiboot Specification 0.6.96 §3.1.1 "The layout of Multiboot header". */
const Magic = 0x1bad_b002;
const HasAddresses = 1 << 16;

/** Where the code starts. */
export const CodeAddress = LoadAddress + HeaderBytes;

/** Writes a kernel that runs `code` at {@link CodeAddress}, in protected mode with interrupts off. */
export function writeSmallKernel(path: string, code: readonly number[]): void {
  const image = new Uint8Array(HeaderBytes + code.length);
  const view = new DataView(image.buffer);
  const end = LoadAddress + image.length;
  const checksum = -(Magic + HasAddresses) >>> 0;
  // Header address, load address, end of data, end of bss, entry.
  const header = [Magic, HasAddresses, checksum, LoadAddress, LoadAddress, end, end, CodeAddress];
  header.forEach((value, index) => view.setUint32(index * 4, value, true));
  image.set(code, HeaderBytes);
  writeFileSync(path, image);
}

/** mov dx, 0x3f8; then mov al, byte; out dx, al for each byte. */
export function print(text: string): number[] {
  return [0x66, 0xba, 0xf8, 0x03, ...[...Buffer.from(text)].flatMap((byte) => [0xb0, byte, 0xee])];
}

/** mov al, value; out 0xf4, al. */
export const debugExit = (value: number): number[] => [0xb0, value, 0xe6, 0xf4];

/** mov al, 0xfe; out 0x64, al: the keyboard controller resets the machine. */
export const reset = [0xb0, 0xfe, 0xe6, 0x64];

/** mov dx, port; mov ax, value; out dx, ax. */
const out16 = (port: number, value: number): number[] => [
  ...[0x66, 0xba, port & 0xff, port >> 8],
  ...[0x66, 0xb8, value & 0xff, value >> 8, 0x66, 0xef],
];

/** ACPI S5: the sleep type, then SLP_EN (ACPI 6.5 §4.8.3.2.1 "PM1 Control Registers"). */
export const powerOff = out16(PortMap.Acpi.start + AcpiPmLayout.Pm1Control.offset, (SleepTypeS5 << 10) | (1 << 13));

/** cli; hlt; jmp to the hlt. */
export const hang = [0xfa, 0xf4, 0xeb, 0xfd];

/** jmp to itself. */
export const spin = [0xeb, 0xfe];

const words = (...values: readonly number[]): number[] =>
  values.flatMap((value) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]);

/** mov esp, 0x7000. */
const stack = [0xbc, ...words(0x7000)];

/** With a stack: push 0; push 0; lidt [esp]; ud2: nothing can be delivered. */
export const tripleFault = [...stack, 0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b];

/** mov dword [address], value. */
export const store = (address: number, value: number): number[] => [0xc7, 0x05, ...words(address, value)];

/** again: cmp byte [address], value; jne again. */
export const waitFor = (address: number, value: number): number[] => [0x80, 0x3d, ...words(address), value, 0x75, 0xf7];

/** mov ecx, count; again: code; dec ecx; jnz again. */
export const repeat = (count: number, code: readonly number[]): number[] => {
  const back = -(code.length + 7);
  return [0xb9, ...words(count), ...code, 0x49, 0x0f, 0x85, ...words(back)];
};

/** mov eax, [address]; cmp eax, value; jne over; code; over: */
export const ifEqual = (address: number, value: number, code: readonly number[]): number[] => [
  ...[0xa1, ...words(address), 0x3d, ...words(value), 0x0f, 0x85, ...words(code.length)],
  ...code,
];

/** Where the second processor starts (SIPI vector 8), in real mode. */
const StartAddress = 0x8000;
/** A flat GDT: null, code, data. */
const FlatGdt = words(0, 0, 0xffff, 0x00cf_9b00, 0xffff, 0x00cf_9300);
const LocalApic = { Spurious: 0xfee0_00f0, Command: 0xfee0_0300 } as const;
/** To all but the sender: INIT; start-up at {@link StartAddress}. */
const Ipi = { Init: 0x000c_4500, StartUp: 0x000c_4600 | (StartAddress >> 12) } as const;

/** What a started processor does at {@link StartAddress}: to protected mode, then to `target`. */
function trampoline(target: number): number[] {
  // cli; xor ax, ax; mov ds, ax
  const start = [0xfa, 0x31, 0xc0, 0x8e, 0xd8];
  const toProtected = [0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0]; // mov eax, cr0; or al, 1; mov cr0, eax
  const lgdtBytes = 5;
  const jumpBytes = 8;
  const flatAt = StartAddress + start.length + lgdtBytes + toProtected.length + jumpBytes;
  // mov ax, 0x10; mov ds, ax; mov es, ax; mov ss, ax; mov eax, target; jmp eax
  const flat = [0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xb8, ...words(target), 0xff, 0xe0];
  const gdtrAt = flatAt + flat.length;
  const gdtr = [FlatGdt.length - 1, 0, ...words(gdtrAt + 6)];
  const lgdt = [0x0f, 0x01, 0x16, gdtrAt & 0xff, gdtrAt >> 8];
  const jump = [0x66, 0xea, ...words(flatAt), 0x08, 0x00];
  return [...start, ...lgdt, ...toProtected, ...jump, ...flat, ...gdtr, ...FlatGdt];
}

/** Starts the other processors, which run `others` in protected mode, and goes on with `first`. */
export function onBoth(first: readonly number[], others: readonly number[]): number[] {
  const callBytes = 5;
  const code = trampoline(CodeAddress + stack.length + callBytes + trampoline(0).length);
  const copied = code.length;
  // call over; …; over: pop esi; mov edi, StartAddress; mov ecx, copied; rep movsb
  return [
    ...stack,
    ...[0xe8, ...words(copied + others.length), ...code, ...others],
    ...[0x5e, 0xbf, ...words(StartAddress), 0xb9, ...words(copied), 0xf3, 0xa4],
    ...store(LocalApic.Spurious, 0x1ff),
    ...store(LocalApic.Command, Ipi.Init),
    ...store(LocalApic.Command, Ipi.StartUp),
    ...first,
  ];
}

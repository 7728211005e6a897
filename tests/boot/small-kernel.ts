/** Multiboot kernels of a few bytes of 32-bit code, for what needs no operating system. */
import { writeFileSync } from 'node:fs';

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

/** cli; hlt; jmp to the hlt. */
export const hang = [0xfa, 0xf4, 0xeb, 0xfd];

/** jmp to itself. */
export const spin = [0xeb, 0xfe];

/** push 0; push 0; lidt [esp]; int3: nothing can be delivered. */
export const tripleFault = [0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0xcc];

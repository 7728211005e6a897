/** Hosts whose processor is QEMU's emulator, such as the nested host, and what guests of the contract do about it there. */
import { existsSync, readFileSync } from 'node:fs';
import type { Assembler } from '../guest/assembler.ts';

/** True when the host's processor is one of QEMU's emulator: QEMU's machine without KVM's clock. */
export function isEmulatedByQemu(): boolean {
  const clocks = '/sys/devices/system/clocksource/clocksource0/available_clocksource';
  return fileText('/sys/class/dmi/id/sys_vendor').startsWith('QEMU') && !fileText(clocks).includes('kvm-clock');
}

function fileText(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

const forgetsShadow = isEmulatedByQemu();

/**
 * For handlers of interrupts that end a halt, before they touch the stack. QEMU's VMRUN forgets the interrupt shadow of STI:
 * where the host interrupts its guest between STI and HLT, a waiting interrupt comes before HLT and ends nothing. The
 * handler then leaves HLT out. Nothing is done on other hosts.
 */
export function leaveHalt(a: Assembler): Assembler {
  if (!forgetsShadow) return a;
  a.db(0x50).db(0x48, 0x8b, 0x44, 0x24, 8); // push rax; mov rax, [rsp + 8]: where the handler returns to
  a.db(0x80, 0x38, 0xf4).db(0x75, 5); // cmp byte [rax], HLT; jne past the next one
  return a.db(0x48, 0xff, 0x44, 0x24, 8).db(0x58); // inc qword [rsp + 8]; pop rax
}

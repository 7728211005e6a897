import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allRows } from '../instructions/table/rows.ts';
import { createDecodedInstruction, createDecoder, OperandKind, SegmentRegister } from './decoder.ts';
import type { CodeSize, DecodedInstruction, DecoderOptions } from './decoder.ts';
import { formatInstruction } from './format.ts';

function decode(codeSize: CodeSize, hex: string, options: DecoderOptions = {}): DecodedInstruction | string {
  const bytes = Uint8Array.from(hex.replaceAll(' ', '').match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const record = createDecodedInstruction(allRows[0]!);
  const status = createDecoder(options).decode(bytes, 0, bytes.length, codeSize, record);
  if (status !== 'ok') return status;
  assert.equal(record.length, bytes.length, hex);
  return record;
}

function text(codeSize: CodeSize, hex: string, options: DecoderOptions = {}): string {
  const result = decode(codeSize, hex, options);
  return typeof result === 'string' ? result : formatInstruction(result, 0x1000n);
}

function instruction(codeSize: CodeSize, hex: string): DecodedInstruction {
  const result = decode(codeSize, hex);
  assert.ok(typeof result !== 'string', hex);
  return result;
}

test('the same bytes in the three code sizes', () => {
  assert.equal(text(16, '01 d8'), 'add ax, bx');
  assert.equal(text(32, '01 d8'), 'add eax, ebx');
  assert.equal(text(64, '01 d8'), 'add eax, ebx');
  assert.equal(text(32, '48'), 'dec eax');
  assert.equal(text(64, '48 01 d8'), 'add rax, rbx');
  assert.equal(text(64, '40'), 'need-more');
  assert.equal(text(64, '06'), 'invalid');
});

test('addressing forms (SDM Vol. 2A Tables 2-1, 2-2, 2-3)', () => {
  assert.equal(text(16, '8b 42 fe'), 'mov ax, word ptr ss:[bp+si-0x2]');
  assert.equal(text(16, '8b 0e 34 12'), 'mov cx, word ptr ds:[0x1234]');
  assert.equal(text(32, '8b 84 8d 00 01 00 00'), 'mov eax, dword ptr ss:[ebp+ecx*4+0x100]');
  assert.equal(text(32, '67 8b 07'), 'mov eax, dword ptr ds:[bx]');
  assert.equal(text(64, '48 8b 05 10 00 00 00'), 'mov rax, qword ptr ds:[rip+0x10]');
  assert.equal(text(64, '8b 04 25 f0 ff ff ff'), 'mov eax, dword ptr ds:[0xfffffffffffffff0]');
  assert.equal(text(64, '42 8b 04 24'), 'mov eax, dword ptr ss:[rsp+r12]');
  assert.equal(text(64, '41 8b 45 00'), 'mov eax, dword ptr ds:[r13]');
});

test('segment overrides: the last one counts, and only FS and GS do in 64-bit mode', () => {
  assert.equal(text(32, '2e 64 8b 00'), 'mov eax, dword ptr fs:[eax]');
  assert.equal(text(32, '64 2e 8b 00'), 'mov eax, dword ptr cs:[eax]');
  assert.equal(text(64, '64 2e 8b 00'), 'mov eax, dword ptr fs:[rax]');
  assert.equal(text(32, '2e a4'), 'movsb byte ptr es:[edi], byte ptr cs:[esi]');
  assert.equal(instruction(64, '26 8b 00').segmentOverride, -1);
  assert.equal(instruction(64, '65 8b 00').segmentOverride, SegmentRegister.Gs);
});

test('REX counts directly before the opcode only, and turns AH to BH into SPL to DIL', () => {
  assert.equal(text(64, '48 66 01 d8'), 'add ax, bx');
  assert.equal(text(64, '88 e1'), 'mov cl, ah');
  assert.equal(text(64, '40 88 e1'), 'mov cl, spl');
  assert.equal(text(64, '41 90'), 'xchg r8d, eax');
  assert.equal(text(64, 'f3 90'), 'pause');
  assert.equal(text(64, 'f3 41 90'), 'xchg r8d, eax');
});

test('mandatory prefixes: the last of F2 and F3 wins, both win over 66', () => {
  assert.equal(text(64, '0f 58 c1'), 'addps xmm0, xmm1');
  assert.equal(text(64, '66 0f 58 c1'), 'addpd xmm0, xmm1');
  assert.equal(text(64, 'f3 f2 66 0f 58 c1'), 'addsd xmm0, xmm1');
  assert.equal(text(64, 'f2 f3 66 0f 58 c1'), 'addss xmm0, xmm1');
  assert.equal(text(64, '66 f2 0f 38 f1 c1'), 'crc32 eax, cx');
  assert.equal(text(64, '66 f3 0f b8 c1'), 'popcnt ax, cx');
  assert.equal(text(64, 'f3 0f 28 c1'), 'invalid');
});

test('immediates are extended as the manual says', () => {
  assert.equal(text(64, '48 83 c0 ff'), 'add rax, 0xffffffffffffffff');
  assert.equal(text(64, '66 83 c0 ff'), 'add ax, 0xffff');
  assert.equal(text(64, '48 b8 88 77 66 55 44 33 22 91'), 'mov rax, 0x9122334455667788');
  assert.equal(text(64, '48 c7 c0 00 00 00 80'), 'mov rax, 0xffffffff80000000');
  assert.equal(text(64, '48 c1 e0 ff'), 'shl rax, 0xff');
  assert.equal(text(64, 'cd 80'), 'int 0x80');
  const [, immediate] = instruction(64, '48 83 c0 80').operands;
  assert.deepEqual(
    [immediate.kind, immediate.low, immediate.high, immediate.size],
    [OperandKind.Immediate, -128, -1, 8],
  );
});

test('near branches with 66 in 64-bit mode: 16 bits on AMD, 64 on Intel', () => {
  assert.equal(text(64, 'e8 fb ff ff ff'), 'call 0x1000');
  assert.equal(text(64, '66 e8 fc ff'), 'call 0x1000');
  assert.equal(text(64, '66 e8 fa ff ff ff', { vendor: 'intel' }), 'call 0x1000');
  assert.equal(text(64, '66 c3', { vendor: 'amd' }), 'ret');
  assert.equal(instruction(64, '66 c3').operandSize, 16);
  assert.equal(instruction(64, 'c3').operandSize, 64);
  assert.equal(text(64, '67 e3 fd'), 'jecxz 0x1000');
});

test('operand sizes of the stack', () => {
  assert.equal(text(64, '50'), 'push rax');
  assert.equal(text(64, '66 50'), 'push ax');
  assert.equal(text(64, '68 00 00 00 80'), 'push 0xffffffff80000000');
  assert.equal(text(32, '50'), 'push eax');
  assert.equal(text(64, '9c'), 'pushfq');
  assert.equal(text(64, '48 cf'), 'iretq');
});

test('LOCK is allowed on a memory destination of a few instructions only', () => {
  assert.equal(text(64, 'f0 01 00'), 'lock add dword ptr ds:[rax], eax');
  assert.equal(text(64, 'f0 01 c0'), 'invalid');
  assert.equal(text(64, 'f0 03 00'), 'invalid');
  assert.equal(text(64, 'f0 8b 00'), 'invalid');
  assert.equal(text(64, 'f0 f0 48 0f c7 08'), 'lock cmpxchg16b xmmword ptr ds:[rax]');
});

test('moves to and from control registers ignore mod', () => {
  assert.equal(text(64, '0f 20 c0'), 'mov rax, cr0');
  assert.equal(text(64, '0f 20 00'), 'mov rax, cr0');
  assert.equal(text(32, '0f 22 d8'), 'mov cr3, eax');
  assert.equal(text(64, '44 0f 20 c0'), 'mov rax, cr8');
  assert.equal(text(64, '0f 20 c8'), 'invalid');
  assert.equal(text(64, '8e c8'), 'invalid');
});

test('VEX and the instructions that it replaced', () => {
  assert.equal(text(64, 'c4 e2 f8 f2 c3'), 'andn rax, rax, rbx');
  assert.equal(text(32, 'c5 00'), 'lds eax, fword ptr ds:[eax]');
  assert.equal(text(64, 'c4 e2 fc f2 c3'), 'invalid');
  assert.equal(text(64, '66 c4 e2 f8 f2 c3'), 'invalid');
  assert.equal(text(64, 'c4 e3 f3 f0 c3 05'), 'invalid');
  assert.equal(text(64, 'c4 e3 fb f0 c3 05'), 'rorx rax, rbx, 0x5');
  assert.equal(text(64, '62 00 00 00 00 00'), 'invalid');
});

test('an instruction has at most 15 bytes', () => {
  assert.equal(text(64, `${'66'.repeat(14)} 90`), 'nop');
  assert.equal(text(64, `${'66'.repeat(15)} 90`), 'too-long');
  assert.equal(text(64, '66'.repeat(14)), 'need-more');
  assert.equal(text(64, `${'2e'.repeat(10)} 81 04 25 00 00 00 00 00 00 00 00`), 'too-long');
});

test('features that are not there: #UD, or the instruction that the encoding had before', () => {
  const features = new Set<never>();
  assert.equal(text(64, 'f3 0f bd c1', { features }), 'bsr eax, ecx');
  assert.equal(text(64, 'f3 0f bc c1', { features }), 'bsf eax, ecx');
  assert.equal(text(64, 'f3 0f b8 c1', { features }), 'invalid');
  assert.equal(text(64, '48 0f c7 08', { features }), 'invalid');
  assert.equal(text(64, '0f c7 08', { features }), 'cmpxchg8b qword ptr ds:[rax]');
  assert.equal(text(64, '0f 58 c1', { features }), 'addps xmm0, xmm1');
});

test('every row of the table is found by its own index', () => {
  allRows.forEach((row, index) => assert.equal(row.index, index));
  assert.ok(new Set(allRows.map((row) => row.notation)).size === allRows.length);
});

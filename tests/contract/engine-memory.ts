/** Guest memory: slots, its end, code that changes under the processor. */
import assert from 'node:assert/strict';
import { gpa } from '@lodger/vmm/memory/address.js';
import { type Assembler, al, at, eax, ebx, ecx, mem, rax, rbx, rcx, rdi, rsi } from '../guest/assembler.ts';
import { At, EngineGuest, MemorySize, done, hex } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const PageSize = 0x1000;
const slotAt = (guest: EngineGuest, start: number, size: number, readOnly = false): void =>
  guest.vm.setMemorySlot({ id: 5, start: gpa(start), size, readOnly });

/** mov eax, value; ret: what tests write over. */
const answer = (value: number): Uint8Array => Uint8Array.of(0xb8, value, 0, 0, 0, 0xc3);

/** A guest that calls `target` and ends with AL, twice, with an OUT between so that the host can look in. */
function callsTwice(guest: EngineGuest, target: number): void {
  guest.start((a) => {
    a.mov(rbx, target).call(rbx).out(0x80, al).call(rbx);
    done(a);
  });
}

export const memoryTests: ContractTests = {
  'what lies behind RAM belongs to devices'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, MemorySize)
        .mov(eax, mem({ base: rbx, displacement: -4 }))
        .mov(eax, mem({ base: rbx }));
      done(a.mov(mem({ base: rbx, displacement: 0x10_0000 }), eax));
    });
    const { log } = guest.run({ read: () => 3 });
    assert.deepEqual(log, [`read ${hex(MemorySize)} 4`, `write ${hex(MemorySize + 0x10_0000)} 4 3`]);
  },

  'the VGA window is a hole'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(al, at(0x9_ffff)).mov(at(0xa_0000), al).mov(al, at(0xb_8000)).mov(at(0xb_ffff), al);
      done(a.mov(at(0xc_0000), al));
    });
    assert.deepEqual(guest.run().log, ['write a0000 1 0', 'read b8000 1', 'write bffff 1 0']);
  },

  'slots come and go while the guest runs'(engine) {
    const guest = new EngineGuest(engine);
    const start = 0x1000_0000;
    const steps: Record<string, () => void> = {
      'out 80 1 1': () => slotAt(guest, start, 2 * PageSize),
      'out 80 1 2': () => slotAt(guest, start, 0),
    };
    guest.start((a) => {
      const touch = (value: number): Assembler =>
        a.mov(eax, value).mov(mem({ base: rbx }), eax).mov(ecx, mem({ base: rbx })).mov(eax, value).out(0x80, al); // prettier-ignore
      a.mov(rbx, start);
      touch(1);
      touch(2);
      touch(3);
      done(a);
    });
    const { log } = guest.run({ after: (line) => steps[line]?.() });
    assert.deepEqual(log, [
      'write 10000000 4 1', 'read 10000000 4', 'out 80 1 1', 'out 80 1 2', 'write 10000000 4 3', 'read 10000000 4',
      'out 80 1 3',
    ]); // prettier-ignore
  },

  'a slot above 4 GiB is memory up to its last byte'(engine) {
    const guest = new EngineGuest(engine);
    slotAt(guest, At.High, PageSize);
    guest.start((a) => {
      a.mov(rbx, At.High)
        .mov(rax, 0x1122_3344_5566_7788n)
        .mov(mem({ base: rbx, displacement: 0xff8 }), rax);
      a.mov(rcx, mem({ base: rbx, displacement: 0xff8 })).mov(at(At.Results), rcx);
      done(a.mov(al, mem({ base: rbx, displacement: 0x1000 })));
    });
    assert.deepEqual(guest.run({ read: () => 1 }).log, [`read ${hex(At.High + PageSize)} 1`]);
    assert.equal(guest.result(0), 0x1122_3344_5566_7788n);
  },

  'writes to a read-only slot reach the board, reads do not'(engine) {
    const guest = new EngineGuest(engine);
    const start = 0x1000_0000;
    guest.start((a) => {
      a.mov(rbx, start)
        .mov(eax, 0x55)
        .mov(mem({ base: rbx }), eax)
        .out(0x80, al);
      a.mov(eax, mem({ base: rbx })).add(mem({ base: rbx, size: 32 }), 1);
      done(a.mov(at(At.Results), rax));
    });
    slotAt(guest, start, PageSize);
    const { log } = guest.run({
      after: (line) => void (line === 'out 80 1 55' && slotAt(guest, start, PageSize, true)),
    });
    assert.deepEqual(log, ['out 80 1 55', 'write 10000000 4 56']);
    assert.equal(guest.result(0), 0x55n);
  },

  'REP MOVS and REP STOS over many pages'(engine) {
    const guest = new EngineGuest(engine);
    const bytes = Uint8Array.from({ length: 3 * PageSize }, (_, i) => (i * 7) & 0xff);
    guest.write(At.Data + 5, bytes);
    guest.start((a) => {
      a.mov(rsi, At.Data + 5)
        .mov(rdi, At.Data2 + 0xabc)
        .mov(ecx, bytes.length)
        .repMovs(8);
      a.mov(rdi, At.Data)
        .mov(rax, 0x3131_3131_3131_3131n)
        .mov(ecx, (2 * PageSize) / 8)
        .repStos(64);
      // Overlapping by one byte: repeats the first
      a.mov(rsi, At.Data2)
        .mov(rdi, At.Data2 + 1)
        .mov(ecx, 300)
        .repMovs(8);
      done(a);
    });
    guest.write(At.Data2, Uint8Array.of(0x77));
    assert.match(guest.run().end, /^done/);
    assert.deepEqual(guest.read(At.Data2 + 0xabc, bytes.length), bytes);
    assert.deepEqual(guest.read(At.Data, 2 * PageSize), new Uint8Array(2 * PageSize).fill(0x31));
    assert.deepEqual(guest.read(At.Data2, 301), new Uint8Array(301).fill(0x77));
  },

  'code written by the guest itself is what runs next'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, answer(1));
    guest.start((a) => {
      a.mov(rbx, At.Data)
        .call(rbx)
        .mov(at(At.Results), rax)
        .mov(at(At.Data + 1, 8), 0x22)
        .call(rbx);
      a.mov(at(At.Results + 8), rax)
        .mov(at('patched', 8), 0x33)
        .db(0xb0)
        .label('patched')
        .db(0x11);
      done(a);
    });
    assert.equal(guest.run().end, 'done 33');
    assert.deepEqual([guest.result(0), guest.result(1)], [1n, 0x22n]);
  },

  'code written through another address, and by REP MOVS over itself'(engine) {
    const guest = new EngineGuest(engine);
    const alias = 0x10_0000;
    guest.write(At.Data, answer(1));
    guest.write(At.Data2, answer(2));
    guest.write64(guest.entryOf(alias), BigInt(At.Data) | 7n);
    guest.start((a) => {
      a.mov(rbx, At.Data)
        .call(rbx)
        .mov(at(alias + 1, 8), 0x44)
        .call(rbx)
        .mov(at(At.Results), rax);
      a.mov(rsi, At.Data2).mov(rdi, At.Data).mov(ecx, 6).repMovs(8).call(rbx);
      done(a);
    });
    assert.equal(guest.run().end, 'done 2');
    assert.equal(guest.result(0), 0x44n);
  },

  'code that the host writes'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, answer(1));
    callsTwice(guest, At.Data);
    const { log, end } = guest.run({ after: () => guest.write(At.Data, answer(9)) });
    assert.deepEqual([log, end], [['out 80 1 1'], 'done 9']);
  },

  'code that the host writes through a view'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, answer(1));
    callsTwice(guest, At.Data);
    const { end } = guest.run({
      after() {
        guest.vm.memory.view(gpa(At.Data), 16)?.set(answer(8));
        guest.vm.memory.markWritten(gpa(At.Data), 16);
      },
    });
    assert.equal(end, 'done 8');
  },

  'an instruction over two pages follows both of them'(engine) {
    const guest = new EngineGuest(engine);
    const other = 0x10_0000;
    const code = At.Data + PageSize - 2;
    guest.write(code, answer(1)); // the immediate lies in the second page
    guest.write(other, Uint8Array.of(7, 0, 0, 0xc3)); // b8 06 | 07 00 00 …
    callsTwice(guest, code);
    const { log, end } = guest.run({ after: () => guest.write(At.Data + PageSize - 1, Uint8Array.of(5)) });
    assert.deepEqual([log, end], [['out 80 1 1'], 'done 5'], 'a write to the first page');

    guest.write(code, Uint8Array.of(0xb8, 1, 0, 0, 0, 0xc3));
    callsTwice(guest, code);
    const second = guest.run({ after: () => guest.write(At.Data + PageSize, Uint8Array.of(2)) });
    assert.match(second.end, /^done 1/, 'the second byte is in the upper bits');

    guest.write(code, Uint8Array.of(0x66, 0xb8)); // mov ax, imm16: the immediate is the second page's
    guest.write(At.Data + PageSize, Uint8Array.of(0x21, 0, 0xc3));
    guest.write(other, Uint8Array.of(0x42, 0, 0xc3));
    guest.start((a) => {
      a.mov(rbx, code)
        .call(rbx)
        .out(0x80, al)
        .invlpg(at(At.Data + PageSize))
        .call(rbx);
      done(a);
    });
    const entry = guest.entryOf(At.Data + PageSize);
    const third = guest.run({ after: () => guest.write64(entry, BigInt(other) | 7n) });
    assert.deepEqual([third.log, third.end], [['out 80 1 21'], 'done 42'], 'another second page');
  },

  'device memory as code is an invalid opcode'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.mov(ebx, At.Device).jmp(rbx));
    let rip = 0n;
    const { log } = guest.run({
      after() {
        rip = guest.vm.memory.readU64(gpa(Number(guest.vcpu.state().regs.rsp) + 8)) ?? 0n;
        guest.giveUp();
      },
    });
    assert.deepEqual(log, ['event 6']);
    assert.equal(rip, BigInt(At.Device));
  },
};

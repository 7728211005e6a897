/** Ports and device memory: what reaches the board, in which order, how often, and what the guest gets back. */
import assert from 'node:assert/strict';
import { al, at, ax, dx, eax, ecx, mem, rax, rbx, rcx, rdi, rdx, rsi, rsp } from '../guest/assembler.ts';
import { At, EngineGuest, done, hex } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const Device = At.Device;
const device = (offset = 0, size?: number): ReturnType<typeof mem> =>
  mem({ base: rbx, displacement: offset, ...(size === undefined ? {} : { size }) });
const name = hex(Device);
const rep = (...opcode: number[]): number[] => [0xf3, ...opcode];
const asText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export const inputOutputTests: ContractTests = {
  'OUT: port, size and value'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rax, 0x1122_3344_5566_7788n).out(0x80, al).out(0x80, ax).out(0x80, eax);
      done(a.mov(dx, 0xfffc).out(dx, eax));
    });
    const { log, end } = guest.run();
    assert.deepEqual(log, ['out 80 1 88', 'out 80 2 7788', 'out 80 4 55667788', 'out fffc 4 55667788']);
    assert.equal(end, 'done 88');
  },

  'IN: AL and AX keep the rest of RAX, EAX clears its upper half'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      for (const [index, register] of [al, ax, eax].entries()) {
        a.mov(rax, -1n)
          .in(register, 0x70 + index)
          .mov(at(At.Results + index * 8), rax);
      }
      done(a);
    });
    const { log } = guest.run({ read: () => 0x8182_8384 });
    assert.deepEqual(log, ['in 70 1', 'in 71 2', 'in 72 4']);
    const results = [0, 1, 2].map((index) => hex(guest.result(index)));
    assert.deepEqual(results, ['ffffffffffffff84', 'ffffffffffff8384', '81828384']);
  },

  'REP OUTS: each element once, in order; DF counts down'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    guest.start((a) => {
      a.mov(dx, 0x300)
        .mov(rsi, At.Data)
        .mov(ecx, 3)
        .db(...rep(0x6e));
      a.mov(rsi, At.Data)
        .mov(ecx, 2)
        .db(...rep(0x66, 0x6f));
      a.mov(rsi, At.Data + 4)
        .mov(ecx, 2)
        .db(0xfd)
        .db(...rep(0x6f));
      done(
        a
          .cld()
          .mov(at(At.Results), rsi)
          .mov(at(At.Results + 8), rcx),
      );
    });
    const { log } = guest.run();
    assert.deepEqual(log, [
      'out 300 1 1', 'out 300 1 2', 'out 300 1 3', 'out 300 2 201', 'out 300 2 403', 'out 300 4 8070605', 'out 300 4 4030201',
    ]); // prettier-ignore
    assert.deepEqual([guest.result(0), guest.result(1)], [BigInt(At.Data - 4), 0n]);
  },

  'REP INS: into memory, over a page boundary too'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(dx, 0x1f0)
        .mov(rdi, At.Data + 0xffd)
        .mov(ecx, 3)
        .db(...rep(0x66, 0x6d));
      done(a.mov(at(At.Results), rdi));
    });
    let value = 0x1111;
    const { log } = guest.run({ read: () => (value += 0x1111) });
    assert.deepEqual(log, ['in 1f0 2', 'in 1f0 2', 'in 1f0 2']);
    assert.equal(asText(guest.read(At.Data + 0xffd, 6)), '222233334444');
    assert.equal(guest.result(0), BigInt(At.Data + 0xffd + 6));
  },

  'device memory: loads of every size'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, Device).mov(rax, -1n).mov(al, device(1)).mov(at(At.Results), rax);
      a.mov(rax, -1n)
        .mov(ax, device(2))
        .mov(at(At.Results + 8), rax);
      a.mov(rax, -1n)
        .mov(eax, device(4))
        .mov(at(At.Results + 16), rax);
      a.mov(rax, device(8)).mov(at(At.Results + 24), rax);
      a.db(0x48, 0x0f, 0xbe, 0x43, 0x10).mov(at(At.Results + 32), rax); // movsx rax, byte [rbx + 16]
      done(a);
    });
    const { log } = guest.run({ read: () => 0x8182_8384_8586_8788n });
    const accesses = [[1, 1], [2, 2], [4, 4], [8, 8], [16, 1]] as const; // prettier-ignore
    assert.deepEqual(
      log,
      accesses.map(([offset, size]) => `read ${hex(Device + offset)} ${size}`),
    );
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((index) => hex(guest.result(index))),
      ['ffffffffffffff88', 'ffffffffffff8788', '85868788', '8182838485868788', 'ffffffffffffff88'],
    );
  },

  'device memory: stores of every size, and wide ones in halves'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, Device).mov(rax, 0x1122_3344_5566_7788n);
      a.mov(device(), al).mov(device(), ax).mov(device(), eax).mov(device(), rax);
      a.db(0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x0f, 0x11, 0x03); // movq xmm0, rax; movups [rbx], xmm0
      done(a);
    });
    assert.deepEqual(guest.run().log, [
      `write ${name} 1 88`, `write ${name} 2 7788`, `write ${name} 4 55667788`, `write ${name} 8 1122334455667788`,
      `write ${name} 8 1122334455667788`, `write ${hex(Device + 8)} 8 0`,
    ]); // prettier-ignore
  },

  'device memory: read-modify-write reads once and writes once'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, Device).mov(eax, 5).add(device(0, 32), eax).inc(device(4, 16)).db(0xf0).or(device(8, 8), 1);
      a.xchg(device(12), eax).mov(at(At.Results), rax);
      a.mov(eax, 0x40).mov(ecx, 0x99).db(0xf0, 0x0f, 0xb1, 0x0b); // lock cmpxchg [rbx], ecx
      done(a.setcc('e', al));
    });
    const { log, end } = guest.run({ read: () => 0x40 });
    assert.deepEqual(log, [
      `read ${name} 4`, `write ${name} 4 45`, `read ${hex(Device + 4)} 2`, `write ${hex(Device + 4)} 2 41`,
      `read ${hex(Device + 8)} 1`, `write ${hex(Device + 8)} 1 41`, `read ${hex(Device + 12)} 4`,
      `write ${hex(Device + 12)} 4 5`, `read ${name} 4`, `write ${name} 4 99`,
    ]); // prettier-ignore
    assert.equal(guest.result(0), 0x40n);
    assert.equal(end, 'done 1');
  },

  'device memory: REP MOVS touches each element once'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0));
    guest.start((a) => {
      a.mov(rsi, At.Data).mov(rdi, Device).mov(ecx, 3).repMovs(32);
      a.mov(rsi, Device).mov(rdi, At.Data2).mov(ecx, 3).repMovs(32);
      done(
        a
          .mov(rsi, Device + 16)
          .mov(rdi, Device + 32)
          .mov(ecx, 2)
          .repMovs(8),
      );
    });
    let value = 0x10;
    const { log } = guest.run({ read: () => value++ });
    const at = (offset: number): string => hex(Device + offset);
    assert.deepEqual(log, [
      `write ${at(0)} 4 1`, `write ${at(4)} 4 2`, `write ${at(8)} 4 3`, `read ${at(0)} 4`, `read ${at(4)} 4`,
      `read ${at(8)} 4`, `read ${at(16)} 1`, `write ${at(32)} 1 13`, `read ${at(17)} 1`, `write ${at(33)} 1 14`,
    ]); // prettier-ignore
    assert.equal(asText(guest.read(At.Data2, 12)), '100000001100000012000000');
  },

  'device memory: REP STOS, PUSH and POP, CALL through a pointer'(engine) {
    const guest = new EngineGuest(engine);
    const program = guest.start((a) => {
      a.mov(rbx, Device).mov(rdi, Device).mov(eax, 0xaa).mov(ecx, 2).repStos(8);
      a.push(device(8, 64)).pop(device(16, 64)).call(device(24, 64));
      done(a).label('target').mov(at(At.Results), rsp).ret();
    });
    const { log, end } = guest.run({ read: () => program.address('target') });
    const target = hex(program.address('target'));
    assert.deepEqual(log, [
      `write ${name} 1 aa`, `write ${hex(Device + 1)} 1 aa`, `read ${hex(Device + 8)} 8`,
      `write ${hex(Device + 16)} 8 ${target}`, `read ${hex(Device + 24)} 8`,
    ]); // prettier-ignore
    assert.equal(end, 'done aa');
    assert.equal(guest.result(0), BigInt(At.Stack - 8));
  },

  'an image of 512 bytes goes to and comes from device memory'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, Device).mov(rax, 0x0102_0304_0506_0708n).db(0x66, 0x48, 0x0f, 0x6e, 0xc0); // movq xmm0, rax
      a.fxsave(device()).db(0x0f, 0x57, 0xc0).fxrstor(device()); // xorps xmm0, xmm0
      done(a.db(0x66, 0x48, 0x0f, 0x7e, 0xc0).mov(at(At.Results), rax)); // movq rax, xmm0
    });
    const image = new Map<string, string>();
    const { log, end } = guest.run({
      read: (_, line) => {
        const [, address = '', size = ''] = line.split(' ');
        // FXRSTOR may look at the last byte first
        return size !== '8' ? 0 : BigInt(`0x${image.get(address) ?? '0'}`);
      },
      after: (line) => {
        const [kind, address = '', , value = ''] = line.split(' ');
        if (kind === 'write') image.set(address, value);
      },
    });
    assert.match(end, /^done/);
    assert.equal(guest.result(0), 0x0102_0304_0506_0708n);
    const writes = log.filter((line) => line.startsWith('write'));
    assert.equal(new Set(writes).size, writes.length, 'each part is written once');
  },

  'a fault after a device access is delivered, and the access made again'(engine) {
    const guest = new EngineGuest(engine);
    const entry = guest.entryOf(At.Data);
    guest.start((a) => {
      a.mov(rsi, Device).mov(rdi, At.Data).db(0xa5); // movsd
      done(a);
    });
    guest.write64(entry, 0n);
    const { log, end } = guest.run({
      read: () => 0x1234_5678,
      after: (line) => {
        if (line === 'event 14') guest.write64(entry, BigInt(At.Data) | 7n);
      },
    });
    assert.deepEqual(log, [`read ${name} 4`, 'event 14', `read ${name} 4`]);
    assert.match(end, /^done/);
    assert.equal(asText(guest.read(At.Data, 4)), '78563412');
  },

  'no interrupt comes between the accesses of one instruction'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, At.LocalApic).mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff);
      a.mov(rbx, Device).sti().nop().add(device(0, 32), 1).nop();
      done(a);
    });
    const { log } = guest.run({
      after: (line) => {
        if (line.startsWith('read')) guest.vm.msi.signalMsi(At.LocalApic, 0x51);
      },
    });
    assert.deepEqual(log, [`read ${name} 4`, `write ${name} 4 1`, 'event 81']);
  },

  'kick lets an instruction finish that a device answered in part'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rbx, Device).add(device(0, 32), 1).label('next');
      done(a);
    });
    const first = guest.vcpu.run();
    assert.equal(first.kind, 'mmio-read');
    if (first.kind === 'mmio-read') first.value = 7n;
    guest.vcpu.kick();
    const second = guest.vcpu.run();
    assert.deepEqual([second.kind, second.kind === 'mmio-write' && second.value], ['mmio-write', 8n]);
    assert.equal(guest.vcpu.run().kind, 'interrupted');
    assert.match(guest.run().end, /^done/);
  },

  'a device cannot hold descriptor tables: the processor shuts down'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.ud2());
    guest.update(({ sregs }) => {
      sregs.idt.base = BigInt(Device);
    });
    // An engine may also say that it cannot go on with such a guest
    assert.match(guest.run().end, guest.vm.haltsInRun ? /^(shutdown|failure)$/ : /^shutdown$/);
  },

  'a port read in virtual memory that is not there asks nobody'(engine) {
    const guest = new EngineGuest(engine);
    const entry = guest.entryOf(At.Data);
    guest.start((a) => {
      a.mov(dx, 0x60).mov(rdi, At.Data).db(0x6c); // insb
      done(a.mov(rdx, 0));
    });
    guest.write64(entry, 0n);
    const { log } = guest.run({
      after: (line) => {
        if (line === 'event 14') guest.write64(entry, BigInt(At.Data) | 7n);
      },
    });
    assert.deepEqual(log, ['event 14', 'in 60 1']);
  },
};

import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { Serial16550 } from './serial-16550.ts';

const Data = 0;
const Ier = 1;
const Iir = 2;
const Fcr = 2;
const Lcr = 3;
const Mcr = 4;
const Lsr = 5;
const Msr = 6;
const Scr = 7;

let serial: Serial16550;
let sent: number[];
let level: boolean;
let edges: number;
let roomCalls: number;

beforeEach(() => {
  sent = [];
  level = false;
  edges = 0;
  roomCalls = 0;
  serial = new Serial16550({
    interrupt: {
      setLevel(asserted) {
        if (asserted && !level) edges++;
        level = asserted;
      },
    },
    output: (byte) => sent.push(byte),
    onRoom: () => roomCalls++,
  });
});

const write = (register: number, value: number): void => serial.write(register, 1, value);
const read = (register: number): number => serial.read(register);
const type = (text: string): boolean[] => [...text].map((character) => serial.receive(character.charCodeAt(0)));

suite('PC16550D §8.5 "FIFO Control Register"', () => {
  test('enabling the FIFOs shows in IIR, which makes it a 16550A to Linux', () => {
    assert.equal(read(Iir), 0x01);
    write(Fcr, 0x01);
    assert.equal(read(Iir), 0xc1);
    write(Fcr, 0x00);
    assert.equal(read(Iir), 0x01);
  });

  test('16 bytes with FIFOs, one without; the host hears of room after a refusal', () => {
    assert.deepEqual(type('ab'), [true, false]);
    assert.equal(read(Data), 0x61);
    assert.equal(roomCalls, 1);
    write(Fcr, 0x01);
    assert.equal(serial.room, 16);
    const taken = type('0123456789abcdefg');
    assert.deepEqual([taken.filter(Boolean).length, taken.at(-1)], [16, false]);
    assert.equal(serial.room, 0);
    assert.equal(read(Data), 0x30);
    assert.equal(roomCalls, 2);
    assert.equal(read(Data), 0x31);
    assert.equal(roomCalls, 2);
  });

  test('resetting the receiver drops its bytes; switching the FIFOs does too', () => {
    write(Fcr, 0x01);
    type('abc');
    write(Fcr, 0x03);
    assert.equal(read(Lsr), 0x60);
    type('abc');
    write(Fcr, 0x00);
    assert.equal(read(Lsr), 0x60);
  });

  test('the trigger level tells data from a character time-out', () => {
    write(Fcr, 0x81);
    write(Ier, 0x01);
    type('1234567');
    assert.equal(read(Iir), 0xcc);
    type('8');
    assert.equal(read(Iir), 0xc4);
    read(Data);
    assert.equal(read(Iir), 0xcc);
    assert.equal(level, true);
  });
});

suite('PC16550D §8.6 "Interrupt Identification Register"', () => {
  test('enabling the transmitter interrupt raises it; reading IIR takes it back (Linux UART_BUG_TXEN and THRE tests)', () => {
    write(Ier, 0x02);
    assert.equal(level, true);
    assert.equal(read(Lsr), 0x60);
    assert.equal(read(Iir), 0x02);
    assert.equal(level, false);
    assert.equal(read(Iir), 0x01);
    write(Ier, 0x00);
    write(Ier, 0x02);
    assert.equal(read(Iir), 0x02);
  });

  test('each byte sent is an edge of its own, even if nobody read IIR', () => {
    write(Ier, 0x02);
    edges = 0;
    write(Data, 0x41);
    write(Data, 0x42);
    assert.equal(edges, 2);
    assert.deepEqual(sent, [0x41, 0x42]);
    assert.equal(read(Iir), 0x02);
  });

  test('a write with the transmitter interrupt off is announced when it is enabled', () => {
    write(Data, 0x41);
    assert.equal(level, false);
    write(Ier, 0x02);
    assert.equal(read(Iir), 0x02);
  });

  test('priorities: line status, data, transmitter, modem status', () => {
    write(Fcr, 0x01);
    write(Mcr, 0x10);
    write(Mcr, 0x00);
    serial.receiveBreak();
    write(Ier, 0x0f);
    assert.equal(read(Iir), 0xc6);
    read(Lsr);
    assert.equal(read(Iir), 0xc4);
    read(Data);
    assert.equal(read(Iir), 0xc2);
    assert.equal(read(Iir), 0xc0);
    read(Msr);
    assert.equal(read(Iir), 0xc1);
    assert.equal(level, false);
  });
});

suite('PC16550D §8.4 "Line Status Register"', () => {
  test('data is ready until it has been read', () => {
    type('x');
    assert.equal(read(Lsr), 0x61);
    assert.equal(read(Data), 0x78);
    assert.equal(read(Lsr), 0x60);
    assert.equal(read(Data), 0);
  });

  test('a break shows once, with its byte at the top of the FIFO', () => {
    write(Fcr, 0x01);
    type('a');
    serial.receiveBreak();
    type('h');
    assert.equal(read(Lsr), 0xe1);
    read(Data);
    assert.equal(read(Lsr), 0xf1);
    assert.equal(read(Lsr), 0xe1);
    assert.equal(read(Data), 0);
    assert.equal(read(Lsr), 0x61);
    assert.equal(read(Data), 0x68);
  });
});

suite('PC16550D §8.8 "Modem Control Register"', () => {
  test('Linux autoconfig: loop-back brings RTS and OUT2 back as CTS and DCD', () => {
    write(Mcr, 0x1a);
    assert.equal(read(Msr) & 0xf0, 0x90);
    write(Mcr, 0x15);
    assert.equal(read(Msr) & 0xf0, 0x60);
  });

  test('loop-back: what is sent is received, nothing goes out, and the line is cut', () => {
    write(Fcr, 0x01);
    write(Mcr, 0x10);
    write(Data, 0x55);
    assert.deepEqual(type('x'), [false]);
    assert.deepEqual(sent, []);
    assert.equal(read(Data), 0x55);
    write(Mcr, 0x00);
    assert.equal(roomCalls, 1);
  });

  test('loop-back: overruns', () => {
    write(Mcr, 0x10);
    write(Data, 1);
    write(Data, 2);
    assert.equal(read(Lsr), 0x63);
    assert.equal(read(Data), 2);
    write(Fcr, 0x01);
    for (let byte = 0; byte < 20; byte++) write(Data, byte);
    assert.equal(read(Lsr) & 0x02, 0x02);
    assert.equal(read(Lsr) & 0x02, 0);
    assert.deepEqual([read(Data), read(Data)], [0, 1]);
  });
});

suite('PC16550D §8.9 "Modem Status Register"', () => {
  test('connected; changes are told once, RI on its trailing edge only', () => {
    assert.equal(read(Msr), 0xb0);
    write(Mcr, 0x14);
    assert.equal(read(Msr), 0x4b);
    assert.equal(read(Msr), 0x40);
    write(Mcr, 0x10);
    assert.equal(read(Msr), 0x04);
  });
});

suite('PC16550D "Table II. Summary of Registers"', () => {
  test('Linux autoconfig: IER has four bits, the scratch register eight', () => {
    write(Ier, 0xff);
    assert.equal(read(Ier), 0x0f);
    write(Ier, 0x00);
    write(Scr, 0xa5);
    assert.equal(read(Scr), 0xa5);
  });

  test('the divisor latch hides data and interrupt enable', () => {
    write(Lcr, 0x83);
    write(Data, 0x34);
    write(Ier, 0x12);
    assert.deepEqual([read(Data), read(Ier)], [0x34, 0x12]);
    assert.deepEqual(sent, []);
    write(Lcr, 0x03);
    assert.equal(read(Ier), 0x00);
    assert.equal(read(Lcr), 0x03);
  });

  test('Linux autoconfig_16550a: no enhanced feature register behind LCR 0xBF', () => {
    write(Fcr, 0x01);
    write(Lcr, 0xbf);
    assert.notEqual(read(Fcr), 0);
  });

  test('status registers ignore writes', () => {
    write(Lsr, 0xff);
    write(Msr, 0xff);
    assert.deepEqual([read(Lsr), read(Msr)], [0x60, 0xb0]);
  });
});

test('listening means that the guest asked for receive interrupts', () => {
  assert.equal(serial.listening, false);
  write(Ier, 0x05);
  assert.equal(serial.listening, true);
});

test('saved state keeps bytes, latches and the interrupt', () => {
  write(Fcr, 0x41);
  write(Ier, 0x0f);
  write(Lcr, 0x83);
  write(Data, 0x01);
  write(Lcr, 0x03);
  type('hello');
  write(Mcr, 0x0b);
  const saved = structuredClone(serial.save());
  let raised = false;
  const other = new Serial16550({ interrupt: { setLevel: (asserted) => (raised = asserted) }, output() {} });
  other.restore(saved);
  assert.deepEqual(other.save(), saved);
  assert.equal(raised, true);
  assert.equal(other.read(Iir), 0xc4);
  assert.deepEqual(
    Array.from({ length: 5 }, () => other.read(Data)),
    [...new TextEncoder().encode('hello')],
  );
  assert.throws(() => other.restore({ version: 3 }), { code: 'Internal' });
});

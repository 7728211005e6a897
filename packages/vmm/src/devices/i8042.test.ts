import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { I8042 } from './i8042.ts';

const OutputFull = 0x01;
const InputFull = 0x02;
const Auxiliary = 0x20;
const Timeout = 0x40;

let controller: I8042;
let resets: number;
let level: boolean;

beforeEach(() => {
  resets = 0;
  level = false;
  controller = new I8042({ reset: () => resets++, interrupt: { setLevel: (asserted) => (level = asserted) } });
});

const status = (): number => controller.command.read(0, 1);
const readData = (): number => controller.data.read(0, 1);
const writeData = (value: number): void => controller.data.write(0, 1, value);
const command = (value: number): void => controller.command.write(0, 1, value);

/** As Linux's i8042_command(): the answer with the status before it, or undefined when none comes. */
function ask(code: number, parameter?: number): { value: number; status: number } | undefined {
  command(code);
  if (parameter !== undefined) writeData(parameter);
  const before = status();
  if ((before & OutputFull) === 0) return undefined;
  return { value: readData(), status: before };
}

suite('PS/2 "Controller Commands"', () => {
  test('Linux i8042_controller_check: nothing to flush, ready for input, not locked', () => {
    assert.equal(status() & (OutputFull | InputFull), 0);
    assert.equal(status() & 0x10, 0x10);
  });

  test('self test and keyboard interface test pass', () => {
    assert.equal(ask(0xaa)?.value, 0x55);
    assert.equal(ask(0xab)?.value, 0x00);
  });

  test('Linux i8042_controller_init: the command byte is read twice alike and can be written', () => {
    const before = ask(0x20)?.value;
    assert.equal(ask(0x20)?.value, before);
    assert.equal(before! & 0x44, 0x44);
    ask(0x60, 0x47);
    assert.equal(ask(0x20)?.value, 0x47);
    ask(0x7f, 0x12);
    assert.equal(ask(0x3f)?.value, 0x12);
  });

  test('interfaces are disabled and enabled in the command byte', () => {
    for (const [off, on, bit] of [
      [0xad, 0xae, 0x10],
      [0xa7, 0xa8, 0x20],
    ] as const) {
      command(off);
      assert.equal(ask(0x20)!.value & bit, bit);
      command(on);
      assert.equal(ask(0x20)!.value & bit, 0);
    }
  });

  test('Linux i8042_check_aux: the loop comes back without the auxiliary bit and the interface fails its test', () => {
    const loop = ask(0xd3, 0x5a);
    assert.equal(loop!.status & Auxiliary, 0);
    assert.ok(![0x00, 0xfa, 0xff].includes(ask(0xa9)!.value));
  });

  test('output port: A20 and its read-back', () => {
    assert.equal(ask(0xd0)!.value & 0x03, 0x03);
    ask(0xd1, 0xdd);
    assert.equal(ask(0xd0)!.value & 0x03, 0x01);
    assert.equal(resets, 0);
  });

  test('an unknown command is ignored and a new command replaces one that waits for data', () => {
    assert.equal(ask(0xbb), undefined);
    command(0xd1);
    assert.equal(ask(0xaa)?.value, 0x55);
    writeData(0x00);
    assert.equal(resets, 0);
  });
});

suite('reset', () => {
  test('0xFE pulses the reset line, as Linux reboots; other pulses do not', () => {
    command(0xff);
    command(0xfd);
    assert.equal(resets, 0);
    command(0xfe);
    assert.equal(resets, 1);
  });

  test('bit 0 of the output port', () => {
    ask(0xd1, 0xfe);
    assert.equal(resets, 1);
  });
});

suite('no devices', () => {
  test('a byte for the keyboard is answered with a time-out and an interrupt', () => {
    ask(0x60, 0x45);
    writeData(0xf2);
    assert.equal(status() & (OutputFull | Timeout | Auxiliary), OutputFull | Timeout);
    assert.equal(level, true);
    assert.equal(readData(), 0xfe);
    assert.equal(level, false);
    assert.equal(status() & (OutputFull | Timeout), 0);
  });

  test('a byte for the mouse likewise, without the keyboard interrupt', () => {
    ask(0x60, 0x47);
    const answer = ask(0xd4, 0xf2);
    assert.equal(answer!.value, 0xfe);
    assert.equal(answer!.status & (Timeout | Auxiliary), Timeout | Auxiliary);
    assert.equal(level, false);
  });
});

test('saved state goes on between a command and its data', () => {
  writeData(0xff);
  command(0x60);
  const saved = structuredClone(controller.save());
  const other = new I8042({ reset: () => resets++ });
  other.restore(saved);
  assert.deepEqual(other.save(), saved);
  assert.equal(other.data.read(0, 1), 0xfe);
  other.data.write(0, 1, 0x77);
  other.command.write(0, 1, 0x20);
  assert.equal(other.data.read(0, 1), 0x77);
  assert.throws(() => other.restore({ version: 2 }), { code: 'Internal' });
});

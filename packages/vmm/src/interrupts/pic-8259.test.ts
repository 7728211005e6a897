import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { Pic8259Pair } from './pic-8259.ts';

let pic: Pic8259Pair;
let outputs: boolean[];

/** As Linux's init_8259A: vectors 0x30 and 0x38, cascade on IR2, 8086 mode. */
function initialize(masterIcw4 = 0x01, slaveIcw4 = 0x01): void {
  for (const [chip, base, cascade, icw4] of [
    [pic.master, 0x30, 0x04, masterIcw4],
    [pic.slave, 0x38, 0x02, slaveIcw4],
  ] as const) {
    chip.write(0, 1, 0x11);
    chip.write(1, 1, base);
    chip.write(1, 1, cascade);
    chip.write(1, 1, icw4);
    chip.write(1, 1, 0);
  }
}

function raise(...irqs: number[]): void {
  for (const irq of irqs) pic.setLine(irq, true);
}

function pulse(irq: number): void {
  pic.setLine(irq, false);
  pic.setLine(irq, true);
}

const eoiMaster = (): void => pic.master.write(0, 1, 0x20);
const eoiSlave = (): void => pic.slave.write(0, 1, 0x20);

beforeEach(() => {
  outputs = [];
  pic = new Pic8259Pair((asserted) => outputs.push(asserted));
  initialize();
});

suite('8259A "Initialization Command Words (ICWs)"', () => {
  test('the mask is read back from the data port, as Linux probes for a PIC', () => {
    pic.master.write(1, 1, 0xfb);
    assert.equal(pic.master.read(1, 1), 0xfb);
  });

  test('ICW2 sets the vector base and ignores its low bits', () => {
    pic.master.write(0, 1, 0x11);
    pic.master.write(1, 1, 0x57);
    pic.master.write(1, 1, 0x04);
    pic.master.write(1, 1, 0x01);
    raise(3);
    assert.equal(pic.acknowledge(), 0x53);
  });

  test('without ICW4 (D0 clear) the sequence ends after ICW3; a single chip has no ICW3', () => {
    pic.master.write(0, 1, 0x10);
    pic.master.write(1, 1, 0x40);
    pic.master.write(1, 1, 0x04);
    pic.master.write(1, 1, 0xaa);
    assert.equal(pic.master.read(1, 1), 0xaa);
    pic.master.write(0, 1, 0x12);
    pic.master.write(1, 1, 0x40);
    pic.master.write(1, 1, 0x55);
    assert.equal(pic.master.read(1, 1), 0x55);
  });

  test('ICW1 clears the mask and resets the edge sense circuit: a line that is high needs a new edge', () => {
    pic.master.write(1, 1, 0xff);
    raise(4);
    initialize();
    assert.equal(pic.output, false);
    pulse(4);
    assert.equal(pic.acknowledge(), 0x34);
  });
});

suite('8259A "Interrupt Sequence"', () => {
  test('a request raises INT; acknowledging moves it from IRR to ISR', () => {
    raise(4);
    assert.deepEqual(outputs, [true]);
    assert.equal(pic.master.read(0, 1), 0x10);
    assert.equal(pic.acknowledge(), 0x34);
    assert.deepEqual(outputs, [true, false]);
    assert.equal(pic.master.read(0, 1), 0);
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0x10);
    eoiMaster();
    assert.equal(pic.master.read(0, 1), 0);
  });

  test('an acknowledge without a request answers IR7 and sets no ISR bit', () => {
    raise(4);
    pic.setLine(4, false);
    assert.equal(pic.output, false);
    assert.equal(pic.acknowledge(), 0x37);
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0);
  });

  test('a masked request is kept and delivered when it is unmasked', () => {
    pic.master.write(1, 1, 0x10);
    raise(4);
    assert.equal(pic.output, false);
    pic.master.write(1, 1, 0);
    assert.equal(pic.acknowledge(), 0x34);
  });

  test('edge mode: one request an edge', () => {
    raise(4);
    pic.acknowledge();
    eoiMaster();
    assert.equal(pic.output, false);
    pulse(4);
    assert.equal(pic.output, true);
  });
});

suite('8259A "Fully Nested Mode"', () => {
  test('lower and equal priorities wait for the EOI, higher ones interrupt', () => {
    raise(4);
    pic.acknowledge();
    raise(6);
    pulse(4);
    assert.equal(pic.output, false);
    raise(1);
    assert.equal(pic.acknowledge(), 0x31);
    eoiMaster();
    assert.equal(pic.output, false);
    eoiMaster();
    assert.equal(pic.acknowledge(), 0x34);
    pic.master.write(0, 1, 0x64);
    assert.equal(pic.acknowledge(), 0x36);
  });

  test('cascade: the slave needs two EOIs and ranks as IR2', () => {
    raise(10, 3, 8);
    assert.equal(pic.acknowledge(), 0x38);
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0x04);
    eoiSlave();
    assert.equal(pic.output, false);
    eoiMaster();
    assert.equal(pic.acknowledge(), 0x3a);
    eoiSlave();
    eoiMaster();
    assert.equal(pic.acknowledge(), 0x33);
  });

  test('cascade: a higher slave request right after the acknowledge is not lost', () => {
    raise(12);
    assert.equal(pic.acknowledge(), 0x3c);
    raise(9);
    eoiMaster();
    assert.equal(pic.acknowledge(), 0x39);
  });

  test('"The Special Fully Nested Mode": the slave interrupts itself with a higher request', () => {
    initialize(0x11);
    raise(12);
    pic.acknowledge();
    raise(13);
    assert.equal(pic.output, false);
    raise(8);
    assert.equal(pic.acknowledge(), 0x38);
    raise(3);
    assert.equal(pic.output, false);
  });
});

suite('8259A "End of Interrupt" and rotation', () => {
  test('"Automatic End of Interrupt (AEOI) Mode": nothing stays in service', () => {
    initialize(0x03);
    raise(4);
    assert.equal(pic.acknowledge(), 0x34);
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0);
    raise(6);
    assert.equal(pic.acknowledge(), 0x36);
  });

  test('"Automatic Rotation": rotate on non-specific EOI gives the served level the lowest priority', () => {
    raise(4, 6);
    assert.equal(pic.acknowledge(), 0x34);
    pic.master.write(0, 1, 0xa0);
    pulse(4);
    assert.equal(pic.acknowledge(), 0x36);
    eoiMaster();
    raise(5);
    assert.equal(pic.acknowledge(), 0x35);
  });

  test('"Automatic Rotation" in AEOI mode', () => {
    initialize(0x03);
    pic.master.write(0, 1, 0x80);
    raise(0, 1);
    assert.equal(pic.acknowledge(), 0x30);
    pulse(0);
    assert.equal(pic.acknowledge(), 0x31);
    pic.master.write(0, 1, 0x00);
    assert.equal(pic.acknowledge(), 0x30);
    raise(5);
    pulse(1);
    assert.equal(pic.acknowledge(), 0x35);
  });

  test('"Specific Rotation": set priority, and rotate on specific EOI', () => {
    pic.master.write(0, 1, 0xc5);
    raise(0, 6);
    assert.equal(pic.acknowledge(), 0x36);
    pic.master.write(0, 1, 0xe6);
    pulse(6);
    assert.equal(pic.acknowledge(), 0x30);
  });
});

suite('8259A "Special Mask Mode"', () => {
  test('a masked level in service no longer holds back lower ones, and a non-specific EOI spares it', () => {
    raise(4);
    pic.acknowledge();
    raise(6);
    pic.master.write(1, 1, 0x10);
    assert.equal(pic.output, false);
    pic.master.write(0, 1, 0x68);
    assert.equal(pic.acknowledge(), 0x36);
    eoiMaster();
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0x10);
    pic.master.write(0, 1, 0x48);
    raise(5);
    assert.equal(pic.output, false);
  });
});

suite('8259A "Poll Command"', () => {
  test('a poll acknowledges and answers the level', () => {
    pic.master.write(0, 1, 0x0c);
    assert.equal(pic.master.read(0, 1), 0x00);
    raise(5);
    pic.master.write(0, 1, 0x0c);
    assert.equal(pic.master.read(0, 1), 0x85);
    assert.equal(pic.output, false);
    pic.master.write(0, 1, 0x0b);
    assert.equal(pic.master.read(0, 1), 0x20);
  });
});

suite('PIIX ELCR: edge/level control', () => {
  test('a level-triggered line requests again after the EOI until it falls', () => {
    pic.elcr.write(1, 1, 0x04);
    raise(10);
    assert.equal(pic.acknowledge(), 0x3a);
    eoiSlave();
    eoiMaster();
    assert.equal(pic.acknowledge(), 0x3a);
    pic.setLine(10, false);
    eoiSlave();
    eoiMaster();
    assert.equal(pic.output, false);
  });

  test('the timer, keyboard, cascade, RTC and FPU pins stay edge-triggered', () => {
    pic.elcr.write(0, 1, 0xff);
    pic.elcr.write(1, 1, 0xff);
    assert.equal(pic.elcr.read(0, 1), 0xf8);
    assert.equal(pic.elcr.read(1, 1), 0xde);
  });
});

test('state saved in the middle of an initialization goes on where it was', () => {
  raise(12);
  pic.acknowledge();
  raise(1);
  pic.master.write(0, 1, 0x0b);
  pic.slave.write(0, 1, 0x11);
  const heard: boolean[] = [];
  const other = new Pic8259Pair((asserted) => heard.push(asserted));
  other.restore(structuredClone(pic.save()));
  assert.deepEqual(other.save(), pic.save());
  assert.deepEqual(heard, [true]);
  assert.equal(other.master.read(0, 1), 0x04);
  other.slave.write(1, 1, 0x70);
  other.slave.write(1, 1, 0x02);
  other.slave.write(1, 1, 0x01);
  assert.equal(other.acknowledge(), 0x31);
  assert.throws(() => other.restore({ version: 2 }), { code: 'Internal' });
});

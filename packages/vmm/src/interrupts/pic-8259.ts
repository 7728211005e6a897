/**
 * The PC's pair of 8259A interrupt controllers with the edge/level control registers.
 *
 * Intel 8259A data sheet (order number 231468-003); Intel 82371FB (PIIX) "ELCR" for ports 0x4D0 and 0x4D1.
 *
 * Left out: MCS-80/85 mode and its call instructions; buffered mode (nothing on a PC observes it); cascading other than
 * the PC's, so ICW3 is stored but not acted upon; ICW1's level-triggered mode bit, which a PC's ELCR replaces.
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { bitfield } from '../registers/bitfield.ts';

/** Ports of one 8259A: A0 low and high. */
const PicRegister = { Command: 0, Data: 1 } as const;

/** 8259A "Initialization Command Word 1 (ICW1)": D4 tells it from OCW2 and OCW3. */
const Icw1 = bitfield(8, {
  NeedsIcw4: 0,
  Single: 1,
  CallInterval: 2,
  LevelTriggered: 3,
  IsIcw1: 4,
  VectorAddress: [7, 5],
});

/** 8259A "Initialization Command Word 2 (ICW2)". */
const Icw2 = bitfield(8, { VectorAddress: [2, 0], VectorBase: [7, 3] });

/** 8259A "Initialization Command Word 4 (ICW4)". */
const Icw4 = bitfield(8, {
  Mode8086: 0,
  AutoEoi: 1,
  Buffered: [3, 2],
  SpecialFullyNested: 4,
  Reserved5: [7, 5],
});

/** 8259A "Operation Control Word 2 (OCW2)". */
const Ocw2 = bitfield(8, { Level: [2, 0], Selector: [4, 3], Command: [7, 5] });

/** 8259A "Operation Control Word 2 (OCW2)": R, SL and EOI. */
const Ocw2Command = {
  RotateInAutoEoiClear: 0,
  NonSpecificEoi: 1,
  NoOperation: 2,
  SpecificEoi: 3,
  RotateInAutoEoiSet: 4,
  RotateOnNonSpecificEoi: 5,
  SetPriority: 6,
  RotateOnSpecificEoi: 7,
} as const;
type Ocw2Command = (typeof Ocw2Command)[keyof typeof Ocw2Command];

/** 8259A "Operation Control Word 3 (OCW3)": D3 tells it from OCW2. */
const Ocw3 = bitfield(8, {
  ReadIsr: 0,
  ReadRegister: 1,
  Poll: 2,
  IsOcw3: 3,
  IsIcw1: 4,
  SetSpecialMask: 5,
  EnableSpecialMask: 6,
  Reserved7: 7,
});

/** 8259A "Poll Command": the byte that a poll reads. */
const PollWord = bitfield(8, { Level: [2, 0], Reserved3: [6, 3], Interrupt: 7 });

/** The request that answers an acknowledge cycle when the real one has gone (8259A "Interrupt Sequence"). */
const SpuriousPin = 7;
/** The master's input that the slave drives. */
const CascadePin = 2;
/** Pins whose trigger mode ELCR can set: not the timer, keyboard, cascade, RTC and FPU ones. */
export const ElcrWritable = { master: 0xf8, slave: 0xde } as const;

type InitStep = 'ready' | 'icw2' | 'icw3' | 'icw4';

export interface PicState extends SavedState {
  readonly requests: number;
  readonly inService: number;
  readonly mask: number;
  readonly lines: number;
  readonly levelTriggered: number;
  readonly vectorBase: number;
  readonly cascade: number;
  readonly lowestPin: number;
  readonly initStep: InitStep;
  readonly single: boolean;
  readonly needsIcw4: boolean;
  readonly autoEoi: boolean;
  readonly rotateInAutoEoi: boolean;
  readonly specialMask: boolean;
  readonly specialFullyNested: boolean;
  readonly readIsr: boolean;
  readonly poll: boolean;
}

/** What one 8259A tells the board. */
interface PicOutput {
  /** Anything may have happened to the INT output. */
  changed(): void;
  /** An acknowledge cycle or a poll: INT falls, even if the next request raises it again at once. */
  acknowledged(): void;
}

class Pic8259 implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #output: PicOutput;
  readonly #elcrWritable: number;

  /** IRR. */
  #requests = 0;
  /** ISR. */
  #inService = 0;
  /** IMR. */
  #mask = 0;
  #lines = 0;
  #levelTriggered = 0;
  #vectorBase = 0;
  #cascade = 0;
  /** The pin with the lowest priority; the one after it has the highest. */
  #lowestPin = 7;
  #initStep: InitStep = 'ready';
  #single = false;
  #needsIcw4 = false;
  #autoEoi = false;
  #rotateInAutoEoi = false;
  #specialMask = false;
  #specialFullyNested = false;
  #readIsr = false;
  #poll = false;

  constructor(elcrWritable: number, output: PicOutput) {
    this.#elcrWritable = elcrWritable;
    this.#output = output;
  }

  get vectorBase(): number {
    return this.#vectorBase;
  }

  get levelTriggered(): number {
    return this.#levelTriggered;
  }

  /** Writes this chip's half of ELCR. */
  setLevelTriggered(pins: number): void {
    this.#levelTriggered = pins & this.#elcrWritable;
    this.#requests = (this.#requests & ~this.#levelTriggered) | (this.#lines & this.#levelTriggered);
    this.#output.changed();
  }

  /** Drives an input. An edge request stands while its line stays high (8259A "Interrupt Sequence"). */
  setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    if (((this.#lines & bit) !== 0) === asserted) return;
    this.#lines ^= bit;
    if (asserted) this.#requests |= bit;
    else this.#requests &= ~bit;
    this.#output.changed();
  }

  /** The pin that would be acknowledged now, or -1: the INT output. */
  pendingPin(): number {
    const candidates = this.#requests & ~this.#mask;
    if (candidates === 0) return -1;
    const rank = this.#highestRank(candidates);
    const inService = this.#specialMask ? this.#inService & ~this.#mask : this.#inService;
    if (inService === 0) return this.#pinOfRank(rank);
    const busyRank = this.#highestRank(inService);
    if (rank < busyRank) return this.#pinOfRank(rank);
    // 8259A "The Special Fully Nested Mode": a slave in service does not lock out its own higher requests.
    const nestedSlave = this.#specialFullyNested && rank === busyRank && this.#pinOfRank(rank) === CascadePin;
    return nestedSlave ? CascadePin : -1;
  }

  /** The acknowledge cycle: answers the pin, or -1 when its request has gone (the caller answers IR7). */
  acknowledge(): number {
    const pin = this.pendingPin();
    if (pin === -1) return -1;
    const bit = 1 << pin;
    if ((this.#levelTriggered & bit) === 0) this.#requests &= ~bit;
    if (!this.#autoEoi) this.#inService |= bit;
    else if (this.#rotateInAutoEoi) this.#lowestPin = pin;
    this.#output.acknowledged();
    this.#output.changed();
    return pin;
  }

  read(offset: number): number {
    if (this.#poll) return this.#pollRead();
    if (offset === PicRegister.Data) return this.#mask;
    return this.#readIsr ? this.#inService : this.#requests;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === PicRegister.Command) {
      if (Icw1.IsIcw1.isSet(value)) this.#writeIcw1(value);
      else if (Ocw3.IsOcw3.isSet(value)) this.#writeOcw3(value);
      else this.#writeOcw2(value);
    } else {
      this.#writeData(value);
    }
    this.#output.changed();
  }

  #pollRead(): number {
    this.#poll = false;
    const pin = this.acknowledge();
    return pin === -1 ? 0 : PollWord.of({ Level: pin, Interrupt: 1 });
  }

  /** 8259A "Initialization Command Words (ICWs)": what an ICW1 does by itself. */
  #writeIcw1(value: number): void {
    this.#requests &= this.#levelTriggered;
    this.#inService = 0;
    this.#mask = 0;
    this.#lowestPin = 7;
    this.#rotateInAutoEoi = false;
    this.#specialMask = false;
    this.#readIsr = false;
    this.#poll = false;
    this.#autoEoi = false;
    this.#specialFullyNested = false;
    this.#single = Icw1.Single.isSet(value);
    this.#needsIcw4 = Icw1.NeedsIcw4.isSet(value);
    this.#initStep = 'icw2';
  }

  #writeData(value: number): void {
    switch (this.#initStep) {
      case 'ready':
        this.#mask = value;
        return;
      case 'icw2':
        this.#vectorBase = value & Icw2.VectorBase.mask;
        this.#initStep = this.#single ? this.#afterIcw3() : 'icw3';
        return;
      case 'icw3':
        this.#cascade = value;
        this.#initStep = this.#afterIcw3();
        return;
      case 'icw4':
        this.#autoEoi = Icw4.AutoEoi.isSet(value);
        this.#specialFullyNested = Icw4.SpecialFullyNested.isSet(value);
        this.#initStep = 'ready';
        return;
      default:
        this.#initStep satisfies never;
    }
  }

  #afterIcw3(): InitStep {
    return this.#needsIcw4 ? 'icw4' : 'ready';
  }

  #writeOcw2(value: number): void {
    const command = Ocw2.Command.get(value) as Ocw2Command;
    const level = Ocw2.Level.get(value);
    switch (command) {
      case Ocw2Command.RotateInAutoEoiClear:
        this.#rotateInAutoEoi = false;
        return;
      case Ocw2Command.RotateInAutoEoiSet:
        this.#rotateInAutoEoi = true;
        return;
      case Ocw2Command.NoOperation:
        return;
      case Ocw2Command.SetPriority:
        this.#lowestPin = level;
        return;
      case Ocw2Command.SpecificEoi:
        this.#inService &= ~(1 << level);
        return;
      case Ocw2Command.RotateOnSpecificEoi:
        this.#inService &= ~(1 << level);
        this.#lowestPin = level;
        return;
      case Ocw2Command.NonSpecificEoi:
        this.#nonSpecificEoi();
        return;
      case Ocw2Command.RotateOnNonSpecificEoi:
        this.#lowestPin = this.#nonSpecificEoi() ?? this.#lowestPin;
        return;
      default:
        command satisfies never;
    }
  }

  /** Ends the in-service level of the highest priority, which it answers; masked ones stay in special mask mode. */
  #nonSpecificEoi(): number | undefined {
    const inService = this.#specialMask ? this.#inService & ~this.#mask : this.#inService;
    if (inService === 0) return undefined;
    const pin = this.#pinOfRank(this.#highestRank(inService));
    this.#inService &= ~(1 << pin);
    return pin;
  }

  #writeOcw3(value: number): void {
    if (Ocw3.Poll.isSet(value)) this.#poll = true;
    else if (Ocw3.ReadRegister.isSet(value)) this.#readIsr = Ocw3.ReadIsr.isSet(value);
    if (Ocw3.EnableSpecialMask.isSet(value)) this.#specialMask = Ocw3.SetSpecialMask.isSet(value);
  }

  /** 0 for the highest priority to 7 for the lowest, of the first among `pins`. */
  #highestRank(pins: number): number {
    const first = this.#lowestPin + 1;
    const rotated = ((pins >>> (first & 7)) | (pins << (8 - (first & 7)))) & 0xff;
    return 31 - Math.clz32(rotated & -rotated);
  }

  #pinOfRank(rank: number): number {
    return (this.#lowestPin + 1 + rank) & 7;
  }

  save(): PicState {
    return {
      version: 1,
      requests: this.#requests,
      inService: this.#inService,
      mask: this.#mask,
      lines: this.#lines,
      levelTriggered: this.#levelTriggered,
      vectorBase: this.#vectorBase,
      cascade: this.#cascade,
      lowestPin: this.#lowestPin,
      initStep: this.#initStep,
      single: this.#single,
      needsIcw4: this.#needsIcw4,
      autoEoi: this.#autoEoi,
      rotateInAutoEoi: this.#rotateInAutoEoi,
      specialMask: this.#specialMask,
      specialFullyNested: this.#specialFullyNested,
      readIsr: this.#readIsr,
      poll: this.#poll,
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'pic-8259');
    const state = saved as PicState;
    this.#requests = state.requests;
    this.#inService = state.inService;
    this.#mask = state.mask;
    this.#lines = state.lines;
    this.#levelTriggered = state.levelTriggered;
    this.#vectorBase = state.vectorBase;
    this.#cascade = state.cascade;
    this.#lowestPin = state.lowestPin;
    this.#initStep = state.initStep;
    this.#single = state.single;
    this.#needsIcw4 = state.needsIcw4;
    this.#autoEoi = state.autoEoi;
    this.#rotateInAutoEoi = state.rotateInAutoEoi;
    this.#specialMask = state.specialMask;
    this.#specialFullyNested = state.specialFullyNested;
    this.#readIsr = state.readIsr;
    this.#poll = state.poll;
  }
}

export interface PicPairState extends SavedState {
  readonly master: PicState;
  readonly slave: PicState;
}

/** Master and slave: IRQ 0 to 7 on the master, 8 to 15 on the slave, which drives the master's IR2. */
export class Pic8259Pair implements Saveable {
  readonly #master: Pic8259;
  readonly #slave: Pic8259;
  readonly #outputChanged: (asserted: boolean) => void;
  #output = false;

  /** Ports 0x20 and 0x21. */
  readonly master: BusDevice;
  /** Ports 0xA0 and 0xA1. */
  readonly slave: BusDevice;
  /** Ports 0x4D0 and 0x4D1: edge/level control. */
  readonly elcr: BusDevice = {
    maxAccess: 1,
    read: (offset) => this.#chip(offset).levelTriggered,
    write: (offset, _size, value) => this.#chip(offset).setLevelTriggered(value),
  };

  /** `outputChanged` hears each change of the master's INT output. */
  constructor(outputChanged: (asserted: boolean) => void = () => {}) {
    this.#outputChanged = outputChanged;
    this.#master = new Pic8259(ElcrWritable.master, { changed: () => this.#updateOutput(), acknowledged() {} });
    this.#slave = new Pic8259(ElcrWritable.slave, {
      changed: () => this.#master.setLine(CascadePin, this.#slave.pendingPin() !== -1),
      acknowledged: () => this.#master.setLine(CascadePin, false),
    });
    this.master = this.#master;
    this.slave = this.#slave;
  }

  /** The master's INT output. */
  get output(): boolean {
    return this.#output;
  }

  /** Drives IRQ 0 to 15. IRQ 2 is the cascade and has no line. */
  setLine(irq: number, asserted: boolean): void {
    if (irq === CascadePin) return;
    this.#chip(irq >> 3).setLine(irq & 7, asserted);
  }

  /** The processor's acknowledge cycle: answers a vector, IRQ 7's or 15's when the request has gone. */
  acknowledge(): number {
    const pin = this.#master.acknowledge();
    if (pin === -1) return this.#master.vectorBase + SpuriousPin;
    if (pin !== CascadePin) return this.#master.vectorBase + pin;
    const slavePin = this.#slave.acknowledge();
    return this.#slave.vectorBase + (slavePin === -1 ? SpuriousPin : slavePin);
  }

  save(): PicPairState {
    return { version: 1, master: this.#master.save(), slave: this.#slave.save() };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'pic-8259 pair');
    const state = saved as PicPairState;
    this.#slave.restore(state.slave);
    this.#master.restore(state.master);
    // Engines differ in whether the cascade is a level or a pulse
    this.#master.setLine(CascadePin, this.#slave.pendingPin() !== -1);
    this.#updateOutput();
  }

  #chip(index: number): Pic8259 {
    return index === 0 ? this.#master : this.#slave;
  }

  #updateOutput(): void {
    const output = this.#master.pendingPin() !== -1;
    if (output === this.#output) return;
    this.#output = output;
    this.#outputChanged(output);
  }
}

/**
 * The interrupt controllers and the timer of a machine, wired as a PC's: the counterpart of KVM's in-kernel irqchip and
 * PIT. An engine without such help owns one of these and answers the accesses that belong to it without an exit.
 *
 * - Lines 0 to 15 reach the 8259A pair and the IOAPIC, 16 to 23 the IOAPIC only.
 * - The PIT drives IRQ 0 of the 8259A and pin 2 of the IOAPIC, as the MADT's interrupt source override says.
 * - The 8259A's INT output is LINT0 of every local APIC.
 *
 * Everything here runs on the thread that owns the vCPUs. Messages from other threads are carried there first.
 */
import { PioBus } from '../bus/pio-bus.ts';
import { Pit8254 } from '../devices/pit-8254.ts';
import type { PitState } from '../devices/pit-8254.ts';
import { SpeakerPort } from '../devices/speaker-port.ts';
import type { SpeakerPortState } from '../devices/speaker-port.ts';
import { Gsi, PhysicalMap, PortMap } from '../machine/memory-map.ts';
import { bitfield } from '../registers/bitfield.ts';
import type { Clock, TimerQueue } from '../time/clock.ts';
import { TscRate } from '../time/tsc-rate.ts';
import { ApicBus } from './apic-bus.ts';
import type { InterruptLine, MsiSink } from './interrupt-line.ts';
import { DeliveryMode, widenDestination } from './interrupt-message.ts';
import type { InterruptMessage, VcpuEvent } from './interrupt-message.ts';
import { IoApic, IoApicPinCount } from './ioapic.ts';
import type { IoApicState } from './ioapic.ts';
import { readXApic, writeXApic } from './local-apic-interface.ts';
import { LocalApic } from './local-apic.ts';
import type { LocalApicWiring } from './local-apic.ts';
import { Pic8259Pair } from './pic-8259.ts';
import type { PicPairState } from './pic-8259.ts';

export interface IrqChipOptions {
  /** Local APICs 0 to `vcpus` - 1; a vCPU's number is its APIC ID. */
  readonly vcpus: number;
  readonly clock: Clock;
  readonly timers: TimerQueue;
  /** Of the vCPUs' TSCs; 1 GHz when absent. */
  readonly tsc?: TscRate;
  /**
   * `interrupt`: {@link IrqChip.pendingInterrupt} turned true. `init` and `sipi`: the local APIC has done its part
   * already. Called from within any method here; it must not call back but set flags.
   */
  onVcpuEvent(vcpu: number, event: VcpuEvent): void;
}

/** SDM Vol. 3A "Message Address Register Format". */
const MsiAddress = bitfield(32, {
  Reserved0: [1, 0],
  Logical: 2,
  RedirectionHint: 3,
  Reserved4: [11, 4],
  Destination: [19, 12],
  Window: [31, 20],
});
/** What `MsiAddress.Window` must hold for a write to be an interrupt. */
const MsiWindow = 0xfee;

/** SDM Vol. 3A "Message Data Register Format". */
const MsiData = bitfield(32, {
  Vector: [7, 0],
  DeliveryMode: [10, 8],
  Reserved11: [13, 11],
  Assert: 14,
  LevelTriggered: 15,
  Reserved16: [31, 16],
});

/** Lines below this one reach the 8259A pair too. */
const PicLineCount = 16;
/** The PIT's line at the 8259A. */
const PitIrq = 0;

/** Everything but the local APICs, which belong to the vCPUs' states. */
export interface IrqChipState {
  readonly pic: PicPairState;
  readonly ioapic: IoApicState;
  readonly pit: PitState;
  readonly speaker: SpeakerPortState;
}

export class IrqChip implements MsiSink {
  readonly pic: Pic8259Pair;
  readonly ioapic: IoApic;
  readonly pit: Pit8254;
  readonly speaker: SpeakerPort;
  readonly #apics: readonly LocalApic[];
  readonly #bus: ApicBus;
  readonly #ports = new PioBus();
  readonly #onVcpuEvent: IrqChipOptions['onVcpuEvent'];
  /** 1 for each vCPU with an interrupt to take, kept up to date by whatever changes it. */
  readonly #pending: Uint8Array;
  /** How many sources assert each line: lines are shared, wired-or. */
  readonly #asserted = new Uint32Array(IoApicPinCount);

  constructor(options: IrqChipOptions) {
    const { clock, timers, tsc = new TscRate() } = options;
    this.#onVcpuEvent = options.onVcpuEvent;
    this.#pending = new Uint8Array(options.vcpus);
    const deliver = (message: InterruptMessage): boolean => this.#bus.deliver(message);
    this.pic = new Pic8259Pair((asserted) => this.#picOutputChanged(asserted));
    this.ioapic = new IoApic(deliver);
    const wiring: LocalApicWiring = {
      clock,
      timers,
      tsc,
      sendIpi: (source, message, shorthand) => this.#bus.sendIpi(source, message, shorthand),
      broadcastEndOfInterrupt: (vector) => this.ioapic.endOfInterrupt(vector),
      requestChanged: (apic) => this.#update(apic),
      event: (apic, event) => this.#onVcpuEvent(apic.id, event),
    };
    this.#apics = Array.from(
      { length: options.vcpus },
      (_, id) => new LocalApic(id, PhysicalMap.LocalApic.start, wiring),
    );
    this.#bus = new ApicBus(this.#apics);
    this.pit = new Pit8254(clock, timers, this.interruptLine(Gsi.PitTimer));
    this.speaker = new SpeakerPort(this.pit, clock);
    this.#ports.attach(PortMap.Pic1, this.pic.master);
    this.#ports.attach(PortMap.Pic2, this.pic.slave);
    this.#ports.attach(PortMap.Elcr, this.pic.elcr);
    this.#ports.attach(PortMap.Pit, this.pit);
    this.#ports.attach(PortMap.SpeakerControl, this.speaker);
  }

  // Interrupts from devices.

  /**
   * A new source on the line of global system interrupt `gsi`. Sources that share a line are wired together: it is
   * asserted while any of them is. After a restore, devices drive their lines anew.
   */
  interruptLine(gsi: number): InterruptLine {
    let mine = false;
    return {
      setLevel: (asserted) => {
        if (asserted === mine) return;
        mine = asserted;
        this.#asserted[gsi]! += asserted ? 1 : -1;
        this.#setLine(gsi, this.#asserted[gsi] !== 0);
      },
    };
  }

  /** SDM Vol. 3A "Message Signalled Interrupts". Writes elsewhere than to 0xFEEx_xxxx are dropped. */
  signalMsi(address: number, data: number): void {
    if (address > 0xffff_ffff || MsiAddress.Window.get(address) !== MsiWindow) return;
    const levelTriggered = MsiData.LevelTriggered.isSet(data);
    if (levelTriggered && !MsiData.Assert.isSet(data)) return;
    const logical = MsiAddress.Logical.isSet(address);
    const deliveryMode = MsiData.DeliveryMode.get(data) as DeliveryMode;
    const redirected = MsiAddress.RedirectionHint.isSet(address) && logical && deliveryMode === DeliveryMode.Fixed;
    this.#bus.deliver({
      vector: MsiData.Vector.get(data),
      deliveryMode: redirected ? DeliveryMode.LowestPriority : deliveryMode,
      levelTriggered,
      logical,
      destination: widenDestination(MsiAddress.Destination.get(address)),
    });
  }

  // Interrupts to vCPUs.

  /** True when the vCPU has an interrupt to take, if its RFLAGS.IF and shadow allow. */
  pendingInterrupt(vcpu: number): boolean {
    return this.#pending[vcpu] !== 0;
  }

  /** The vCPU takes its interrupt: answers the vector, or -1 when there is none any more. */
  acknowledge(vcpu: number): number {
    const apic = this.apic(vcpu);
    if (this.pic.output && apic.acceptsExtInt) return this.pic.acknowledge();
    return apic.acknowledge();
  }

  /** EOI by other means than a register: PV EOI. See {@link LocalApic.endOfInterruptIsQuiet}. */
  endOfInterrupt(vcpu: number): void {
    this.apic(vcpu).endOfInterrupt();
  }

  apic(vcpu: number): LocalApic {
    return this.#apics[vcpu]!;
  }

  /** CR8: SDM Vol. 3A "Task Priority in IA-32e Mode". */
  cr8(vcpu: number): number {
    return this.apic(vcpu).taskPriority >> 4;
  }

  /** False is #GP. */
  setCr8(vcpu: number, value: number): boolean {
    if (value < 0 || value > 0xf) return false;
    this.apic(vcpu).taskPriority = value << 4;
    return true;
  }

  // Registers.

  /** Reads a port; undefined when it belongs to somebody else. */
  readPort(port: number, size: 1 | 2 | 4): number | undefined {
    return this.#ports.has(port, size) ? this.#ports.read(port, size) : undefined;
  }

  /** Writes a port; false when it belongs to somebody else. */
  writePort(port: number, size: 1 | 2 | 4, value: number): boolean {
    if (!this.#ports.has(port, size)) return false;
    this.#ports.write(port, size, value);
    return true;
  }

  /** Reads memory-mapped registers as `vcpu` sees them; undefined when they belong to somebody else. */
  readMmio(vcpu: number, address: number, size: 1 | 2 | 4): number | undefined {
    const apic = this.apic(vcpu);
    if (isXApicAddress(apic, address)) return readXApic(apic, address - apic.baseAddress, size);
    if (!isIoApicAddress(address)) return undefined;
    return this.ioapic.read(address - PhysicalMap.IoApic.start);
  }

  /** Writes memory-mapped registers; false when they belong to somebody else. */
  writeMmio(vcpu: number, address: number, size: 1 | 2 | 4, value: number): boolean {
    const apic = this.apic(vcpu);
    if (isXApicAddress(apic, address)) writeXApic(apic, address - apic.baseAddress, size, value);
    else if (isIoApicAddress(address)) this.ioapic.write(address - PhysicalMap.IoApic.start, size, value);
    else return false;
    return true;
  }

  #setLine(gsi: number, asserted: boolean): void {
    if (gsi === Gsi.PitTimer) this.pic.setLine(PitIrq, asserted);
    else if (gsi < PicLineCount) this.pic.setLine(gsi, asserted);
    this.ioapic.setLine(gsi, asserted);
  }

  #picOutputChanged(asserted: boolean): void {
    for (const apic of this.#apics) {
      apic.setLint0(asserted);
      this.#update(apic);
    }
  }

  #update(apic: LocalApic): void {
    const pending = apic.request !== -1 || (this.pic.output && apic.acceptsExtInt) ? 1 : 0;
    if (this.#pending[apic.id] === pending) return;
    this.#pending[apic.id] = pending;
    if (pending) this.#onVcpuEvent(apic.id, 'interrupt');
  }

  save(): IrqChipState {
    return {
      pic: this.pic.save(),
      ioapic: this.ioapic.save(),
      pit: this.pit.save(),
      speaker: this.speaker.save(),
    };
  }

  /** Before the local APICs. Devices may have driven their lines before, or do it anew afterwards. */
  restore(state: IrqChipState): void {
    // The PIT drives its line; what came of that is part of the others' state
    this.pit.restore(state.pit);
    this.speaker.restore(state.speaker);
    this.ioapic.restore(state.ioapic);
    this.pic.restore(state.pic);
    for (const apic of this.#apics) this.#update(apic);
  }
}

function isXApicAddress(apic: LocalApic, address: number): boolean {
  const offset = address - apic.baseAddress;
  return offset >= 0 && offset < PhysicalMap.LocalApic.size && apic.mode === 'xapic';
}

function isIoApicAddress(address: number): boolean {
  const offset = address - PhysicalMap.IoApic.start;
  return offset >= 0 && offset < PhysicalMap.IoApic.size;
}

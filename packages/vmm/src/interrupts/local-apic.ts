/**
 * A local APIC with its xAPIC (MMIO) and x2APIC (MSR) interfaces.
 *
 * SDM Vol. 3A "Advanced Programmable Interrupt Controller (APIC)".
 *
 * Left out: SMIs (the machine has no SMM; they are accepted and dropped), CMCI and suppression of EOI broadcasts (not
 * advertised in the version register, as in KVM), performance-counter and thermal interrupts (their LVT entries hold
 * values, nothing fires them), level-triggered LINT pins, remote read, a writable APIC ID.
 */
import type { SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import type { Clock, TimerQueue } from '../time/clock.ts';
import type { TscRate } from '../time/tsc-rate.ts';
import { BroadcastDestination, DeliveryMode } from './interrupt-message.ts';
import type { InterruptMessage, VcpuEvent } from './interrupt-message.ts';
import { LocalApicTimer } from './local-apic-timer.ts';
import type { LocalApicTimerState } from './local-apic-timer.ts';
import {
  ApicBase,
  DestinationFormat,
  DestinationModel,
  ErrorStatus,
  FirstLegalVector,
  InterruptCommand,
  Lvt,
  SpuriousVector,
  X2ApicLogicalId,
  XApicTopByte,
} from './local-apic-registers.ts';
import type { Shorthand } from './local-apic-registers.ts';
import { VectorSet } from './vector-set.ts';

/** What a local APIC needs of the machine around it. */
export interface LocalApicWiring {
  readonly clock: Clock;
  readonly timers: TimerQueue;
  readonly tsc: TscRate;
  /** Sends an IPI. `shorthand` other than None replaces the message's destination. */
  sendIpi(source: LocalApic, message: InterruptMessage, shorthand: Shorthand): void;
  /** A level-triggered interrupt ended: SDM Vol. 3A "Signaling Interrupt Servicing Completion". */
  broadcastEndOfInterrupt(vector: number): void;
  /** `request` or the acceptance of ExtINT may have changed. */
  requestChanged(apic: LocalApic): void;
  event(apic: LocalApic, event: Exclude<VcpuEvent, 'interrupt'>): void;
}

export type LocalApicMode = 'disabled' | 'xapic' | 'x2apic';

/** The LVT entries but the timer's, which the timer owns. */
export type LvtName = 'thermal' | 'performance' | 'lint0' | 'lint1' | 'error';

/** SDM Vol. 3A "Local APIC State After Power-Up or Reset". */
const SpuriousVectorReset = 0xff;
const DestinationFormatReset = 0xffff_ffff;
const PriorityClass = 0xf0;

const maskedLvts = (): Record<LvtName, number> => ({
  thermal: Lvt.Mask.mask,
  performance: Lvt.Mask.mask,
  lint0: Lvt.Mask.mask,
  lint1: Lvt.Mask.mask,
  error: Lvt.Mask.mask,
});

/** The registers as values, not as the interfaces lay them out. IA32_APIC_BASE is kept apart. */
export interface LocalApicState extends SavedState {
  readonly id: number;
  readonly taskPriority: number;
  readonly logicalDestination: number;
  readonly destinationFormat: number;
  readonly spuriousVector: number;
  /** What ESR shows, and the errors since it was last written. */
  readonly errorStatus: number;
  readonly pendingErrors: number;
  readonly commandLow: number;
  readonly commandHigh: number;
  readonly lvt: Readonly<Record<LvtName | 'timer', number>> & { readonly cmci?: number };
  /** IRR, ISR, TMR: eight words of 32 vectors each. */
  readonly requests: readonly number[];
  readonly inService: readonly number[];
  readonly triggerMode: readonly number[];
  readonly timer: LocalApicTimerState;
}

export class LocalApic {
  readonly id: number;
  readonly timer: LocalApicTimer;
  /** IRR, ISR and TMR. Read them freely; they change through this class only. */
  readonly requests = new VectorSet();
  readonly inService = new VectorSet();
  readonly triggerMode = new VectorSet();
  readonly #wiring: LocalApicWiring;

  #apicBase: bigint;
  #mode: LocalApicMode = 'xapic';
  #request = -1;
  #taskPriority = 0;
  /** The xAPIC's; an x2APIC derives it. */
  #logicalDestination = 0;
  #destinationFormat = DestinationFormatReset;
  #spuriousVector = SpuriousVectorReset;
  /** What ESR shows, and the errors since it was last written. */
  #errorStatus = 0;
  #pendingErrors = 0;
  #commandLow = 0;
  #commandHigh = 0;
  #lvt = maskedLvts();
  #lint0Level = false;
  /** An LVT entry of another engine that does nothing here. */
  #kept: { readonly cmci?: number } = {};

  /**
   * `base`: the physical address of the registers. The bootstrap processor's LINT0 starts as the virtual wire to the
   * 8259A, which firmware would have set up (and KVM does): kernels that know no APIC get their interrupts through it.
   */
  constructor(id: number, base: number, wiring: LocalApicWiring) {
    this.id = id;
    this.#wiring = wiring;
    const bootstrap = id === 0;
    this.#apicBase = ApicBase.of({ Bootstrap: bootstrap, Enable: 1 }) | BigInt(base);
    this.timer = new LocalApicTimer(wiring.clock, wiring.timers, wiring.tsc, (vector) =>
      this.#acceptVector(vector, false),
    );
    if (bootstrap) this.#lvt.lint0 = Lvt.of({ DeliveryMode: DeliveryMode.ExtInt });
  }

  get mode(): LocalApicMode {
    return this.#mode;
  }

  /** Where the xAPIC's registers are. */
  get baseAddress(): number {
    return Number(this.#apicBase & ApicBase.Page.mask);
  }

  /** IA32_APIC_BASE. */
  get apicBase(): bigint {
    return this.#apicBase;
  }

  /** Writes IA32_APIC_BASE; false is #GP. SDM Vol. 3A "x2APIC State Transitions". */
  setApicBase(value: bigint): boolean {
    if ((value & (ApicBase.Reserved0.mask | ApicBase.Reserved9.mask | ApicBase.Reserved52.mask)) !== 0n) return false;
    const enable = ApicBase.Enable.isSet(value);
    const x2apic = ApicBase.X2Apic.isSet(value);
    if (x2apic && !enable) return false;
    const mode: LocalApicMode = !enable ? 'disabled' : x2apic ? 'x2apic' : 'xapic';
    if (mode === 'x2apic' && this.#mode === 'disabled') return false;
    if (mode === 'xapic' && this.#mode === 'x2apic') return false;
    this.#apicBase = value;
    if (mode === this.#mode) return true;
    this.#mode = mode;
    if (mode === 'disabled') this.reset();
    if (mode === 'x2apic') this.#commandHigh = 0;
    this.#evaluate();
    return true;
  }

  /** SDM Vol. 3A "Local APIC State After It Receives an INIT Reset": all but its identifier and IA32_APIC_BASE. */
  reset(): void {
    this.requests.clear();
    this.inService.clear();
    this.triggerMode.clear();
    this.timer.reset();
    this.#taskPriority = 0;
    this.#logicalDestination = 0;
    this.#destinationFormat = DestinationFormatReset;
    this.#spuriousVector = SpuriousVectorReset;
    this.#errorStatus = 0;
    this.#pendingErrors = 0;
    this.#commandLow = 0;
    this.#commandHigh = 0;
    this.#lvt = maskedLvts();
    this.#evaluate();
  }

  // Interrupts to the processor.

  /** The vector that the processor would take now, or -1: the highest request above the processor's priority. */
  get request(): number {
    return this.#request;
  }

  /** The processor takes {@link request}: moves it into service. -1 when there is none. */
  acknowledge(): number {
    const vector = this.#request;
    if (vector === -1) return -1;
    this.requests.delete(vector);
    this.inService.add(vector);
    this.#evaluate();
    return vector;
  }

  /** Ends the highest interrupt in service. */
  endOfInterrupt(): void {
    const vector = this.inService.highest;
    if (vector === -1) return;
    this.inService.delete(vector);
    this.#evaluate();
    if (this.triggerMode.has(vector)) this.#wiring.broadcastEndOfInterrupt(vector);
  }

  /**
   * True when ending the interrupt in service would do nothing but clear its ISR bit: no other request or service waits
   * for it and no IOAPIC does. The condition for the PV EOI flag (Linux Documentation/virt/kvm/x86/msr.rst,
   * "MSR_KVM_PV_EOI_EN"), whose owner calls {@link endOfInterrupt} later when it sees that the guest cleared the flag.
   */
  get endOfInterruptIsQuiet(): boolean {
    const vector = this.inService.highest;
    return vector !== -1 && this.requests.highest === -1 && !this.triggerMode.has(vector);
  }

  /** True when the 8259A's INT output reaches the processor: LINT0 as ExtINT, or no APIC in the way. */
  get acceptsExtInt(): boolean {
    if (this.#mode === 'disabled') return true;
    return !Lvt.Mask.isSet(this.#lvt.lint0) && Lvt.DeliveryMode.get(this.#lvt.lint0) === DeliveryMode.ExtInt;
  }

  /** Drives LINT0, the 8259A's INT output. ExtINT is the owner's business: see {@link acceptsExtInt}. */
  setLint0(asserted: boolean): void {
    const rises = asserted && !this.#lint0Level;
    this.#lint0Level = asserted;
    if (!rises || this.#mode === 'disabled' || Lvt.Mask.isSet(this.#lvt.lint0)) return;
    const deliveryMode = Lvt.DeliveryMode.get(this.#lvt.lint0);
    if (deliveryMode === DeliveryMode.Fixed) this.#acceptVector(Lvt.Vector.get(this.#lvt.lint0), false);
    else if (deliveryMode === DeliveryMode.Nmi) this.#wiring.event(this, 'nmi');
  }

  // Interrupts from the bus.

  /** SDM Vol. 3A "Determining IPI Destination". */
  matches(destination: number, logical: boolean): boolean {
    if (this.#mode === 'disabled') return false;
    if (destination === BroadcastDestination) return true;
    if (!logical) return destination === this.id;
    const mine = this.logicalDestination;
    if (this.#mode === 'x2apic') {
      const sameCluster = X2ApicLogicalId.Cluster.get(mine) === X2ApicLogicalId.Cluster.get(destination);
      return sameCluster && (mine & destination & X2ApicLogicalId.Members.mask) !== 0;
    }
    const logicalId = XApicTopByte.Value.get(mine);
    if (DestinationFormat.Model.get(this.#destinationFormat) === DestinationModel.Flat) {
      return (logicalId & destination) !== 0;
    }
    return logicalId >> 4 === ((destination >> 4) & 0xf) && (logicalId & destination & 0xf) !== 0;
  }

  /** Takes a message that is meant for this APIC; false when it does not accept it. */
  accept(message: InterruptMessage): boolean {
    if (this.#mode === 'disabled') return false;
    const mode = message.deliveryMode;
    switch (mode) {
      case DeliveryMode.Fixed:
      case DeliveryMode.LowestPriority:
        return this.#acceptVector(message.vector, message.levelTriggered);
      case DeliveryMode.Nmi:
        this.#wiring.event(this, 'nmi');
        return true;
      case DeliveryMode.Init:
        this.reset();
        this.#wiring.event(this, 'init');
        return true;
      case DeliveryMode.StartUp:
        this.#wiring.event(this, { sipi: message.vector });
        return true;
      case DeliveryMode.ExtInt:
      case DeliveryMode.Smi:
      case DeliveryMode.Reserved:
        return true;
      default:
        return mode satisfies never;
    }
  }

  /** True while it takes fixed interrupts: hardware and software enabled. */
  get enabled(): boolean {
    return this.#mode !== 'disabled' && SpuriousVector.SoftwareEnable.isSet(this.#spuriousVector);
  }

  /** SDM Vol. 3A "Lowest Priority Delivery Mode": the focus processor already has the vector pending or in service. */
  isFocusFor(vector: number): boolean {
    if (SpuriousVector.FocusDisable.isSet(this.#spuriousVector)) return false;
    return this.requests.has(vector) || this.inService.has(vector);
  }

  // Registers.

  get taskPriority(): number {
    return this.#taskPriority;
  }

  set taskPriority(value: number) {
    this.#taskPriority = value & 0xff;
    this.#evaluate();
  }

  /** SDM Vol. 3A "Task and Processor Priorities". */
  get processorPriority(): number {
    const serviceClass = this.inService.highest === -1 ? 0 : this.inService.highest & PriorityClass;
    return (this.#taskPriority & PriorityClass) >= serviceClass ? this.#taskPriority : serviceClass;
  }

  /** SDM Vol. 3A "Logical Destination Mode in x2APIC Mode": derived from the identifier there. */
  get logicalDestination(): number {
    if (this.#mode !== 'x2apic') return this.#logicalDestination;
    return X2ApicLogicalId.of({ Cluster: this.id >> 4, Members: 1 << (this.id & 0xf) });
  }

  set logicalDestination(value: number) {
    this.#logicalDestination = (value & XApicTopByte.Value.mask) >>> 0;
  }

  get destinationFormat(): number {
    return this.#destinationFormat;
  }

  set destinationFormat(value: number) {
    this.#destinationFormat = (value | DestinationFormat.Reserved0.mask) >>> 0;
  }

  get spuriousVector(): number {
    return this.#spuriousVector;
  }

  /** SDM Vol. 3A "Local APIC State After It Has Been Software Disabled": masks every LVT entry. */
  set spuriousVector(value: number) {
    const { Vector, SoftwareEnable, FocusDisable } = SpuriousVector;
    this.#spuriousVector = value & (Vector.mask | SoftwareEnable.mask | FocusDisable.mask);
    if (SoftwareEnable.isSet(value)) return;
    this.timer.lvt |= Lvt.Mask.mask;
    for (const name of Object.keys(this.#lvt) as LvtName[]) this.#lvt[name] |= Lvt.Mask.mask;
    this.#wiring.requestChanged(this);
  }

  get errorStatus(): number {
    return this.#errorStatus;
  }

  /** SDM Vol. 3A "Error Handling": a write shows the errors since the write before. */
  latchErrors(): void {
    this.#errorStatus = this.#pendingErrors;
    this.#pendingErrors = 0;
  }

  get commandLow(): number {
    return this.#commandLow;
  }

  get commandHigh(): number {
    return this.#commandHigh;
  }

  set commandHigh(value: number) {
    this.#commandHigh = value;
  }

  lvt(name: LvtName): number {
    return this.#lvt[name];
  }

  setLvt(name: LvtName, value: number): void {
    this.#lvt[name] = this.#maskWhenDisabled(value);
    this.#wiring.requestChanged(this);
  }

  setTimerLvt(value: number): void {
    this.timer.lvt = this.#maskWhenDisabled(value);
  }

  /** A write of ICR: SDM Vol. 3A "Issuing Interprocessor Interrupts". `destination` is 32 bits, all ones for all. */
  sendIpi(command: number, destination: number): void {
    this.#commandLow = InterruptCommand.DeliveryStatus.set(command, 0);
    const deliveryMode = InterruptCommand.DeliveryMode.get(command) as DeliveryMode;
    const vector = InterruptCommand.Vector.get(command);
    const vectored = deliveryMode === DeliveryMode.Fixed || deliveryMode === DeliveryMode.LowestPriority;
    if (vectored && vector < FirstLegalVector) {
      this.#raiseError(ErrorStatus.SendIllegalVector.mask);
      return;
    }
    if (deliveryMode === DeliveryMode.Reserved || deliveryMode === DeliveryMode.ExtInt) return;
    const deassert = InterruptCommand.LevelTriggered.isSet(command) && !InterruptCommand.Assert.isSet(command);
    if (deliveryMode === DeliveryMode.Init && deassert) return;
    const logical = InterruptCommand.Logical.isSet(command);
    const message = { vector, deliveryMode, levelTriggered: false, logical, destination };
    this.#wiring.sendIpi(this, message, InterruptCommand.Shorthand.get(command) as Shorthand);
  }

  /** SDM Vol. 3A "SELF IPI Register": a fixed edge-triggered interrupt to this processor. */
  sendSelfIpi(vector: number): void {
    if (vector < FirstLegalVector) this.#raiseError(ErrorStatus.SendIllegalVector.mask);
    else this.#acceptVector(vector, false);
  }

  /** An access to a register that does not exist. */
  reportIllegalRegister(): void {
    this.#raiseError(ErrorStatus.IllegalRegisterAddress.mask);
  }

  #maskWhenDisabled(lvt: number): number {
    return SpuriousVector.SoftwareEnable.isSet(this.#spuriousVector) ? lvt : lvt | Lvt.Mask.mask;
  }

  #acceptVector(vector: number, levelTriggered: boolean): boolean {
    if (!this.enabled) return false;
    if (vector < FirstLegalVector) {
      this.#raiseError(ErrorStatus.ReceivedIllegalVector.mask);
      return false;
    }
    this.requests.add(vector);
    if (levelTriggered) this.triggerMode.add(vector);
    else this.triggerMode.delete(vector);
    this.#evaluate();
    return true;
  }

  #raiseError(error: number): void {
    const known = (this.#pendingErrors & error) !== 0;
    this.#pendingErrors |= error;
    // A known error does not interrupt again: an LVT error entry with an illegal vector would do so for ever.
    if (!known && !Lvt.Mask.isSet(this.#lvt.error)) this.#acceptVector(Lvt.Vector.get(this.#lvt.error), false);
  }

  #evaluate(): void {
    const highest = this.requests.highest;
    const request =
      highest !== -1 && (highest & PriorityClass) > (this.processorPriority & PriorityClass) ? highest : -1;
    this.#request = request;
    this.#wiring.requestChanged(this);
  }

  save(): LocalApicState {
    // First: looking at the timer may end its cycle
    const timer = this.timer.save();
    return {
      version: 1,
      id: this.id,
      taskPriority: this.#taskPriority,
      logicalDestination: this.logicalDestination,
      destinationFormat: this.#destinationFormat,
      spuriousVector: this.#spuriousVector,
      errorStatus: this.#errorStatus,
      pendingErrors: this.#pendingErrors,
      commandLow: this.#commandLow,
      commandHigh: this.#commandHigh,
      lvt: { ...this.#lvt, timer: this.timer.lvt, ...this.#kept },
      requests: this.requests.save(),
      inService: this.inService.save(),
      triggerMode: this.triggerMode.save(),
      timer,
    };
  }

  /**
   * Takes everything over, IA32_APIC_BASE first. The 8259A's output stays as it is: it is restored before. A deadline of
   * the TSC is set afterwards.
   */
  restore(saved: SavedState, apicBase: bigint): void {
    requireVersion(saved, 1, 'local-apic');
    const state = saved as LocalApicState;
    this.#forceApicBase(apicBase);
    this.#taskPriority = state.taskPriority;
    this.#logicalDestination = state.logicalDestination;
    this.#destinationFormat = state.destinationFormat;
    this.#spuriousVector = state.spuriousVector;
    this.#errorStatus = state.errorStatus;
    this.#pendingErrors = state.pendingErrors;
    this.#commandLow = state.commandLow;
    this.#commandHigh = state.commandHigh;
    const { timer, cmci, ...lvt } = state.lvt;
    this.#lvt = lvt;
    this.#kept = cmci === undefined ? {} : { cmci };
    this.requests.restore(state.requests);
    this.inService.restore(state.inService);
    this.triggerMode.restore(state.triggerMode);
    this.timer.restore(timer, state.timer);
    this.#evaluate();
  }

  /** Without the rules for transitions that software must follow. */
  #forceApicBase(value: bigint): void {
    this.#apicBase = value;
    this.#mode = !ApicBase.Enable.isSet(value) ? 'disabled' : ApicBase.X2Apic.isSet(value) ? 'x2apic' : 'xapic';
  }
}

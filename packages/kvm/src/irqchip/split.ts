/**
 * The local APICs in the kernel, the PICs, the IOAPIC and the PIT here: KVM API documentation 7.5
 * "KVM_CAP_SPLIT_IRQCHIP". Less of the host's kernel is then within a guest's reach.
 *
 * - An IOAPIC pin sends its message by KVM_SIGNAL_MSI. KVM has the messages of the pins as routes too: by them it knows
 *   which vectors are level-triggered, and leaves KVM_RUN with KVM_EXIT_IOAPIC_EOI when one of these ends.
 * - The PICs' output is an ExtINT at vCPU 0's local APIC: KVM_INTERRUPT, when KVM says that it can be taken.
 *
 * Everything here runs on the machine's thread, which runs vCPU 0. vCPUs with threads of their own leave the ends of their
 * interrupts in shared memory; accesses to the registers reach the machine's thread as those to its devices do.
 */
import { PioBus } from '@lodger/vmm/bus/pio-bus.js';
import { Pit8254 } from '@lodger/vmm/devices/pit-8254.js';
import { SpeakerPort } from '@lodger/vmm/devices/speaker-port.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { InterruptMessage } from '@lodger/vmm/interrupts/interrupt-message.js';
import { IoApic, IoApicPinCount } from '@lodger/vmm/interrupts/ioapic.js';
import type { IrqChipState } from '@lodger/vmm/interrupts/irqchip.js';
import { Pic8259Pair } from '@lodger/vmm/interrupts/pic-8259.js';
import { Gsi, PhysicalMap, PortMap } from '@lodger/vmm/machine/memory-map.js';
import { bitfield } from '@lodger/vmm/registers/bitfield.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { HeapTimerQueue } from '@lodger/vmm/time/timer-queue.js';
import { KvmCapability } from '../api/capabilities.ts';
import { EnableCap, Interrupt } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { RunOffset } from '../api/run-layout.ts';
import type { KvmVcpu, VcpuHelper } from '../vcpu.ts';
import type { EndedInterrupts } from './ended-interrupts.ts';
import type { GsiRoutes } from './gsi-routes.ts';
import type { KvmMessageSink } from './message-sink.ts';
import { SharedLines } from './shared-lines.ts';
import type { VmInterrupts } from './vm-interrupts.ts';

/** Lines below this one reach the PICs. */
const PicLineCount = 16;
/** The PIT's line at the PICs. */
const PitIrq = 0;
/** The vCPU whose LINT0 the PICs are wired to. */
const PicVcpu = 0;

/** SDM Vol. 3A "Message Address Register Format", "Message Data Register Format". */
const MessageAddress = bitfield(32, { Reserved0: [1, 0], Logical: 2, Reserved3: [11, 3], Destination: [19, 12], Window: [31, 20] }); // prettier-ignore
const MessageData = bitfield(32, { Vector: [7, 0], DeliveryMode: [10, 8], Reserved11: [13, 11], Assert: 14, LevelTriggered: 15, Reserved16: [31, 16] }); // prettier-ignore
const MessageWindow = 0xfee;

export interface SplitIrqchipConfig {
  readonly vmFd: number;
  readonly routes: GsiRoutes;
  readonly messages: KvmMessageSink;
  readonly clock: Clock;
  readonly ended: EndedInterrupts;
}

export class SplitIrqchip implements VmInterrupts {
  readonly kind = 'split';
  readonly pic: Pic8259Pair;
  readonly ioapic: IoApic;
  readonly pit: Pit8254;
  readonly speaker: SpeakerPort;
  readonly #config: SplitIrqchipConfig;
  readonly #timers = new HeapTimerQueue();
  readonly #ports = new PioBus();
  readonly #lines: SharedLines;
  readonly #interrupt = Interrupt.create();

  constructor(config: SplitIrqchipConfig) {
    this.#config = config;
    const args = [BigInt(IoApicPinCount), 0n, 0n, 0n];
    kvmIoctl(config.vmFd, KvmRequest.EnableCap, EnableCap.create({ cap: KvmCapability.SplitIrqchip, args }));
    this.pic = new Pic8259Pair();
    this.ioapic = new IoApic((message) => this.#deliver(message));
    this.#lines = new SharedLines(IoApicPinCount, (line, asserted) => this.#setLine(line, asserted));
    this.pit = new Pit8254(config.clock, this.#timers, this.interruptLine(Gsi.PitTimer));
    this.speaker = new SpeakerPort(this.pit, config.clock);
    this.#ports.attach(PortMap.Pic1, this.pic.master);
    this.#ports.attach(PortMap.Pic2, this.pic.slave);
    this.#ports.attach(PortMap.Elcr, this.pic.elcr);
    this.#ports.attach(PortMap.Pit, this.pit);
    this.#ports.attach(PortMap.SpeakerControl, this.speaker);
  }

  interruptLine(gsi: number): InterruptLine {
    return this.#lines.source(gsi);
  }

  nextDeadline(): number {
    return this.#timers.nextDeadline();
  }

  fireTimers(): void {
    this.#timers.fire(this.#config.clock.now());
  }

  helper(vcpu: number): VcpuHelper {
    return {
      beforeRun: (running) => {
        if (vcpu === PicVcpu) this.#offerPicInterrupt(running);
        this.#takeEnded();
      },
      answer: (exit) => this.answer(exit),
      endOfInterrupt: (vector) => this.ioapic.endOfInterrupt(vector),
    };
  }

  /** Answers an exit that is an access to these controllers; false when it is somebody else's. */
  answer(exit: VcpuExit): boolean {
    switch (exit.kind) {
      case 'pio-read':
        if (!this.#ports.has(exit.port, exit.size)) return false;
        exit.value = this.#ports.read(exit.port, exit.size);
        return true;
      case 'pio-write':
        if (!this.#ports.has(exit.port, exit.size)) return false;
        this.#ports.write(exit.port, exit.size, exit.value);
        return true;
      case 'mmio-read':
        if (!isIoApic(exit.address)) return false;
        this.#takeEnded();
        exit.value = BigInt(this.ioapic.read(exit.address - PhysicalMap.IoApic.start));
        return true;
      case 'mmio-write':
        if (!isIoApic(exit.address)) return false;
        this.#takeEnded();
        this.ioapic.write(exit.address - PhysicalMap.IoApic.start, exit.size, Number(exit.value & 0xffff_ffffn));
        this.#updateRoutes();
        return true;
      default:
        return false;
    }
  }

  save(): IrqChipState {
    this.#takeEnded();
    return { pic: this.pic.save(), ioapic: this.ioapic.save(), pit: this.pit.save(), speaker: this.speaker.save() };
  }

  restore(state: IrqChipState): void {
    // The PIT drives its line; what came of that is part of the others' state
    this.pit.restore(state.pit);
    this.speaker.restore(state.speaker);
    this.ioapic.restore(state.ioapic);
    this.pic.restore(state.pic);
    this.#updateRoutes();
  }

  /** Interrupts that vCPUs of other threads have ended. */
  #takeEnded(): void {
    this.#config.ended.take((vector) => this.ioapic.endOfInterrupt(vector));
  }

  #setLine(gsi: number, asserted: boolean): void {
    if (gsi === Gsi.PitTimer) this.pic.setLine(PitIrq, asserted);
    else if (gsi < PicLineCount) this.pic.setLine(gsi, asserted);
    this.ioapic.setLine(gsi, asserted);
  }

  #deliver(message: InterruptMessage): boolean {
    const { address, data } = toMsi(message);
    return this.#config.messages.deliver(address, data);
  }

  /** KVM API documentation 4.16 "KVM_INTERRUPT". */
  #offerPicInterrupt({ fd, runPage }: KvmVcpu): void {
    if (this.pic.output && runPage.getUint8(RunOffset.ReadyForInterruptInjection) !== 0) {
      new DataView(this.#interrupt.buffer).setUint32(Interrupt.offset.irq, this.pic.acknowledge(), true);
      kvmIoctl(fd, KvmRequest.Interrupt, this.#interrupt);
    }
    runPage.setUint8(RunOffset.RequestInterruptWindow, this.pic.output ? 1 : 0);
  }

  /** Tells KVM of pins that can interrupt and whose message is a new one. Masked pins keep the route that they had. */
  #updateRoutes(): void {
    const { routes } = this.#config;
    let changed = false;
    for (let pin = 0; pin < IoApicPinCount; pin++) {
      const message = this.ioapic.message(pin);
      if (message && routes.setMessage(pin, toMsi(message))) changed = true;
    }
    if (changed) routes.apply();
  }
}

function toMsi({ vector, deliveryMode, levelTriggered, logical, destination }: InterruptMessage) {
  const level = levelTriggered ? 1 : 0;
  return {
    address: MessageAddress.of({ Window: MessageWindow, Destination: destination & 0xff, Logical: logical ? 1 : 0 }),
    data: MessageData.of({ Vector: vector, DeliveryMode: deliveryMode, Assert: level, LevelTriggered: level }),
  };
}

function isIoApic(address: number): boolean {
  const offset = address - PhysicalMap.IoApic.start;
  return offset >= 0 && offset < PhysicalMap.IoApic.size;
}

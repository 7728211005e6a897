/** The 8259A pair in the kernel: KVM API documentation 4.26 "KVM_GET_IRQCHIP". */
import type { PicPairState } from '@lodger/vmm/engine/state.js';
import { ElcrWritable } from '@lodger/vmm/interrupts/pic-8259.js';
import { IrqchipId } from '../api/state-layouts.ts';
import { getChip, setChip } from './irqchip.ts';

type PicState = PicPairState['master'];

/** `init_state` of struct kvm_pic_state: the initialization word that is expected. */
const InitSteps = ['ready', 'icw2', 'icw3', 'icw4'] as const satisfies readonly PicState['initStep'][];
const Pins = 8;

export function readPics(vm: number): PicPairState {
  return { version: 1, master: readPic(vm, IrqchipId.PicMaster), slave: readPic(vm, IrqchipId.PicSlave) };
}

/** The slave first: its output is an input of the master's. */
export function writePics(vm: number, state: PicPairState): void {
  writePic(vm, IrqchipId.PicSlave, state.slave, ElcrWritable.slave);
  writePic(vm, IrqchipId.PicMaster, state.master, ElcrWritable.master);
}

type PicId = typeof IrqchipId.PicMaster | typeof IrqchipId.PicSlave;

/** KVM has no ICW3 and no single mode. */
function readPic(vm: number, id: PicId): PicState {
  const { pic } = getChip(vm, id);
  return {
    version: 1,
    requests: pic.irr,
    inService: pic.isr,
    mask: pic.imr,
    lines: pic.last_irr,
    levelTriggered: pic.elcr,
    vectorBase: pic.irq_base,
    cascade: 0,
    lowestPin: (pic.priority_add + Pins - 1) % Pins,
    initStep: InitSteps[pic.init_state] ?? 'ready',
    single: false,
    needsIcw4: pic.init4 !== 0,
    autoEoi: pic.auto_eoi !== 0,
    rotateInAutoEoi: pic.rotate_on_auto_eoi !== 0,
    specialMask: pic.special_mask !== 0,
    specialFullyNested: pic.special_fully_nested_mode !== 0,
    readIsr: pic.read_reg_select !== 0,
    poll: pic.poll !== 0,
  };
}

function writePic(vm: number, id: PicId, state: PicState, elcrMask: number): void {
  setChip(vm, id, {
    pic: {
      last_irr: state.lines,
      irr: state.requests,
      imr: state.mask,
      isr: state.inService,
      priority_add: (state.lowestPin + 1) % Pins,
      irq_base: state.vectorBase,
      read_reg_select: Number(state.readIsr),
      poll: Number(state.poll),
      special_mask: Number(state.specialMask),
      init_state: InitSteps.indexOf(state.initStep),
      auto_eoi: Number(state.autoEoi),
      rotate_on_auto_eoi: Number(state.rotateInAutoEoi),
      special_fully_nested_mode: Number(state.specialFullyNested),
      init4: Number(state.needsIcw4),
      elcr: state.levelTriggered,
      elcr_mask: elcrMask,
    },
  });
}

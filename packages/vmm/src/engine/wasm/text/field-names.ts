/** What lies at an offset of the vCPU's state block, in words: for text of translated code. */
import { generalRegisterName } from '../../../x86/decode/format.ts';
import {
  Cpu,
  SegmentField,
  SegmentIndex,
  gprOffset,
  segmentOffset,
  xmmOffset,
  ymmHighOffset,
} from '../interpreter/cpu-layout.ts';
import { Record } from '../interpreter/record.ts';

const names = new Map<number, string>();
const add = (offset: number, name: string): void => {
  if (!names.has(offset)) names.set(offset, name);
};
for (let i = 0; i < 16; i++) {
  add(gprOffset(i), generalRegisterName(i, 8));
  add(xmmOffset(i), `xmm${i}`);
  add(ymmHighOffset(i), `ymm${i}High`);
}
for (const [name, offset] of Object.entries(Cpu)) add(offset, name);
for (const [name, offset] of Object.entries(Record)) add(Cpu.ExitRecord + offset, `ExitRecord.${name}`);
for (const [segment, index] of Object.entries(SegmentIndex)) {
  for (const [field, offset] of Object.entries(SegmentField)) add(segmentOffset(index) + offset, `${segment}.${field}`);
}

/** Undefined where nothing has a name of its own. */
export function fieldName(offset: number): string | undefined {
  return names.get(offset);
}

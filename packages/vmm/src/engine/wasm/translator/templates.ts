/**
 * What instructions were translated to, by their bytes: most of a guest's code is the same few thousand instructions again
 * and again, and copying is much cheaper than emitting.
 *
 * Where an instruction is, is left open ({@link Slot}); what else its code depends on is part of the key.
 */
import type { Template } from '../encoder/function-builder.ts';
import { type Code, I32, I64, Symbol16 } from '../encoder/values.ts';
import { signed32 } from '../encoder/leb128.ts';
import type { FlagKnowledge } from './known-flags.ts';
import type { RegisterUse } from './registers.ts';

/** An instruction's code, and what is known after it. */
export interface InstructionTemplate {
  readonly code: Template;
  readonly use: RegisterUse;
  readonly after: FlagKnowledge;
}

/** Templates that are kept: some 300 bytes each. */
const MaxTemplates = 30_000;

export class InstructionTemplates {
  /** Null for what has none. */
  readonly #templates = new Map<string, InstructionTemplate | null>();

  /** Undefined when the instruction was not met yet, null when it has to be emitted each time. */
  get(key: string): InstructionTemplate | null | undefined {
    return this.#templates.get(key);
  }

  set(key: string, template: InstructionTemplate | null): void {
    if (this.#templates.size >= MaxTemplates) this.#templates.clear();
    this.#templates.set(key, template);
  }
}

/** Everything that instructions of the same bytes depend on beside them. */
export function templateKey(bytes: string, { operation, narrow }: FlagKnowledge, user: boolean): string {
  return bytes + String.fromCharCode(operation | (narrow ? 8 : 0) | (user ? 16 : 0));
}

/** What is left open: integers in the code, and the RIP of the instruction's page. */
const Slot = {
  Offset: 0,
  NextOffset: 1,
  Page: 2,
  /** Followed by one for each operation of the flags, for each instruction. */
  At: 3,
} as const;
/** Operations of the flags, and one for "unknown". */
const Operations = 8;

const slot = (number: number): Code => [Symbol16.Slot + number];

/** An instruction's place while it is emitted. */
export interface Place {
  /** RIP of the instruction, of what comes after it, and of the first byte of its page. */
  readonly rip: I64;
  readonly nextRip: I64;
  readonly page: I64;
  /** The packed place (region-function.ts) with an operation of the flags. */
  at(operation: number): I32;
}

/**
 * The place of a template, or of its instruction `index` where it has several; only the first one's RIP can be had.
 * `page`: RIP of the first byte of the region's first page.
 */
export function openPlace(page: I64, index = 0): Place {
  return {
    rip: page.add(new I64([0x42, slot(Slot.Offset)])),
    nextRip: page.add(new I64([0x42, slot(Slot.NextOffset)])),
    page: new I64(slot(Slot.Page)),
    at: (operation) => new I32([0x41, slot(Slot.At + index * Operations + operation)]),
  };
}

/** What stands for the slots at a place. */
export function slotsOf(
  { offset, length }: { readonly offset: number; readonly length: number },
  place: Pick<Place, 'page'> & { at(operation: number, index: number): number },
): (number: number) => Code {
  return (number) => {
    switch (number) {
      case Slot.Offset:
        return signed32(offset);
      case Slot.NextOffset:
        return signed32(offset + length);
      case Slot.Page:
        return place.page.code;
      default:
        return signed32(place.at((number - Slot.At) % Operations, Math.floor((number - Slot.At) / Operations)));
    }
  };
}

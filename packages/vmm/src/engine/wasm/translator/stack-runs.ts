/**
 * Runs of PUSH or POP of general registers, as functions begin and end with: one look into the TLB for all of them.
 *
 * Where the bytes are not on one page that the TLB has, each instruction goes its own slow way, so that a fault comes at the
 * instruction that makes it.
 */
import { OperandKind, RegisterClass } from '../../../x86/decode/decoder.ts';
import { i32, i64 } from '../encoder/values.ts';
import { type AccessContext, probe } from '../emit/memory-access.ts';
import { Access } from '../softmmu/access.ts';
import type { RegionInstruction } from './region.ts';
import type { RegisterLocals } from './registers.ts';

const Rsp = 4;
const Bytes = 8;
/** More in a row are several runs. */
const LongestRun = 8;

/** How many instructions from a position on are one run; fewer than two are none. */
export function stackRunLength(instructions: readonly RegionInstruction[], start: number): number {
  const mnemonic = instructions[start]!.decoded.row.mnemonic;
  if (mnemonic !== 'PUSH' && mnemonic !== 'POP') return 0;
  let end = start;
  while (end < instructions.length && end - start < LongestRun && isPart(instructions[end]!, mnemonic)) end++;
  return end - start;
}

function isPart({ decoded }: RegionInstruction, mnemonic: string): boolean {
  const { row, operandSize, operands, operandCount } = decoded;
  if (row.mnemonic !== mnemonic || operandSize !== 64 || operandCount !== 1) return false;
  const { kind, registerClass, register } = operands[0];
  return kind === OperandKind.Register && registerClass === RegisterClass.Gpr && register !== Rsp;
}

/** Emits a run. `at(i)` is the context of its instruction `i`. */
export function emitStackRun(
  run: readonly RegionInstruction[],
  registers: RegisterLocals,
  at: (i: number) => AccessContext,
): void {
  const names = run.map(({ decoded }) => decoded.operands[0].register);
  if (run[0]!.decoded.row.mnemonic === 'PUSH') emitPushes(names, registers, at);
  else emitPops(names, registers, at);
}

function emitPushes(names: readonly number[], registers: RegisterLocals, at: (i: number) => AccessContext): void {
  const { f } = at(0);
  const size = names.length * Bytes;
  const top = f.let(registers.gpr(Rsp).sub(size));
  probe(
    at(0),
    top,
    size,
    true,
    (host) => {
      names.forEach((name, i) => f.store64(host, size - (i + 1) * Bytes, registers.gpr(name)));
      registers.setGpr(Rsp, 64, top);
    },
    () =>
      names.forEach((name, i) => {
        const context = at(i);
        const flags = context.userFlag().or(Access.Write | Access.Stack);
        const linear = registers.gpr(Rsp).sub(Bytes);
        f.call(context.mmu.write, context.cpu, linear, i32(Bytes), flags, registers.gpr(name));
        context.leaveOnSlowStatus();
        registers.setGpr(Rsp, 64, linear);
      }),
  );
}

function emitPops(names: readonly number[], registers: RegisterLocals, at: (i: number) => AccessContext): void {
  const { f } = at(0);
  const bottom = f.let(registers.gpr(Rsp));
  probe(
    at(0),
    bottom,
    names.length * Bytes,
    false,
    (host) => {
      names.forEach((name, i) => registers.setGpr(name, 64, host.load64(i * Bytes)));
      registers.setGpr(Rsp, 64, bottom.add(names.length * Bytes));
    },
    () =>
      names.forEach((name, i) => {
        const context = at(i);
        const flags = context.userFlag().or(Access.Stack);
        const value = f.callValue('i64', context.mmu.read, context.cpu, registers.gpr(Rsp), i32(Bytes), flags);
        context.leaveOnSlowStatus();
        registers.setGpr(name, 64, value);
        registers.setGpr(Rsp, 64, registers.gpr(Rsp).add(i64(Bytes)));
      }),
  );
}

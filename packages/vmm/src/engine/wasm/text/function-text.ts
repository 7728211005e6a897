/**
 * A function of a module as WebAssembly text (WebAssembly Core Specification, "Text Format: Instructions"): expressions are
 * folded, statements have a line each, or several where they are long. Leaves out the alignment of memory accesses: none is
 * ever promised.
 */
import type { ValueType } from '../encoder/values.ts';
import { type WasmFunction, type WasmModule, WasmReader, valueTypeOf } from './module-reader.ts';
import { type Opcode, plainOpcodes, prefixedOpcodes } from './opcodes.ts';

export interface TextLine {
  /** Offset of the statement in the function's code. */
  readonly at: number;
  readonly text: string;
}

/** What names the text has beside those in the module. */
export interface TextNames {
  /** Of a local or parameter. */
  local?(index: number): string | undefined;
  /** Of what lies at an offset from the address in a local. */
  field?(local: string, offset: number): string | undefined;
}

/** Columns of a line before a statement is broken up. */
const Width = 110;
const Indent = '  ';
const EmptyType = 0x40;

/** An expression: its instruction with immediates, and the expressions that it works on. */
interface Node {
  readonly at: number;
  readonly head: string;
  readonly operands: readonly Node[];
}

/** The head of an expression that stands above already: its value is on the stack. */
const Said = '';

/** A block, loop or if that is open. */
interface Frame {
  kind: 'function' | 'block' | 'loop' | 'if' | 'value';
  readonly label: number;
  /** Of an `if` with a value: where it is, its condition, and the branch that was read. */
  readonly at: number;
  readonly head: string;
  readonly condition: Node | undefined;
  then: Node | undefined;
  /** Expressions on the stack outside. */
  readonly below: number;
}

/** The lines of a function of the module, by index. */
export function functionText(module: WasmModule, index: number, names: TextNames = {}): TextLine[] {
  const found = module.functions[index];
  if (!found?.body) throw new Error(`function ${index} has no code in this module`);
  return new FunctionPrinter(module, found, names).print();
}

class FunctionPrinter {
  readonly #module: WasmModule;
  readonly #function: WasmFunction;
  readonly #names: TextNames;
  readonly #reader: WasmReader;
  readonly #lines: { at: number; depth: number; text: () => string }[] = [];
  #stack: Node[] = [];
  readonly #frames: Frame[] = [];
  readonly #usedLabels = new Set<number>();
  readonly #usedLocals = new Set<number>();
  #nextLabel = 1;

  constructor(module: WasmModule, found: WasmFunction, names: TextNames) {
    this.#module = module;
    this.#function = found;
    this.#names = names;
    this.#reader = new WasmReader(found.body!.code);
    this.#frames.push(this.#frame('function', 0));
  }

  print(): TextLine[] {
    while (!this.#reader.atEnd) this.#instruction();
    if (this.#frames.length > 0) throw new Error('the code ends in a block');
    const lines = this.#lines.map(({ at, depth, text }) => ({ at, text: Indent.repeat(depth) + text() }));
    return [...this.#header().map((text) => ({ at: 0, text })), ...lines, { at: this.#reader.position, text: ')' }];
  }

  #header(): string[] {
    const { name, signature, body } = this.#function;
    const params = signature.params.map((type, i) => ` (param ${this.#local(i)} ${type})`).join('');
    const results = signature.results.map((type) => ` (result ${type})`).join('');
    const locals = body!.locals
      .map((type, i) => ({ type, index: signature.params.length + i }))
      .filter(({ index }) => this.#usedLocals.has(index))
      .map(({ type, index }) => `(local ${this.#local(index)} ${type})`);
    return [`(func $${name}${params}${results}`, ...wrap(locals).map((line) => Indent + line)];
  }

  #local(index: number): string {
    return `$${this.#names.local?.(index) ?? index}`;
  }

  #instruction(): void {
    const at = this.#reader.position;
    const opcode = this.#reader.byte();
    switch (opcode) {
      case 0x00:
        return this.#statement(at, 'unreachable', 0);
      case 0x01:
        return this.#statement(at, 'nop', 0);
      case 0x02:
        return this.#open(at, 'block');
      case 0x03:
        return this.#open(at, 'loop');
      case 0x04:
        return this.#openIf(at);
      case 0x05:
        return this.#else(at);
      case 0x0b:
        return this.#end(at);
      case 0x0c:
        return this.#statement(at, `br ${this.#label(this.#reader.u32())}`, 0);
      case 0x0d:
        return this.#statement(at, `br_if ${this.#label(this.#reader.u32())}`, 1, this.#hint(at));
      case 0x0e: {
        const labels = this.#reader.vector(() => this.#label(this.#reader.u32()));
        return this.#statement(at, `br_table ${[...labels, this.#label(this.#reader.u32())].join(' ')}`, 1);
      }
      case 0x0f:
        return this.#statement(at, 'return', this.#function.signature.results.length);
      case 0x10:
        return this.#call(at);
      case 0x11:
        return this.#callIndirect(at);
      case 0x1a:
        return this.#statement(at, 'drop', 1);
      case 0x1b:
        return this.#expression(at, 'select', 3);
      case 0x20:
        return this.#expression(at, `local.get ${this.#usedLocal()}`, 0);
      case 0x21:
        return this.#statement(at, `local.set ${this.#usedLocal()}`, 1);
      case 0x22:
        return this.#expression(at, `local.tee ${this.#usedLocal()}`, 1);
      case 0x41:
        return this.#expression(at, `i32.const ${this.#reader.signed()}`, 0);
      case 0x42:
        return this.#expression(at, `i64.const ${number64(this.#reader.signed())}`, 0);
      case 0x43:
        return this.#expression(at, `f32.const ${this.#float(4)}`, 0);
      case 0x44:
        return this.#expression(at, `f64.const ${this.#float(8)}`, 0);
      default:
        return this.#fromTable(at, opcode);
    }
  }

  #fromTable(at: number, byte: number): void {
    const prefixed = prefixedOpcodes[byte];
    const code = prefixed ? this.#reader.u32() : byte;
    const opcode = (prefixed ?? plainOpcodes).get(code);
    if (!opcode) throw new Error(`no name for the instruction ${prefixed ? `${byte} ` : ''}${code} at ${at}`);
    const head = opcode.name + this.#immediates(opcode);
    if (opcode.results === 0) this.#statement(at, head, opcode.operands);
    else this.#expression(at, head, opcode.operands);
  }

  #immediates({ immediates, operands }: Opcode): string {
    const reader = this.#reader;
    switch (immediates) {
      case 'none':
        return '';
      case 'offset': {
        reader.u32();
        const offset = reader.u32();
        const field = this.#field(offset, operands);
        return (offset === 0 ? '' : ` offset=${offset}`) + (field === undefined ? '' : ` (; ${field} ;)`);
      }
      case 'lane':
        return ` ${reader.byte()}`;
      case 'lanes':
        return ` ${[...reader.take(16)].join(' ')}`;
      case 'v128': {
        const bytes = reader.take(16);
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        const halves = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
        return ` i64x2 ${halves.map((half) => `0x${half.toString(16)}`).join(' ')}`;
      }
      case 'memory':
        reader.byte();
        return '';
      case 'memories':
        reader.take(2);
        return '';
      default:
        return immediates satisfies never;
    }
  }

  /** The name of what a load or store with `operands` on the stack is about. */
  #field(offset: number, operands: number): string | undefined {
    const address = this.#stack[this.#stack.length - operands]?.head.match(/^local\.get \$(\S+)$/);
    return address ? this.#names.field?.(address[1]!, offset) : undefined;
  }

  #float(size: 4 | 8): string {
    const bytes = this.#reader.take(size);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const value = size === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
    if (Number.isFinite(value)) return Object.is(value, -0) ? '-0' : String(value);
    if (!Number.isNaN(value)) return value < 0 ? '-inf' : 'inf';
    const bits = size === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
    const fraction = BigInt.asUintN(size === 4 ? 23 : 52, bits);
    return `${bits >> BigInt(size * 8 - 1) ? '-' : ''}nan:0x${fraction.toString(16)}`;
  }

  #usedLocal(): string {
    const index = this.#reader.u32();
    this.#usedLocals.add(index);
    return this.#local(index);
  }

  #call(at: number): void {
    const { name, signature } = this.#module.functions[this.#reader.u32()]!;
    this.#withResults(at, `call $${name}`, signature.params.length, signature.results);
  }

  #callIndirect(at: number): void {
    const { params, results } = this.#module.types[this.#reader.u32()]!;
    this.#reader.u32();
    const type = [...params.map((param) => ` (param ${param})`), ...results.map((result) => ` (result ${result})`)];
    this.#withResults(at, `call_indirect${type.join('')}`, params.length + 1, results);
  }

  #withResults(at: number, head: string, operands: number, results: readonly ValueType[]): void {
    if (results.length > 1) throw new Error(`${head} has several results`);
    if (results.length === 1) this.#expression(at, head, operands);
    else this.#statement(at, head, operands);
  }

  // Expressions and statements

  #expression(at: number, head: string, operands: number): void {
    this.#stack.push(this.#node(at, head, operands));
  }

  #node(at: number, head: string, count: number): Node {
    const operands = this.#pop(count, head);
    return { at: operands[0]?.at ?? at, head, operands };
  }

  #pop(count: number, what: string): Node[] {
    const start = this.#stack.length - count;
    if (start < this.#frames.at(-1)!.below) throw new Error(`${what} has no operands at ${this.#reader.position}`);
    return this.#stack.splice(start, count);
  }

  #statement(at: number, head: string, operands: number, comment = ''): void {
    const node = this.#node(at, head, operands);
    this.#flush();
    this.#line(node, comment);
  }

  /** What is on the stack before a statement has been computed before it: it has lines of its own. */
  #flush(): void {
    this.#frames.forEach((frame, depth) => {
      if (frame.kind === 'value') this.#openValue(frame, depth);
    });
    this.#print(this.#frames.at(-1)!.below, this.#stack.length, this.#depth);
  }

  /** Prints expressions on the stack. Who takes them from there finds that they have been said. */
  #print(start: number, end: number, depth: number): void {
    for (let i = start; i < end; i++) {
      const node = this.#stack[i]!;
      if (node.head !== Said) this.#line(node, '', depth);
      this.#stack[i] = { at: node.at, head: Said, operands: [] };
    }
  }

  /** An `if` with a value in which there are statements is none of an expression. */
  #openValue(frame: Frame, depth: number): void {
    this.#print(this.#frames[depth - 1]!.below, frame.below, depth);
    this.#line(frame.condition!, '', depth);
    this.#plain(frame.at, this.#labelled(frame.head, frame), depth);
    if (frame.then) {
      for (const node of frame.then.operands) if (node.head !== Said) this.#line(node, '', depth + 1);
      this.#plain(frame.at, 'else', depth);
    }
    frame.kind = 'if';
  }

  #line(node: Node, comment = '', depth = this.#depth): void {
    const lines = layOut(node, Width - depth * Indent.length);
    lines.forEach((text, i) => this.#plain(node.at, i === lines.length - 1 ? text + comment : text, depth));
  }

  #plain(at: number, text: string | (() => string), depth = this.#depth): void {
    this.#lines.push({ at, depth, text: typeof text === 'string' ? () => text : text });
  }

  get #depth(): number {
    return this.#frames.length;
  }

  #hint(at: number): string {
    const likely = this.#function.body!.hints.get(at);
    return likely === undefined ? '' : likely ? ' ;; likely' : ' ;; unlikely';
  }

  // Control

  #frame(kind: Frame['kind'], at: number, head = '', condition?: Node): Frame {
    const label = kind === 'function' ? 0 : this.#nextLabel++;
    return { kind, label, at, head, condition, then: undefined, below: this.#stack.length };
  }

  #label(depth: number): string {
    const frame = this.#frames[this.#frames.length - 1 - depth];
    if (!frame) throw new Error(`a branch out of the function at ${this.#reader.position}`);
    this.#usedLabels.add(frame.label);
    return `$${frame.label}`;
  }

  #open(at: number, kind: 'block' | 'loop'): void {
    if (this.#reader.byte() !== EmptyType) throw new Error(`a ${kind} with a value at ${at}`);
    this.#flush();
    const frame = this.#frame(kind, at);
    this.#plain(at, this.#labelled(kind, frame));
    this.#frames.push(frame);
  }

  #openIf(at: number): void {
    const type = this.#reader.byte();
    const [condition] = this.#pop(1, 'if');
    if (type !== EmptyType) {
      this.#frames.push(this.#frame('value', condition!.at, `if (result ${valueTypeOf(type)})`, condition));
      return;
    }
    this.#flush();
    this.#line(condition!);
    const frame = this.#frame('if', at);
    const hint = this.#hint(at);
    const text = this.#labelled('if', frame);
    this.#plain(at, () => text() + hint);
    this.#frames.push(frame);
  }

  #labelled(kind: string, { label }: Frame): () => string {
    return () => (this.#usedLabels.has(label) ? `${kind} $${label}` : kind);
  }

  #else(at: number): void {
    const frame = this.#frames.at(-1)!;
    if (frame.kind === 'value') frame.then = this.#branch(frame, 'then');
    else {
      this.#close(frame);
      this.#plain(at, 'else', this.#depth - 1);
    }
  }

  #branch(frame: Frame, head: 'then' | 'else'): Node {
    const operands = this.#stack.splice(frame.below);
    return { at: operands[0]?.at ?? frame.at, head, operands };
  }

  #end(at: number): void {
    const frame = this.#frames.at(-1)!;
    if (frame.kind === 'value') {
      const operands = [frame.condition!, frame.then!, this.#branch(frame, 'else')];
      this.#frames.pop();
      this.#stack.push({ at: frame.at, head: frame.head, operands });
      return;
    }
    this.#close(frame);
    this.#frames.pop();
    if (frame.kind !== 'function') this.#plain(at, 'end');
    if (frame.condition) this.#stack.push({ at: frame.at, head: Said, operands: [] });
  }

  /** Prints what a frame, or the first branch of an `if`, leaves on the stack. */
  #close({ below }: Frame): void {
    this.#flush();
    this.#stack.length = below;
  }
}

/** Masks and addresses are read in hexadecimal. */
function number64(value: bigint): string {
  if (value > -0x10000n && value < 0x10000n) return String(value);
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function flat({ head, operands }: Node): string {
  return `(${[head, ...unsaid(operands).map(flat)].join(' ')})`;
}

const unsaid = (nodes: readonly Node[]): Node[] => nodes.filter(({ head }) => head !== Said);

/** One line where it fits; otherwise each operand on lines of its own. */
function layOut(node: Node, width: number): string[] {
  const line = flat(node);
  const below = unsaid(node.operands);
  if (line.length <= width || below.length === 0) return [line];
  const operands = below.flatMap((operand) => layOut(operand, width - Indent.length - 1));
  const last = operands.pop()!;
  return [`(${node.head}`, ...[...operands, `${last})`].map((text) => Indent + text)];
}

function wrap(words: readonly string[]): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + word.length < Width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

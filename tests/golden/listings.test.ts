/**
 * What short guest code is translated to: the text is compared with that in `listings/`. It shows a reader what a change of
 * the translator does. Where a change is meant, the files are written anew, and their differences are part of the review:
 *
 *     npm run build && LODGER_RENEW_LISTINGS=1 node --test tests/dist/golden/listings.test.js
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatListing } from '@lodger/vmm/engine/wasm/text/listing-format.js';
import { BlockHeader, BlockHeaderSize, ModeKey } from '@lodger/vmm/engine/wasm/softmmu/block-header.js';
import { RegionPipeline } from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import {
  Assembler, ah, al, bl, eax, ebx, ecx, edx, esi, mem, rax, rbx, rcx, rdi, rdx, rsi, xmm,
} from '../guest/assembler.ts'; // prettier-ignore

const folder = new URL('../../golden/listings/', import.meta.url);
const renews = process.env['LODGER_RENEW_LISTINGS'] !== undefined;

const Origin = 0x40_0000;
const PageSize = 4096;
const WasmPages = 3;
const WasmPageSize = 0x1_0000;
/** Constant data of translated code lies behind the guest's pages. */
const Data = { start: 0x1_0000, end: 0x2_0000 };
/** The interpreter's blocks: lists by page, and the blocks. */
const Blocks = { pageBlocks: [0x2_0000], arena: [{ start: 0x2_1000, end: 0x3_0000 }] };
/** It has been at so many places at the start of each page. */
const Places = 64;

/** Makes blocks as the interpreter would. */
function visit(view: DataView, pages: number): void {
  let block = Blocks.arena[0]!.start + BlockHeaderSize;
  for (let page = 0; page < pages; page++) {
    let next = 0;
    for (let offset = 0; offset < Places; offset++, block += BlockHeaderSize) {
      const header = block - BlockHeaderSize;
      view.setUint32(header + BlockHeader.Physical, page * PageSize + offset, true);
      view.setUint32(header + BlockHeader.Key, Key, true);
      view.setUint32(header + BlockHeader.NextInPage, next, true);
      next = block;
    }
    view.setUint32(Blocks.pageBlocks[0]! + page * 4, next, true);
  }
}
const Key = ModeKey.Code64 | ModeKey.User;

/** The listing of what `build` assembles, entered at its start. */
function listing(build: (a: Assembler) => void, brief: boolean): string {
  const a = new Assembler({ origin: Origin, bits: 64 });
  build(a);
  const code = a.finish();
  const buffer = new SharedArrayBuffer(WasmPages * WasmPageSize);
  new Uint8Array(buffer).set(code);
  const pipeline = new RegionPipeline({
    buffer,
    ram: 0,
    wasmPages: WasmPages,
    blocks: Blocks,
    rareNames: [],
    data: Data,
    features: [],
    atomics: false,
    optimized: false,
  });
  const count = Math.ceil(code.length / PageSize);
  visit(new DataView(buffer), count);
  const pages = Int32Array.from({ length: count * 2 }, (_, i) => i >> 1);
  const address = BigInt(Origin);
  const job = { id: 1, entry: 0, vcpu: 0, key: Key, pages, listing: { address, page: address } };
  const [region] = pipeline.compile([job]).regions;
  assert.ok(region?.listing, 'the code was not translated');
  return formatListing(region.listing, { brief });
}

/** The case that shows how regions are entered and left, which is the same in all. */
const Whole = 'flags-at-exit';
const counter = mem({ base: rdi, size: 64 });

const cases: Readonly<Record<string, (a: Assembler) => void>> = {
  'loop-dec-jnz': (a) => void a.label('loop').add(rax, rbx).dec(ecx).jcc('nz', 'loop').hlt(),
  'memory-sum': (a) => void a.label('loop').add(rax, mem({ base: rsi })).add(rsi, 8).dec(rcx).jcc('nz', 'loop').hlt(),
  'compare-and-branch': (a) =>
    void a.cmp(eax, ebx).jcc('l', 'less').cmp(rdx, 100).jcc('ae', 'less').mov(ecx, 1).hlt().label('less').mov(ecx, 2).hlt(),
  'call-and-return': (a) => void a.call('twice').call('twice').hlt().label('twice').add(rax, rax).ret(),
  // ADC needs what ADD left; whoever looks at the flags behind it needs all of them
  'flags-at-exit': (a) => void a.add(eax, ebx).mov(edx, 0).adc(edx, 0).hlt(),
  'xmm-copy': (a) =>
    // MOVUPS xmm0, [rsi]; MOVUPS [rdi], xmm0; PXOR xmm1, xmm0
    void a.op([0x0f, 0x10], xmm(0), mem({ base: rsi })).op([0x0f, 0x11], xmm(0), mem({ base: rdi })).op([0x0f, 0xef], xmm(1), xmm(0), { prefix: 0x66 }).hlt(),
  'push-and-pop': (a) => void a.push(rbx).push(rcx).pop(rdx).pop(rbx).hlt(),
  'jump-to-another-page': (a) => void a.inc(rax).jmp('far').org(Origin + PageSize).label('far').dec(ecx).jcc('nz', Origin).hlt(),
  'high-bytes': (a) => void a.mov(ah, bl).add(al, ah).movzx(esi, ah).hlt(),
  setcc: (a) => void a.cmp(rax, rbx).setcc('b', al).setcc('g', bl).test(edx, edx).setcc('s', mem({ base: rdi, size: 8 })).hlt(),
  'read-modify-write': (a) => void a.inc(counter).hlt(),
}; // prettier-ignore

for (const [name, build] of Object.entries(cases)) {
  test(name, () => {
    const file = new URL(`${name}.wat`, folder);
    const text = listing(build, name !== Whole);
    if (renews) writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'), `differs from ${name}.wat: see the head of listings.test.ts`);
  });
}

test('each file has its case', () => {
  const names = readdirSync(folder).map((file) => file.replace(/\.wat$/, ''));
  assert.deepEqual(names.sort(), Object.keys(cases).sort());
});

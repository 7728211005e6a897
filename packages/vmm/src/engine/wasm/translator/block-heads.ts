/**
 * Where in a page the interpreter has blocks: what code jumps to. Read by the thread that compiles while the vCPU's thread
 * makes and drops blocks, so an answer may lack some or have some too many; every place in memory is checked.
 */
import { BlockHeader, BlockHeaderSize } from '../softmmu/block-header.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';

/** Where the interpreter's blocks are. */
export type BlockPlaces = Pick<VmLayout, 'pageBlocks' | 'arena'>;

/** Most blocks of a page that are looked at. */
const MostBlocks = 2000;

/** Offsets in a RAM page at which a vCPU has blocks of a mode. */
export function blockHeads(
  view: DataView,
  { pageBlocks, arena }: BlockPlaces,
  { vcpu, page, key }: { readonly vcpu: number; readonly page: number; readonly key: number },
): Set<number> {
  const heads = new Set<number>();
  const { start, end } = arena[vcpu]!;
  let block = view.getUint32(pageBlocks[vcpu]! + page * 4, true);
  for (let seen = 0; seen < MostBlocks; seen++) {
    if (block < start + BlockHeaderSize || block >= end) break;
    const header = block - BlockHeaderSize;
    const inSecond = view.getUint32(header + BlockHeader.SecondPage, true) === page + 1;
    if (!inSecond && view.getUint32(header + BlockHeader.Key, true) === key) {
      heads.add(view.getUint32(header + BlockHeader.Physical, true) & 0xfff);
    }
    block = view.getUint32(header + (inSecond ? BlockHeader.NextInSecondPage : BlockHeader.NextInPage), true);
  }
  return heads;
}

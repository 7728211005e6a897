/**
 * The instruction forms whose handlers sit inside the interpreter loop, named by an example of each: chosen by counting
 * what a Debian boot and common programs execute (benchmarks/forms.ts).
 */
import { type Decoder, createDecodedInstruction } from '../../../x86/decode/decoder.ts';
import { allRows } from '../../../x86/instructions/table/rows.ts';
import { semantics } from '../semantics-table.ts';
import { type InlineHandler, inlineHandler } from './core-module.ts';
import { type InstructionForm, formOf } from '../emit/form.ts';

/** 64-bit code, as hexadecimal bytes. */
const Examples = `
  4889d8 89d8 488b03 8b03 488903 8903 8a03 8803 668903 48c7c001000000 b801000000 48c70301000000 c70301000000 c60301
  88d8 6689d8 66c7030100
  0fb603 0fb6c3 0fb703 0fb7c3 480fb6c3 480fb7c3 480fb603 4863c3 486303 0fbec3 0fbe03 480fbe03
  488d03 8d03
  4801d8 01d8 480303 0303 480103 0103
  4829d8 29d8 482b03 2b03 482903 2903
  4821d8 21d8 482303 2303 2103 482103 20d8 2203
  4809d8 09d8 480b03 0b03 0903 480903 08d8
  4831d8 31d8 483303 3303
  4839d8 39d8 483b03 3b03 483903 3903 38d8 3803 3a03 6639d8 803b01 66833b01
  4885d8 85d8 84d8 8503 f60301 f70301000000 488503
  48ffc0 ffc0 48ff03 ff03 48ffc8 ffc8 48ff0b ff0b
  48f7d8 f7d8 48f7d0 f7d0
  48c1e003 c1e003 48c1e803 c1e803 48c1f803 c1f803 48d3e0 d3e0 48d3e8 d3e8 48d1e0 d1e0
  48c1c003 c1c003
  480fafc3 0fafc3 486bc303 6bc303
  50 58 5b 6a01 ff33
  e800000000 c3 ffd0 ffe0 eb00 e900000000 ff23 ff13
  7000 7100 7200 7300 7400 7500 7600 7700 7800 7900 7a00 7b00 7c00 7d00 7e00 7f00
  0f92c0 0f94c0 0f95c0 0f97c0
  480f42c3 480f43c3 480f44c3 480f45c3 480f46c3 480f47c3 0f42c3 0f44c3 0f45c3 0f46c3 0f47c3 480f48c3 0f49c3
  90 0f1f00 f390 c9
  480fbae003 480fa3d8 0fa3d8
  4811d8 4819d8 11d8 19d8
  4898 4899 99 98
  0fc8 480fc8
  fa 0f01f8
  c1c803 6690
  660f6fc1 660f6f03 660f7f03 0f28c1 0f2803 0f2903 0f1003 0f1103 660f28c1 660f1003 660f6ec0 660f7ec0 f30f7e03 660fd603
  660fefc1 660febc1 660fdbc1 660ffec1 660fd4c1 660f72d007 660f72f007 660f70c1b1
  f20f1003 f20f1103 f20f10c1 f20f58c1 f20f59c1 f20f5cc1 f20f5803 f20f5903 f20f5c03
`;

/**
 * Forms that a Debian boot and a shell session use beside the inline ones: compiled together when a VM is made, instead
 * of one by one when they are met.
 */
const CommonExamples = `
  0f30 0f01153398a101 8ed8 8ed0 8ec0 0f011b 48cb f348a5 0fa2 0f32 9c 9d 6631ff 6685ff 0fbaf00f 0f20e0 f7f3
  f348ab 0f22e1 480fc7f2 0f20d9 0f22df f4 8ee0 8ee8 0fbae800 0fbae714 480fba2d909fa1013f 0f22c0 0f0b f3ab f3aa
  660f1f840000000000 4080f780 f0480fab0517f22500 f3a5 fc 0f20d7 48cf f3a4 f0808bf800000002 6690 f0480fb113
  66090553e0bbff 480faf157f631e02 486905e0d09c0100093d00 480f4ed1 804d0420 0f43c2 802b01 f00fb117 480fbaee3f
  668b056b2c27ff 66c1c208 490fa34500 c0e804 f0490fb36c2428 480fab2c24 8cd0 8cc8 65668b05e71afb7e 0f013f ef 66ed
  440f4de2 66016810 480fc7f8 8354246000 c1ce0c 86e0 480fbaf03f 66a5 a4 021403 662d1f02 66a9fdff f3480fbcd2
  0f9503 0f31 48f7e2 480facd020 410f96c5 48f7f1 49f7f8 41f7e2 480fadd0 0f4fd0 0fbf00 80755006 80450501
  6681e28000 486b05755f1f0118 0f93c1 0f930571a91200 ed 8025a3d3250001 0f44358828dc01 480fbdc3 f08025e1bcbcfffe
  0f4ef0 ec fec8 663b05fa963800 0f48d0 48f7ee 48f7742408 41f7fc f77c2408 0fbdfa 8710 66410fbe451a 4530ed
  662500b0 6681cdf540 0f01442406 0f00d8 0f00d6 0f23d6 0f23c6 0f23ce 0f23de 0f23fe 0f23f6 f0480fc107 0f180f
  480fba70c00c 480fbec0 66d17d10 0f4cd0 0f9ec2 0f9cc0 0f4205fa4c9201 480f4dd3 650fb00f 0fbd742408 f0480fc74d20
  0faf5318 f00fc18504010000 480fb317 480f4fc8 00cb 480f442ddf462102 65480fb11da513d57e 480f436c2460 e621 0faee8
  fb 66050077 18c9 6681a7a80200007ffc 44328f8b010000 0a87ef010000 c0c004 f366ab 480fbf474a 1cff ee 66836048fd
  66834b4802 0f9444241b 4c0f4505335e9901 0f451d1579d801 6641f7c40040 0f9244240f d0e8 f73542949e01 66c1ea03
  0fbfea 480fbfc2 480fabea 66d1e8 0f9fc0 0f20c0 dbe3 0fae05fa531200 0f01d1 480fae2f 480fae0572dc33ff cc 3401
  480f4cf0 f3480fb8c7 0f01f9 65480fc70f 0f0d0c03 48c1c813 0f9f430f 480fc110 480f49ca 6683e720 6641f745000004
  664519e4 66814b708000 f0480fba2a00 49870424 668ce0 668ce8 f3480faec0 f3480faec8 668cc0 668cd8 f0480fba3318
  660b8de0140000 f3480faed0 f3480faedf 668cd0 0faef0 6683800801000001 6b35d42dbd017d d16a48 4c0fbd35406a1f02
  0fb3c1 656609054440f97e 0fbcdd 0f9dc0 f3480fbc8748020000 0faef8 662b6c2414 9b 650fb115cbb3ed7e 080546d99f01
  440f43742418 400f98c5 660d0080 662317 6643211478 80daff 6683d9ff 48d36c2408 410f90c5 6681ea865b 66ef e420
  c0f807 6621c8 6683680e01 664181f60004 4c0fb3ed 6566410fc14012 650fc1159d57cf7e 0fae542404 f30f6f07
  66440f6f25a58d2501 66440f6ef9 66440f6fd0 66450fd4f7 660fef1d4c8d2501 660f6e2486 660f62e5 660f6ce6 660ffec4
  660fefd8 66410f3800dc 660f72d10c 66410f72f014 66410febc8 660f70c093 f30f7f07 2c01 4180d700 0f2900 0f01d0
  660fd605489f1d00 f30f7e442408 0f16842498000000 0f1105f09c1d00 660fdbc1 66480f6ec0 0f05 480f07 0f1006 0f280e
  660f74e0 660fd7d4 660f60c0 660f61c0 660ff8c8 91 4887f7 660f73fa0b 660f3a0f4417f005 660f3a6304161a 660f740f
  480fbcd2 660f76c0 f30f1efa 66480f7ec6 660fded8 660f3a63c212 0f28f5 660fdaec 660f3a0fda06 660fda2f 480fae37
  6633840900190b82 8374241001 6603040a f6d8 d07b02 fe0558f20b00 0fba64240c0a 2047ff 8174241000010000 660ffcf9
  660f64fd 660fdffe 480fae27 28d1 48f7a518ffffff 690d19db4c01fa000000 4c0f492c24 6687445104 660f7f07 412a421b
  66f7d8 6681c1000a 0f57c0 660f6ac0 660f7ec0 f20f1005dbc50300 f20f11442408 4c0fa5d0 d97c2426 660f2fe9 db2a dbe8
  d9c0 d9e1 d9c9 dfe9 ddd8 d9e5 dfe0 660f2ec0 660f28c8 660f540dd6680c00 660f2e0dee710c00 66440f50e0 f2480f2ac0
  f20f59442408 f20f58442410 48d36328 66ff84b084040000 d0a0f12a0000 004339 f2480f2cc0 f20f5cc1 c16c241002
  f20f58c8 f20f2a43d4 f20f2ac6 0f9ac0 0f09
`;

/** Splits a list; spaces inside an example are a mistake that decoding shows. */
const split = (list: string): string[] => list.split(/\s+/).filter((text) => text.length > 0);

export interface InlineHandlers {
  readonly handlers: readonly InlineHandler[];
  /** Handler number by form key. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** Numbers of handlers that are not forms (core-module.ts). */
const FixedCount = 5;

export function inlineHandlers(decoder: Decoder): InlineHandlers {
  const handlers: InlineHandler[] = [];
  const numbers = new Map<string, number>();
  for (const form of formsOf(split(Examples), decoder)) {
    const semantic = semantics.get(form.form.mnemonic);
    if (!semantic || numbers.has(form.key)) continue;
    numbers.set(form.key, FixedCount + handlers.length);
    handlers.push(inlineHandler(form, semantic));
  }
  return { handlers, numbers };
}

/** Forms worth a handler before they are met. */
export function commonForms(decoder: Decoder): InstructionForm[] {
  return formsOf(split(CommonExamples), decoder);
}

/** Decodes examples of 64-bit code. */
function formsOf(examples: readonly string[], decoder: Decoder): InstructionForm[] {
  const decoded = createDecodedInstruction(allRows[0]!);
  return examples.map((example) => {
    const bytes = new Uint8Array(16);
    for (let i = 0; i < example.length; i += 2) bytes[i / 2] = parseInt(example.slice(i, i + 2), 16);
    const status = decoder.decode(bytes, 0, 16, 64, decoded);
    if (status !== 'ok') throw new Error(`example ${example}: ${status}`);
    return formOf(decoded, false);
  });
}

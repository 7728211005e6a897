/**
 * Seeds of the fuzz test (fuzz.test.ts). Each is one run of a few thousand guest actions and always the same run.
 *
 * A seed that found something is added here together with the fix, with a word on what it found.
 */
export const FuzzCorpus: readonly number[] = [
  0x0000_0000, 0x0000_0001, 0x1d0e_5c4b, 0x2545_f491, 0x3c6e_f372, 0x510e_527f, 0x6a09_e667, 0x7f4a_7c15, 0x85eb_ca6b,
  0x9b05_688c, 0xa54f_f53a, 0xbb67_ae85, 0xc2b2_ae35, 0xd1b5_4a32, 0xe6a4_9f11, 0xffff_ffff,
];

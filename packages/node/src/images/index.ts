/** Kernels and initramfs images for guests: from files, or Debian's own, fetched once. */
export { ensureGuestImage } from './guest-image.ts';
export type { Flavour, GuestImage, GuestImageOptions } from './guest-image.ts';
export { checkInitrdFile, loadInitrdFile } from './initrd-file.ts';
export { findKernelFile, loadKernelFile } from './kernel-file.ts';
export type { KernelFile } from './kernel-file.ts';
export { InitLine } from './init-script.ts';

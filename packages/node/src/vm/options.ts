/** What a virtual machine is made of, as a user of the library says it. */

export type EngineChoice = 'auto' | 'wasm' | 'kvm';

export interface DiskOptions {
  /** A raw image: a file or a block device whose size is a multiple of 512 bytes. */
  readonly path: string;
  /** The guest cannot write, and others may read the image meanwhile. Default: false. */
  readonly readOnly?: boolean;
}

export interface VirtualMachineOptions {
  /** Kernel image: bzImage, vmlinux ELF, PVH or multiboot. Default: Debian's newest cloud kernel, fetched once. */
  readonly kernel?: string;
  /** Initial RAM file system. Default: with the default kernel, a small busybox system with its modules. */
  readonly initrd?: string;
  /** Added to the kernel's command line, after the defaults. */
  readonly append?: string;
  /** Guest memory: '256M', '1G' or bytes. Default: 256M. */
  readonly memory?: string | number;
  /** Takes all guest memory from the host when the machine is made (kvm only). Default: false, page by page as it is used. */
  readonly prefault?: boolean;
  /**
   * Huge pages for guest memory (kvm only): `transparent` asks the kernel for them, `hugetlb` takes them from the pool that
   * the host has reserved (vm.nr_hugepages). Default: the host's own policy.
   */
  readonly hugePages?: 'transparent' | 'hugetlb';
  /**
   * Who has the PICs, the IOAPIC and the PIT (kvm only): the kernel, or Lodger (`split`); local APICs are the kernel's.
   * Default: 'kernel'.
   */
  readonly irqchip?: 'kernel' | 'split';
  /** Processors of the guest. Default: 1. */
  readonly cpus?: number;
  readonly disks?: readonly DiskOptions[];
  /** Default: what the environment's LODGER_ENGINE says, or 'auto': kvm where it is usable and fast, else wasm. */
  readonly engine?: EngineChoice;
  /** Seconds after which the machine is ended. Default: no limit. */
  readonly timeout?: number;
  /** The size of the console's window as the guest starts with it. Default: what the guest assumes. */
  readonly window?: { readonly columns: number; readonly rows: number };
  /**
   * True when a person types on the console: keys go to the guest at once. Default: false, which holds input back until
   * the guest reads it, a line at a time, so that nothing is lost.
   */
  readonly interactive?: boolean;
  /** True when the console is joined to programs: the default guest then shows no prompt, no echo, no boot messages. */
  readonly filter?: boolean;
  /** Aborts a creation that takes long (fetching a kernel). */
  readonly signal?: AbortSignal;
  /** Is told of long steps (fetching a kernel), in words for people. Default: nothing is told. */
  readonly onProgress?: (message: string) => void;
}

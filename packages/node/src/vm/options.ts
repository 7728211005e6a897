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
  /**
   * The processor that the guest sees: `x86-64-v2` and `x86-64-v3` (with AVX2) are the same on every host and engine; `host`
   * (all that the host's KVM offers) is for kvm. `,-NAME` behind it takes a feature away, for example `host,-avx2`.
   * Default: `host` on kvm, `x86-64-v2` on wasm.
   */
  readonly cpu?: string;
  /** Frequency of the guest's TSC in kHz, if the host can give it. Default: the model's, and the host's for `host`. */
  readonly tscKhz?: number;
  /** Nanoseconds that KVM polls for an interrupt before a halted processor sleeps (kvm only). Default: the host's setting. */
  readonly haltPolling?: number;
  /**
   * What the guest does on the host's processor without KVM's help (kvm only): it then keeps that processor when it has
   * nothing to do. For machines with processors of their own. Default: none.
   */
  readonly disableExits?: readonly ('hlt' | 'mwait' | 'pause' | 'cstate')[];
  /** Tells the guest that it always has its processors: it spins rather than yields (kvm, cpu `host`). Default: false. */
  readonly realtimeHint?: boolean;
  /** Lets the guest run virtual machines, if KVM offers it (kvm, cpu `host`). Their state is not saved. Default: false. */
  readonly nested?: boolean;
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

/** What can be said of a saved machine: the rest is in its file. */
export type RestoreOptions = Pick<
  VirtualMachineOptions,
  | 'engine'
  | 'timeout'
  | 'window'
  | 'interactive'
  | 'prefault'
  | 'hugePages'
  | 'irqchip'
  | 'haltPolling'
  | 'disableExits'
  | 'realtimeHint'
  | 'nested'
> & {
  /** The same disks in the same order, as they were when the machine was saved. Default: at the paths that they had. */
  readonly disks?: readonly DiskOptions[];
};

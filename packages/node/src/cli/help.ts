/** What `--help` prints: one text for the command as a whole and one for each of its commands. */

export type HelpTopic = 'lodger' | 'run' | 'doctor';

const General = `usage: lodger COMMAND [options]

Virtual machines as ordinary Linux processes.

commands:
  run                    boots a kernel in a virtual machine on this terminal
  doctor                 says what this host offers for virtual machines, and what to do
  help [COMMAND]         what "lodger COMMAND --help" prints

options:
  --help, --version

environment:
  LODGER_ENGINE          the default of "lodger run --engine": auto, wasm or kvm
  XDG_CACHE_HOME         kernels and measurements of this host are kept in its folder "lodger"

exit code: 0 success; 2 wrong usage; the others: lodger COMMAND --help
`;

const Run = `usage: lodger run [options]

Boots a Linux kernel in a virtual machine and attaches this terminal to its console.
Ctrl-] ends the machine; every other key goes to the guest.

options:
  --kernel F             kernel: bzImage, vmlinux, PVH or multiboot image
                         (default: Debian's newest cloud kernel, fetched once)
  --initrd F             initial RAM file system
                         (default: a small busybox system, with the default kernel)
  --append S             added to the kernel's command line
  --memory SIZE          guest memory, for example 256M or 1G (default: 256M)
  --cpus N               processors of the guest (default: 1)
  --cpu M[,-FEATURE]...  the processor that the guest sees: x86-64-v2 (default on wasm) or x86-64-v3
                         (with AVX2), the same everywhere; on kvm also host (default); -aes takes
                         aes away
  --disk F[,readonly]    raw disk image, as a virtio disk; may be repeated
  --engine E             wasm, kvm, or auto: kvm where it is usable and fast, else wasm
                         (default: auto, or what LODGER_ENGINE says)
  --timeout S            end the machine after S seconds
  --help, --version

options for --engine kvm:
  --prefault             take all guest memory from the host at once
  --huge-pages P         transparent: asked of the kernel; hugetlb: from the host's reserved pool
  --irqchip P            interrupt controllers: kernel, all of them in KVM (default), or split, only
                         the local APICs
  --halt-polling NS      how long KVM polls for an interrupt before a halted processor sleeps
  --disable-exits L      of hlt, mwait, pause, cstate: the guest does these on the host's processor,
                         which it then keeps for itself

When standard input or output is not a terminal, lodger works as a filter:
  echo 'uname -a; poweroff' | lodger run

exit code: 0 power-off or Ctrl-]; 2 wrong usage; 64 kernel or initrd; 65 memory size;
  66 disk; 67 fetching; 68 engine; 70 internal error; 71 the engine gave up on the guest;
  72 guest panic; 74 triple fault; 124 time-out; 128+n signal n;
  debug-exit port: (value * 2 + 1) mod 256
`;

const Doctor = `usage: lodger doctor [--json]

Says what this host offers for virtual machines: KVM and how fast it is, memory, cgroups, network,
and which engine "lodger run --engine auto" takes and why. Changes nothing.

options:
  --json                 the report as JSON, for programs
  --help, --version

exit code: 0 this host can run virtual machines; 2 wrong usage; 68 it cannot
`;

export const HelpText = { lodger: General, run: Run, doctor: Doctor } as const satisfies Record<HelpTopic, string>;

/** What the nested host consists of. Its image is made anew when anything here changes. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Raised when the way of making the image changes. */
const BuilderVersion = 1;

/** Debian packages; what they depend on comes with them. */
const Packages = [
  'linux-image-amd64',
  // The first process, and the tools that it and the tests call.
  'busybox-static',
  'dash',
  'bash',
  'coreutils',
  'util-linux',
  'mount',
  'procps',
  'iproute2',
  'kmod',
  'e2fsprogs',
  'grep',
  'sed',
  'gawk',
  'findutils',
  'hostname',
  'debianutils',
  'strace',
  'cpio',
  'gzip',
  // The libraries of Node, which is the outer host's own.
  'libstdc++6',
];

/** For benchmarks that compare with it. */
const QemuPackage = 'qemu-system-x86';

/** Parts of the packages that a nested host has no use for, as paths of the root file system. */
export const Left = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/info',
  'usr/share/locale',
  'usr/share/lintian',
  'usr/share/bash-completion',
  'usr/share/bug',
  'var/cache',
  'var/lib/apt',
];

/** Folders of modules that stay; the generic kernel has 400 MB of them, most of them drivers. */
export const ModuleFolders = [
  'arch',
  'block',
  'crypto',
  'drivers/block',
  'drivers/char',
  'drivers/crypto',
  'drivers/md',
  'drivers/vfio',
  'drivers/vhost',
  'drivers/virtio',
  'fs',
  'kernel',
  'lib',
  'mm',
  'net/9p',
  'net/bridge',
  'net/802',
  'net/core',
  'net/ipv4',
  'net/ipv6',
  'net/llc',
  'net/netfilter',
  'net/packet',
  'net/sched',
  'net/unix',
  'net/vmw_vsock',
  'virt',
];

/** Single modules that stay. */
export const Modules = ['tun', 'tap', 'veth', 'macvlan', 'macvtap', 'dummy', 'virtio_net', 'net_failover', 'failover'];

/** Loaded by the initramfs: what it takes to mount the disks. */
export const BootModules = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'];

/** Loaded by the first process. */
export const HostModules = ['kvm_amd', 'tun', '9pnet_virtio', '9p', 'overlay'];

export function makeRecipe({ qemu = false } = {}) {
  const packages = qemu ? [...Packages, QemuPackage] : Packages;
  const node = { path: process.execPath, version: process.version, size: statSync(process.execPath).size };
  const bootInit = readFileSync(fileURLToPath(new URL('guest/initramfs-init', import.meta.url)), 'utf8');
  const parts = { BuilderVersion, packages, node, bootInit, Left, ModuleFolders, Modules, BootModules };
  const hash = createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
  return { packages, node: node.path, bootInit, name: `nested-host-${hash}` };
}

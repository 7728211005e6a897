/** What this process is allowed to do. */
import type { HostFiles } from './host-files.ts';

export interface PrivilegesReport {
  readonly uid: number;
  /** CAP_NET_ADMIN: may create network interfaces. */
  readonly netAdmin: boolean;
  readonly userNamespaces: UserNamespaces;
}

export type UserNamespaces =
  | { readonly kind: 'available' }
  /** `reason` says which setting forbids them. */
  | { readonly kind: 'forbidden'; readonly reason: string };

/** linux/capability.h. */
const CapNetAdmin = 1n << 12n;

export function probePrivileges(host: HostFiles): PrivilegesReport {
  const effective = host.field('/proc/self/status', 'CapEff');
  return {
    uid: process.getuid?.() ?? -1,
    netAdmin: /^[0-9a-f]+$/.test(effective ?? '') && (BigInt(`0x${effective}`) & CapNetAdmin) !== 0n,
    userNamespaces: userNamespaces(host),
  };
}

/** The settings that forbid user namespaces: of Linux, of Debian and of Ubuntu (AppArmor). */
const NamespaceSettings = [
  { path: '/proc/sys/user/max_user_namespaces', forbids: 0 },
  { path: '/proc/sys/kernel/unprivileged_userns_clone', forbids: 0 },
  { path: '/proc/sys/kernel/apparmor_restrict_unprivileged_userns', forbids: 1 },
] as const;

function userNamespaces(host: HostFiles): UserNamespaces {
  if (host.stat('/proc/self/ns/user') === undefined) return { kind: 'forbidden', reason: 'this kernel has none' };
  for (const { path, forbids } of NamespaceSettings) {
    if (host.number(path) === forbids) return { kind: 'forbidden', reason: `${path} is ${forbids}` };
  }
  return { kind: 'available' };
}

/**
 * `/init` of the default guest: the first process, in the words of busybox's shell.
 *
 * Options on the kernel's command line (the last one counts; values may be quoted with "…"):
 * - `lodger.cols=N lodger.rows=N`: the console's window (a virtio console knows its own).
 * - `lodger.term=T`: TERM of the shell.
 * - `lodger.console=ttyS0|hvc0|…`: the shell's terminal; default: the kernel's last `console=`.
 * - `lodger.filter=1`: input is a script, not a person: no echo, no prompt, no job control, no CR before LF.
 * - `lodger.exec="…"`: runs the command instead of a shell, prints `lodger: exec exited with status N`, powers off.
 * - `lodger.bench=1`: the same with the program /lodger/bench, which a further initrd archive brings.
 */

/** The first line that the default guest prints: its user space has started. */
export const InitLine = 'lodger: init';

/** Modules to load for each kind of virtio device, as paths below lib/modules/<release>, in order. */
export interface InitModules {
  readonly release: string;
  /** The transport, loaded first; devices appear behind it. */
  readonly transport: readonly string[];
  /** By virtio device id (virtio 1.2 §5 "Device Types"). */
  readonly byDevice: ReadonlyMap<number, readonly string[]>;
}

export function initScript({ release, transport, byDevice }: InitModules): string {
  const cases = [...byDevice].map(
    ([id, modules]) => `    0x${id.toString(16).padStart(4, '0')}) load ${modules.join(' ')} ;;`,
  );
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

# busybox's poweroff, reboot and halt ask the first process by these signals. It must never end itself.
end() {
  busybox "$1" -f
  while :; do sleep 1000; done
}
trap 'end poweroff' USR2
trap 'end reboot' TERM
trap 'end halt' USR1

mount -t proc proc /proc
read -r cmdline </proc/cmdline

# value NAME: sets $v to the value of lodger.NAME on the kernel's command line, or to nothing.
value() {
  v=" $cmdline"
  case $v in
    *" lodger.$1="*) v=\${v##* "lodger.$1="} ;;
    *) v=; return ;;
  esac
  case $v in
    \\"*) v=\${v#\\"}; v=\${v%%\\"*} ;;
    *) v=\${v%% *} ;;
  esac
}

value filter; filter=$v
[ "$filter" = 1 ] && stty -echo -onlcr -isig 2>/dev/null
echo '${InitLine}'

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
echo lodger >/proc/sys/kernel/hostname

modules=/lib/modules/${release}
load() {
  for path in "$@"; do insmod "$modules/$path" 2>/dev/null; done
}
load ${transport.join(' ')}
for device in /sys/bus/virtio/devices/*; do
  [ -e "$device/device" ] || continue
  read -r id <"$device/device"
  case $id in
${cases.join('\n')}
  esac
done
[ -e /bin/ls ] || /bin/busybox --install -s
ip link set lo up 2>/dev/null

value console; console=$v
if [ -z "$console" ]; then
  read -r active </sys/class/tty/console/active
  console=\${active##* }
fi
tty=/dev/$console
[ -c "$tty" ] || tty=/dev/console
value term; export TERM="\${v:-linux}"
value cols; cols=$v
value rows; rows=$v
[ -n "$cols" ] && [ -n "$rows" ] && stty cols "$cols" rows "$rows" <"$tty"
[ "$filter" = 1 ] && stty -echo -onlcr -isig <"$tty"

cd /root
value exec; command=$v
value bench
[ "$v" = 1 ] && command=/lodger/bench
# start: runs a command with the console as its terminal, and waits. Signals are acted on meanwhile.
start() {
  setsid -c "$@" <"$tty" >"$tty" 2>&1 &
  wait $!
}
if [ -n "$command" ]; then
  start sh -c "$command"
  echo "lodger: exec exited with status $?" >"$tty"
elif [ "$filter" = 1 ]; then
  # As a script the terminal's input makes no interactive shell.
  start sh "$tty"
else
  # A shell's background job ignores Ctrl-C, and so would the interactive shell that is one: login listens to it again.
  start login -p -f root
fi
end poweroff
`;
}

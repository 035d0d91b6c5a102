# Becomes PID 1 of a machine: the first process of new pid, mount, ipc, uts, net and cgroup namespaces, it
# builds a root file system over an existing one, waits for the word, and executes systemd.
#
# Nothing that is done inside reaches the outside: / is an overlay in memory, /dev holds copies, and /sys
# and /proc/sys are read-only. What the lower root has enabled is not started, and its generators do not
# run: a machine is the same on every host, and boots in a fifth of a second.
#
# $1: the root below the overlay   $2: the daemon's binary   $3: the checkout
set -eu
lower=$1 binary=$2 checkout=$3
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

test -x "$lower/usr/lib/systemd/systemd" || { echo "no systemd in $lower" >&2; exit 1; }

# --- The root. It grows on top of /sys, where nothing can lie that is needed from outside.
base=/sys
mount -t tmpfs -o mode=0755 machine "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$base/upper,workdir=$base/work" machine "$base/root"
cd "$base/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty dev/
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# --- What is to be tested, to be installed from there. Read-only: a test cannot hurt the checkout.
show() { # a file or directory of the outside at a path inside
    if test -d "$1"; then mkdir -p "$2"; else mkdir -p "${2%/*}" && : >>"$2"; fi
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}
rm -rf usr/src/lockstepd
show "$binary" usr/src/lockstepd/target/release/lockstepd
for source in packaging docs README.md; do
    test ! -e "$checkout/$source" || show "$checkout/$source" "usr/src/lockstepd/$source"
done

# --- The system: an identity of its own, the journal, D-Bus on demand, and nothing else.
rm -rf etc/systemd/system usr/lib/systemd/system-generators var/log/journal
units=usr/lib/systemd/system
for target in local-fs sysinit sockets timers basic getty multi-user graphical; do
    rm -rf "$units/$target.target.wants"
done
mkdir -p etc/systemd/system etc/systemd/journald.conf.d \
    "$units/sysinit.target.wants" "$units/sockets.target.wants"
ln -s ../systemd-journald.service "$units/sysinit.target.wants/"
for socket in systemd-journald systemd-journald-dev-log dbus; do
    ln -s "../$socket.socket" "$units/sockets.target.wants/"
done
# The kernel has one audit log: it belongs to the host.
ln -s /dev/null etc/systemd/system/systemd-journald-audit.socket
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nAudit=no\nReadKMsg=no\n' \
    >etc/systemd/journald.conf.d/machine.conf
rm -f etc/machine-id etc/hostname
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
echo machine >etc/hostname
ip link set lo up

# --- Over to systemd, once the test has laid out what it wants to find.
mkfifo run/machine.go
read -r pid _ </proc/self/stat # the test's view of /proc: the pid as seen from there
pivot_root . mnt
cd /
umount -l /mnt
# As PID 1 of a real machine has it, and systemd in a container does not: it mounts credentials in a child's namespace.
mount --make-rshared /
echo "$pid"
read -r _ <run/machine.go
exec env -i container=lockstepd-machine PATH="$PATH" NOTIFY_SOCKET=/run/machine.notify \
    /usr/lib/systemd/systemd --system --unit=multi-user.target >&2

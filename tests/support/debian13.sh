#!/bin/sh
# Makes a Debian 13 root, whose systemd (257) the tests can boot instead of the machine's own:
#
#   tests/support/debian13.sh [DIR]            (default: target/debian13 in this repository)
#   LOCKSTEPD_SYSTEMD_ROOT=target/debian13 cargo test --test systemd
#
# Needs root, Linux's namespaces and a Debian mirror; takes a minute and a half and 300 MB. If there is a root in DIR
# already, it is left as it is: delete DIR to have it made anew. DIR appears only when it is complete.
#
# DEBIAN_MIRROR  where to get Debian from (default: from where apt on this machine gets it)

set -eu
umask 022
suite=trixie
# systemd, and what the tests run inside.
packages=systemd,systemd-sysv,dbus,curl,iproute2,procps

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${1:-$here/../../target/debian13}

die() {
    printf 'debian13.sh: %s\n' "$*" >&2
    exit 1
}

is_complete() { [ -x "$root/usr/lib/systemd/systemd" ]; }

# The mirror that apt has for this machine's own release.
configured_mirror() {
    command -v apt-get >/dev/null || return 0
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && printf %s "${ID:-}:${VERSION_CODENAME:-}")
    # A relative of Debian has other packages on its mirror.
    [ "${release%%:*}" = debian ] || return 0
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        sed -n "s|^${release#*:} main \\(https\\{0,1\\}://.*\\)|\\1|p" | sed q
}

if is_complete; then
    echo "$root is there"
    exit
fi
[ ! -e "$root" ] || die "$root is no Debian root (delete it, or name another directory)"
[ "$(id -u)" = 0 ] || die "debootstrap needs root"
mirror=${DEBIAN_MIRROR:-$(configured_mirror)}
[ -n "$mirror" ] || die "apt has no Debian mirror on this machine: set DEBIAN_MIRROR="

mkdir -p -- "$(dirname -- "$root")"
root=$(cd -- "$(dirname -- "$root")" && pwd)/${root##*/}
# One at a time. The lock ends with this process, so what lies here half made was left by one that was killed.
exec 9>"$root.lock"
flock 9
if is_complete; then
    echo "$root was made meanwhile"
    exit
fi
rm -rf --one-file-system -- "$root.new"

if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || die "no debootstrap, and no apt to install it with"
    echo "installing debootstrap"
    apt-get -qq install --no-install-recommends -y debootstrap debian-archive-keyring >/dev/null </dev/null ||
        { apt-get -qq update && apt-get -qq install --no-install-recommends -y debootstrap debian-archive-keyring; } \
            >/dev/null </dev/null || die "debootstrap cannot be installed (try apt-get install debootstrap)"
fi
# A debootstrap that is older than the suite does as it does with sid.
script=$(dirname -- "$(command -v debootstrap)")/../share/debootstrap/scripts
if [ -e "$script/$suite" ]; then script=$script/$suite; else script=$script/sid; fi

echo "making $root from $mirror"
# In namespaces of its own: when this process ends, however, no process, no mount and nothing half made is left, and
# nothing of this machine is below the directory when that is removed.
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
    debootstrap --force-check-gpg --variant=minbase --include="$packages" "$suite" "$root.new" "$mirror" "$script" \
    >"$root.log" 2>&1 9>&- </dev/null &
child=$!
# A command that fails in here would become the exit code: after a success there is nothing left to kill.
trap 'kill -KILL "$child" 2>/dev/null || :; wait; rm -rf --one-file-system -- "$root.new"' EXIT
trap 'exit 130' HUP INT TERM
wait "$child" || {
    tail -n 20 -- "$root.log" >&2
    die "debootstrap failed; all it said is in $root.log"
}
rm -rf -- "$root.new"/var/cache/apt/archives/*.deb "$root.new"/var/lib/apt/lists/*
mv -T -- "$root.new" "$root"
rm -f -- "$root.log"
echo "made $root, systemd $(sed -n '/^Package: systemd$/,/^$/s/^Version: //p' "$root/var/lib/dpkg/status")"

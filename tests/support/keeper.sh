# Keeps one machine: starts it in namespaces and a cgroup of its own, and takes everything away again
# when its standard input ends, which is when the test has dropped the machine or was killed.
#
# Whoever kills this shell kills the machine with it (pdeathsig, kill-child); the empty cgroup it could
# not remove any more is removed by the next keeper.
#
# $1: the cgroup2 mount   $2: the text of machine.sh   all others: the arguments of machine.sh
set -eu
cgroups=$1 machine=$2
shift 2

remove() { # a cgroup and those below it, if none has a process
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || test ! -d "$1"
}

is_alive() { # a process, which a zombie is not
    test -d "/proc/$1" && read -r _ _ state _ <"/proc/$1/stat" && test "$state" != Z
}

for left in "$cgroups"/lockstepd-machine.*; do
    keeper=${left##*/lockstepd-machine.} keeper=${keeper%.*}
    test ! -d "$left" || is_alive "$keeper" || remove "$left" || true
done

cgroup=$(mktemp -d "$cgroups/lockstepd-machine.$$.XXXXXX")
# A user manager inside looks through it from the top.
chmod 0755 "$cgroup"
echo "$cgroup"

# The cgroup namespace has to be made by a process in its root, and unshare's own must not be in there:
# no cgroup that has both processes and children can have controllers.
setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount --ipc --uts --net \
    sh -c 'echo 0 >"$0/cgroup.procs" && exec unshare --cgroup sh -c "$@"' \
    "$cgroup" "$machine" machine "$@" </dev/null &
trap '' HUP INT TERM
exec >/dev/null # from here on, the end of the output means that the machine could not be made

while read -r _; do :; done

echo 1 >"$cgroup/cgroup.kill"
wait
remove "$cgroup" || { echo "$cgroup is still in use" >&2; exit 1; }

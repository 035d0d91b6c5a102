# shellcheck shell=sh
# What the maintainer scripts of the .deb and the scriptlets of the .rpm have in common; build-packages.sh puts it in
# place of their line #SCRIPTLETS#.
#
# What runs is restarted once, and alone: its sockets stay as they are. A stop and a start, or a restart of sockets and
# service together, would close the sockets, drop the descriptor store with the clients' connections, and be refused by
# systemd half of the time (it opens no socket for a service that runs).

units='lockstepd.service lockstepd.socket lockstepd-admin.socket lockstepd-tls.socket'
instances='lockstepd@*.service lockstepd@*.socket lockstepd-admin@*.socket'
program=/usr/bin/lockstepd
# What the sockets of the version before said, while an upgrade lasts.
sums=/run/lockstepd-sockets.sums

say() { printf 'lockstepd: %s\n' "$*" >&2; }

systemd_runs() { [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; }

# The units of these names or patterns that are active, by word.
running() {
    systemctl list-units --plain --no-legend --state=active,reloading,activating -- "$@" | sed 's/ .*//'
}

# A line for each socket unit, which is another one when the unit says something else.
socket_sums() {
    for socket in /usr/lib/systemd/system/lockstepd*.socket; do
        [ ! -e "$socket" ] || printf '%s %s\n' "${socket##*/}" "$(grep -v -e '^[#;]' -e '^$' "$socket" | cksum)"
    done
}

remember_sockets() {
    rm -f "$sums"
    if systemd_runs; then socket_sums >"$sums"; fi
}

# A socket that is open is not changed by its unit, and opening it anew refuses clients: that is for the operator.
tell_of_changed_sockets() {
    [ -e "$sums" ] || return 0
    changed=$(socket_sums | grep -v -x -F -f "$sums" | sed -e 's/ .*//' -e 's/@/@*/')
    rm -f "$sums"
    for pattern in $changed; do
        for socket in $(running "$pattern"); do
            service=$(systemctl show --property=Triggers --value -- "$socket")
            say "$socket has changed, and stays as it is open. To open it anew (clients are refused meanwhile):"
            say "  systemctl stop $service $socket && systemctl start $service"
        done
    done
}

# Whether the new program takes the configuration of the process $1, with its arguments and its environment: a daemon
# that has to be restarted only to refuse that would be down, while the old one goes on.
check() {
    {
        grep -z '^LOCKSTEPD_' "/proc/$1/environ" || :
        printf '%s\0' "$program" check
        tail -z -n +2 "/proc/$1/cmdline"
    } | xargs -0 env -i 2>&1
}

# restart_running SYSTEMCTL: the service and its instances, those that run this package's program.
restart_running() {
    systemd_runs || return 0
    systemctl daemon-reload || say "systemctl daemon-reload failed: systemd still has the old units"
    restart=
    for unit in $(running lockstepd.service 'lockstepd@*.service'); do
        pid=$(systemctl show --property=MainPID --value -- "$unit")
        case $(readlink "/proc/$pid/exe" || :) in "$program"*) ;; *) continue ;; esac
        if said=$(check "$pid"); then
            restart="$restart $unit"
        else
            say "this version cannot use the configuration of $unit. It was not restarted: the version before goes on."
            say "Mend what is told here, and then: systemctl restart $unit"
            printf '%s\n' "$said" >&2
        fi
    done
    [ -n "$restart" ] || return 0
    # shellcheck disable=SC2086
    "$1" try-restart $restart || say "the restart failed; see: systemctl status$restart"
}

tell_of_hiding_units() {
    for unit in /etc/systemd/system/lockstepd.service /usr/local/lib/systemd/system/lockstepd.service; do
        if [ -f "$unit" ]; then
            say "$unit takes the place of this package's unit. If install.sh made it: packaging/install.sh uninstall"
        fi
    done
}

# All in one command: a socket that were left would start the service again, for the next client.
stop_all() {
    systemd_runs || return 0
    set -f # the patterns are for systemd
    # shellcheck disable=SC2086
    "$1" stop $units $instances || say "systemd could not stop all of lockstepd; see: systemctl status 'lockstepd*'"
    set +f
}

#!/bin/sh
# Installs lockstepd and its systemd units, or removes exactly what it installed. Both may be repeated.
#
#   install.sh install | uninstall            for the system, as root
#   install.sh install | uninstall --user     for `systemctl --user`, as the user
#
# PREFIX            where the binary goes, PREFIX/bin (default /usr/local, of a user ~/.local)
# DESTDIR           a staging directory put before every path; systemd is then left alone
# UNITDIR           where the units go (default PREFIX/lib/systemd/system where systemd reads that, otherwise
#                   /etc/systemd/system; of a user $XDG_DATA_HOME/systemd/user, which is in ~/.local/share)
# LOCKSTEPD_BINARY  the binary to install (default: target/release/lockstepd in this repository)
#
# /etc/lockstepd/lockstepd.toml (of a user, in $XDG_CONFIG_HOME, which is ~/.config) belongs to the operator: once
# edited, it is neither overwritten nor removed. Other files there are not touched.

set -eu
# The service's user has to read the configuration and the binary, whatever the caller's umask is.
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
DESTDIR=${DESTDIR:-}
DESTDIR=${DESTDIR%/}
binary=${LOCKSTEPD_BINARY:-$root/target/release/lockstepd}

usage() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 2
}

case $#:${1:-}:${2:-} in
1:install: | 1:uninstall:) scope=system ;;
2:install:--user | 2:uninstall:--user) scope=user ;;
*)
    usage "say 'install.sh install' or 'install.sh uninstall', and '--user' after it for systemctl --user \
(environment: PREFIX, DESTDIR, UNITDIR, LOCKSTEPD_BINARY)"
    ;;
esac
action=$1

absolute() { # absolute NAME VALUE: units and sed have to take it as it is
    case $2 in
    *[!A-Za-z0-9/._+@-]* | [!/]*) usage "$1=$2: a unit file needs an absolute path of letters, digits and / . _ + @ -" ;;
    esac
}

sockets='lockstepd.socket lockstepd-admin.socket'
if [ "$scope" = system ]; then
    PREFIX=${PREFIX:-/usr/local}
    PREFIX=${PREFIX%/}
    absolute PREFIX "$PREFIX"
    case $PREFIX in
    /home/* | /root | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
        usage "PREFIX=$PREFIX: the service could not see its binary there (ProtectHome=, PrivateTmp=); take /usr/local or /opt/lockstepd"
        ;;
    '' | /usr | /usr/local) unitdir=${UNITDIR:-$PREFIX/lib/systemd/system} ;;
    *) unitdir=${UNITDIR:-/etc/systemd/system} ;;
    esac
    source=$here
    # What the units in the source say instead of $PREFIX.
    written=/usr/local
    config=/etc/lockstepd/lockstepd.toml
    dropins=/etc/systemd/system
    templates='lockstepd@.service lockstepd@.socket lockstepd-admin@.socket'
    systemctl=systemctl
    booted=/run/systemd/system
    remedy='run as root, or set DESTDIR= or PREFIX='
    at_start='at every boot'
else
    [ -n "${HOME:-}" ] || usage "HOME is not set: whose home is it?"
    PREFIX=${PREFIX:-$HOME/.local}
    PREFIX=${PREFIX%/}
    # The units say %h, whatever that is.
    [ "$PREFIX" = "$HOME/.local" ] || absolute PREFIX "$PREFIX"
    unitdir=${UNITDIR:-${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user}
    source=$here/user
    written=%h/.local
    config=${XDG_CONFIG_HOME:-$HOME/.config}/lockstepd/lockstepd.toml
    dropins=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    templates=
    systemctl='systemctl --user'
    booted=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/systemd
    remedy='is it your own directory?'
    at_start='at every login'
fi
bindir=$PREFIX/bin
share=$PREFIX/share
docdir=$share/doc/lockstepd
# Where journalctl looks for explanations of messages; there is no such place of a user.
case $scope:$PREFIX in
system: | system:/usr | system:/usr/local) catalogdir=$PREFIX/lib/systemd/catalog ;;
*) catalogdir= ;;
esac
units="lockstepd.service $sockets"
# For who asks for it, with drop-ins/tls.conf; of the system alone.
[ "$scope" = user ] || units="$units lockstepd-tls.socket"

say() { printf '%s\n' "$*"; }

die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

systemd_runs() { [ -z "$DESTDIR" ] && [ -d "$booted" ]; }

# systemctl, of the system or of the user.
manager() {
    # shellcheck disable=SC2086
    $systemctl "$@"
}

# The directories that were not there before: an uninstall removes them again, once they are empty.
made=
make_dir() {
    make_missing=$1
    make_list=
    while [ "$make_missing" != / ] && [ ! -d "$DESTDIR$make_missing" ]; do
        make_list="$make_missing
$make_list"
        make_missing=$(dirname -- "$make_missing")
    done
    made=$made$make_list
    mkdir -p -- "$DESTDIR$1" || die "cannot create $DESTDIR$1 ($remedy)"
}

# put MODE FILE: stdin becomes FILE, in one step, so that a running binary or a reader never sees half of it.
put() {
    put_to=$DESTDIR$2
    [ ! -d "$put_to" ] || die "cannot write $put_to: it is a directory (move it away)"
    put_tmp=$put_to.new.$$
    if cat >"$put_tmp" && chmod "$1" "$put_tmp" && mv -f -- "$put_tmp" "$put_to"; then
        say "installed  $put_to"
    else
        rm -f -- "$put_tmp"
        die "cannot write $put_to ($remedy; is the disk full?)"
    fi
}

# The units name the binary where it really is.
localised() {
    if [ "$scope" = user ] && [ "$PREFIX" = "$HOME/.local" ]; then
        cat "$1"
    else
        sed "s|$written/|$PREFIX/|g" "$1"
    fi
}

# What is installed besides: a line FILE|TARGET for each file that this checkout has.
additions() {
    for addition in "$here"/man/*.[1-8]; do
        add "$addition" "$share/man/man${addition##*.}"
    done
    add "$here/completions/lockstepd.bash" "$share/bash-completion/completions" lockstepd
    add "$here/completions/_lockstepd" "$share/zsh/site-functions"
    add "$here/completions/lockstepd.fish" "$share/fish/vendor_completions.d"
    if [ -n "$catalogdir" ]; then add "$here/catalog/lockstepd.catalog" "$catalogdir"; fi
    for addition in "$here"/prometheus/*.yml; do
        # What tests the rules is no use without this checkout.
        case $addition in *.test.yml) ;; *) add "$addition" "$share/lockstepd/prometheus" ;; esac
    done
    for addition in "$here"/grafana/*.json; do add "$addition" "$share/lockstepd/grafana"; done
    add "$here/logrotate/lockstepd" "$docdir/logrotate"
    for addition in "$root"/docs/*.md; do add "$addition" "$docdir/docs"; done
}

add() { # add FILE DIRECTORY [NAME]
    if [ -f "$1" ]; then printf '%s|%s\n' "$1" "$2/${3:-${1##*/}}"; fi
}

update_catalog() {
    if systemd_runs && [ -n "$catalogdir" ] && [ -f "$here/catalog/lockstepd.catalog" ]; then
        journalctl --update-catalog || say "journalctl --update-catalog failed: journalctl -x explains nothing of lockstepd's"
    fi
}

remove() {
    for remove_file in "$@"; do
        if [ -e "$DESTDIR$remove_file" ] || [ -L "$DESTDIR$remove_file" ]; then
            rm -f -- "$DESTDIR$remove_file" || die "cannot remove $DESTDIR$remove_file ($remedy)"
            say "removed    $DESTDIR$remove_file"
            removed=yes
        fi
    done
}

# Only empty directories that are nobody else's.
remove_dir() {
    for remove_path in "$@"; do
        if [ -d "$DESTDIR$remove_path" ] && rmdir -- "$DESTDIR$remove_path" 2>/dev/null; then
            say "removed    $DESTDIR$remove_path"
        fi
    done
}

# The units of these names or patterns that are active, by word.
running() { manager list-units --plain --no-legend --state=active,reloading,activating -- "$@" | sed 's/ .*//'; }

# Whether systemd has a file for the unit.
is_known() { manager cat -- "$1" >/dev/null 2>&1; }

reload_systemd() {
    manager daemon-reload || die "$systemctl daemon-reload failed: systemd still has the old units (run it by hand)"
}

install_all() {
    # Everything that can be missing is looked for before anything is written.
    [ -f "$binary" ] || die "no binary at $binary: build it with 'cargo build --release' in $root, \
or name another with LOCKSTEPD_BINARY="
    [ -x "$binary" ] || die "$binary is not executable: it does not look like a built lockstepd"
    for unit in $units $templates; do
        [ -r "$source/$unit" ] || die "cannot read $source/$unit: run install.sh from a complete checkout"
    done

    make_dir "$bindir"
    make_dir "$unitdir"
    make_dir "$docdir/drop-ins"
    make_dir "$(dirname -- "$config")"

    put 0755 "$bindir/lockstepd" <"$binary"
    for unit in $units $templates; do
        localised "$source/$unit" | put 0644 "$unitdir/$unit"
    done
    for drop_in in "$here"/drop-ins/*.conf; do
        name=${drop_in##*/}
        put 0644 "$docdir/drop-ins/$name" <"$drop_in"
    done
    if [ -r "$root/README.md" ]; then
        put 0644 "$docdir/README.md" <"$root/README.md"
    fi
    while IFS='|' read -r from to; do
        [ -n "$from" ] || continue
        make_dir "${to%/*}"
        localised "$from" | put 0644 "$to"
    done <<EOF
$(additions)
EOF
    update_catalog

    # The copy in docdir is what was installed last: a configuration equal to it has not been edited.
    if [ ! -e "$DESTDIR$config" ] || cmp -s -- "$DESTDIR$config" "$DESTDIR$docdir/lockstepd.toml"; then
        put 0644 "$config" <"$here/lockstepd.toml"
    elif cmp -s -- "$DESTDIR$config" "$here/lockstepd.toml"; then
        say "unchanged  $DESTDIR$config"
    else
        say "kept       $DESTDIR$config (edited; the defaults are in $docdir/lockstepd.toml)"
    fi
    put 0644 "$docdir/lockstepd.toml" <"$here/lockstepd.toml"
    if [ -n "$made" ]; then
        {
            [ ! -e "$DESTDIR$docdir/directories" ] || cat -- "$DESTDIR$docdir/directories"
            printf '%s' "$made"
        } | sort -u | put 0644 "$docdir/directories"
    fi

    if systemd_runs; then
        reload_systemd
        is_known lockstepd.service ||
            die "systemd does not look for units in $unitdir: set UNITDIR= to one of those that it names in
  $systemctl show --property=UnitPath"
        for instance in $(running lockstepd.service 'lockstepd@*.service'); do
            say "The lockstepd of before is still running. To replace it: $systemctl restart $instance"
        done
        if [ -z "$(running lockstepd.service)" ]; then
            if [ -n "$(running lockstepd.socket)" ]; then
                say "The next client starts this lockstepd."
            else
                say "To start lockstepd now and $at_start, with the first client:"
                say "  $systemctl enable --now $sockets"
                [ "$scope" = system ] || say "  loginctl enable-linger      (to keep it from ending at the logout)"
            fi
        fi
    fi
}

uninstall_all() {
    if systemd_runs; then
        present=
        for unit in $units $templates; do
            if [ -e "$unitdir/$unit" ] && is_known "$unit"; then present="$present $unit"; fi
        done
        if [ -n "$present" ]; then
            # The sockets as well, in the same breath: otherwise the next client would start the daemon again.
            # A template cannot be stopped, only its instances; disabling it disables them all.
            # shellcheck disable=SC2046,SC2086
            set -- $(printf '%s\n' $present | sed 's/@/@*/')
            # shellcheck disable=SC2086
            if ! { manager stop -- "$@" && manager disable -- $present; }; then
                die "$systemctl cannot stop and disable$present: nothing was removed (see $systemctl status$present)"
            fi
            say "stopped   $present"
        fi
    fi

    removed=
    for unit in $units $templates; do remove "$unitdir/$unit"; done
    remove "$bindir/lockstepd"

    if [ -e "$DESTDIR$config" ]; then
        if cmp -s -- "$DESTDIR$config" "$DESTDIR$docdir/lockstepd.toml"; then
            remove "$config"
        else
            say "kept       $DESTDIR$config (edited; remove it yourself if you want it gone)"
        fi
    fi

    for drop_in in "$here"/drop-ins/*.conf; do remove "$docdir/drop-ins/${drop_in##*/}"; done
    while IFS='|' read -r from to; do
        [ -z "$from" ] || remove "$to"
    done <<EOF
$(additions)
EOF
    update_catalog
    directories=
    if [ -r "$DESTDIR$docdir/directories" ]; then directories=$(sort -r -- "$DESTDIR$docdir/directories"); fi
    remove "$docdir/README.md" "$docdir/lockstepd.toml" "$docdir/directories"
    while read -r directory; do
        [ -z "$directory" ] || remove_dir "$directory"
    done <<EOF
$directories
EOF
    remove_dir "$docdir/drop-ins" "$docdir" "$(dirname -- "$config")"
    case $scope:$PREFIX in
    system: | system:/usr) ;;
    system:/usr/local) remove_dir "$unitdir" "$(dirname -- "$unitdir")" "$PREFIX/share/doc" ;;
    system:*) remove_dir "$bindir" "$PREFIX/share/doc" "$PREFIX/share" "$PREFIX" ;;
    user:*) remove_dir "$unitdir" "$(dirname -- "$unitdir")" "$PREFIX/share/doc" ;;
    esac

    if [ "$scope" = system ] && [ "$unitdir" != /usr/lib/systemd/system ] && systemd_runs &&
        [ -e /usr/lib/systemd/system/lockstepd.service ]; then
        say "A package of lockstepd is installed as well, whose units have the same names and were stopped and disabled. To start them:"
        say "  $systemctl daemon-reload && $systemctl enable --now $sockets"
    fi

    [ -n "$removed" ] || say "nothing to remove: no lockstepd under $DESTDIR$PREFIX (installed with another PREFIX= or DESTDIR=?)"

    for kept in "$DESTDIR$(dirname -- "$config")"/*; do
        # The main one has been spoken of.
        if [ ! -e "$kept" ] || [ "$kept" = "$DESTDIR$config" ]; then continue; fi
        case $kept in
        *.toml) say "kept       $kept (of an instance)" ;;
        *) say "kept       $kept (yours)" ;;
        esac
    done
    for kept in "$DESTDIR$dropins"/lockstepd[.@]*.d "$DESTDIR$dropins"/lockstepd-admin[.@]*.d \
        "$DESTDIR$dropins"/lockstepd-tls.*.d; do
        if [ -d "$kept" ]; then say "kept       $kept (your drop-ins)"; fi
    done

    if systemd_runs; then
        reload_systemd
        # A unit that failed would otherwise be listed by systemd although its file is gone.
        for unit in $units $templates; do
            manager reset-failed -- "$(printf %s "$unit" | sed 's/@/@*/')" 2>/dev/null || :
        done
    fi
}

"${action}_all"

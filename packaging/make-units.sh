#!/bin/sh
# Makes systemd units for an application that uses the library lockstepd.
#
#   make-units.sh NAME BINARY SERVER=ADDRESS...
#
# writes NAME.service and, for each server, a socket unit into the current directory, or into $UNITDIR. The first
# server's unit is NAME.socket, that of another NAME-SERVER.socket. SERVER is the name in Daemon::server, or admin;
# ADDRESS is what ListenStream= takes: 8080, 127.0.0.1:8081, [::1]:8080, [fe80::1]:8080%eth0, /run/shop.sock. For
# example:
#
#   UNITDIR=/etc/systemd/system make-units.sh shop /usr/local/bin/shop public=8080 admin=127.0.0.1:8081
#   systemctl daemon-reload
#   systemctl enable --now shop.socket shop-admin.socket
#
# They are yours from then on: read them, and open the sandbox where the application needs it.

set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
directory=${UNITDIR:-.}

usage() {
    printf 'make-units.sh: %s\nusage: make-units.sh NAME BINARY SERVER=ADDRESS...\n' "$*" >&2
    exit 2
}

[ -d "$directory" ] || usage "$directory (UNITDIR): there is no such directory"
[ $# -ge 3 ] || usage "a name, a binary and at least one server are needed"
name=$1 binary=$2
shift 2
case $name in
'' | *[!A-Za-z0-9_-]*) usage "$name: a name of letters, digits, _ and -" ;;
esac
case $binary in
*[!A-Za-z0-9/._+@-]* | [!/]*) usage "$binary: an absolute path of letters, digits and / . _ + @ -" ;;
/home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
    usage "$binary: the service could not see it there (ProtectHome=, PrivateTmp=); /usr/local/bin is a good place"
    ;;
esac

# The unit of the server $1.
unit() {
    if [ "$1" = "$first" ]; then echo "$name.socket"; else echo "$name-$1.socket"; fi
}

first=${1%%=*}
units=''
for socket in "$@"; do
    case $socket in
    *=*) ;;
    *) usage "$socket: write SERVER=ADDRESS" ;;
    esac
    server=${socket%%=*} address=${socket#*=}
    case $server in
    '' | *[!A-Za-z0-9._-]*) usage "$server: a server's name is of letters, digits, . _ and -" ;;
    esac
    # sed and systemd take these as they are; %t is systemd's word for /run.
    case $address in
    '['*%*']:'*) usage "$address: systemd has the interface at the end: [fe80::1]:8080%eth0" ;;
    unix:*) usage "$address: systemd writes it without unix:" ;;
    '' | *[!A-Za-z0-9./:@%_\[\]-]*) usage "$address: not what ListenStream= takes" ;;
    /?* | @?* | %[A-Za-z]* | '['*:*']':[1-9]* | [0-9]*.[0-9]*.[0-9]*.[0-9]*:[1-9]*) ;;
    0* | *[!0-9]*) usage "$address: write a port, an IP address with a port, or an absolute path" ;;
    esac
    case " $units " in
    *" $(unit "$server") "*) usage "$server: named twice (give one of its units a second ListenStream= instead)" ;;
    esac
    units="$units${units:+ }$(unit "$server")"
done

# make TEMPLATE UNIT: whole or not at all.
make() {
    sed -e "s|@NAME@|$name|g" -e "s|@BINARY@|$binary|g" -e "s|@SOCKET_UNITS@|$units|g" \
        -e "s|@UNIT@|$2|g" -e "s|@IF_PORT@|${if_port:-}|g" -e "s|@SERVER@|${server:-}|g" -e "s|@ADDRESS@|${address:-}|g" \
        "$here/$1" >"$directory/.$2.new"
    mv "$directory/.$2.new" "$directory/$2"
    echo "$directory/$2"
}

for socket in "$@"; do
    server=${socket%%=*} address=${socket#*=}
    # In a unit a % is written twice, where it is no specifier of systemd's.
    case $address in '['*) address=$(printf '%s' "$address" | sed 's/%/%%/g') ;; esac
    # systemd warns of them on Unix sockets.
    case $address in [/@%]*) if_port='#' ;; *) if_port='' ;; esac
    make app.socket.in "$(unit "$server")"
done
make app.service.in "$name.service"

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
# For an application in any language, with the daemon in front of it:
#
#   make-units.sh --proxy NAME ADDRESS COMMAND...
#
# writes NAME.service, drop-ins for lockstepd@NAME.service and lockstepd@NAME.socket, and NAME.toml, unless there is one.
# Clients come to ADDRESS, and the application has to listen on /run/NAME/app.sock. NAME.toml goes to /etc/lockstepd if
# $UNITDIR is in /etc, else to $UNITDIR. $PREFIX/bin has lockstepd (default /usr/local). For example:
#
#   UNITDIR=/etc/systemd/system make-units.sh --proxy shop 8080 \
#       /opt/shop/venv/bin/gunicorn --chdir /opt/shop --bind unix:/run/shop/app.sock shop:app
#   systemctl daemon-reload
#   systemctl enable --now lockstepd@shop.socket lockstepd-admin@shop.socket
#
# They are yours from then on: read them, and open the sandbox where the application needs it.

set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
directory=${UNITDIR:-.}

usage() {
    printf 'make-units.sh: %s\nusage: make-units.sh NAME BINARY SERVER=ADDRESS...\n' "$*" >&2
    printf '       make-units.sh --proxy NAME ADDRESS COMMAND...\n' >&2
    exit 2
}

[ -d "$directory" ] || usage "$directory (UNITDIR): there is no such directory"
kind=library
if [ "${1:-}" = --proxy ]; then
    kind=proxy
    shift
    [ $# -ge 3 ] || usage "a name, an address and the application's command are needed"
else
    [ $# -ge 3 ] || usage "a name, a binary and at least one server are needed"
fi
name=$1
case $name in
'' | *[!A-Za-z0-9_-]*) usage "$name: a name of letters, digits, _ and -" ;;
esac

check_binary() {
    case $1 in
    *[!A-Za-z0-9/._+@-]* | [!/]*) usage "$1: an absolute path of letters, digits and / . _ + @ -" ;;
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*)
        usage "$1: the service could not see it there (ProtectHome=, PrivateTmp=); /usr/local/bin is a good place"
        ;;
    esac
}

# Whether ListenStream= takes the address $1.
check_address() {
    # sed and systemd take these as they are; %t is systemd's word for /run.
    case $1 in
    '['*%*']:'*) usage "$1: systemd has the interface at the end: [fe80::1]:8080%eth0" ;;
    unix:*) usage "$1: systemd writes it without unix:" ;;
    '' | *[!A-Za-z0-9./:@%_\[\]-]*) usage "$1: not what ListenStream= takes" ;;
    /?* | @?* | %[A-Za-z]* | '['*:*']':[1-9]* | [0-9]*.[0-9]*.[0-9]*.[0-9]*:[1-9]*) ;;
    0* | *[!0-9]*) usage "$1: write a port, an IP address with a port, or an absolute path" ;;
    esac
}

# The address as a unit has it, and whether it is no port.
set_address() {
    address=$1
    # In a unit a % is written twice, where it is no specifier of systemd's.
    case $address in '['*) address=$(printf '%s' "$address" | sed 's/%/%%/g') ;; esac
    # systemd warns of them on Unix sockets.
    case $address in [/@%]*) if_port='#' ;; *) if_port='' ;; esac
}

# make TEMPLATE FILE: whole or not at all.
make() {
    new=${2%/*}/.${2##*/}.new
    sed -e "s|@NAME@|$name|g" -e "s|@BINARY@|${binary:-}|g" -e "s|@SOCKET_UNITS@|${units:-}|g" \
        -e "s|@UNIT@|${2##*/}|g" -e "s|@IF_PORT@|${if_port:-}|g" \
        -e "s|@SERVER@|${server:-}|g" -e "s|@ADDRESS@|${address:-}|g" \
        -e "s|@COMMAND@|${command:-}|g" -e "s|@LOCKSTEPD@|${lockstepd:-}|g" \
        "$here/$1" >"$new"
    mv "$new" "$2"
    echo "$2"
}

if [ "$kind" = proxy ]; then
    case $name in
    [!A-Za-z_]* | root | ????????????????????????????????*)
        usage "$name: it names the user as well: a letter or _ first, 31 at most, and not root"
        ;;
    esac
    check_address "$2"
    set_address "$2"
    shift 2
    check_binary "$1"
    command=''
    for word in "$@"; do
        # As sed takes it, and systemd, where a % is written twice.
        case $word in
        '' | *[!A-Za-z0-9/.,:=_+@%-]*)
            usage "$word: write that into ExecStart= by hand, as systemd.service(5) has it; here are letters, digits and / . , : = _ + @ % -"
            ;;
        esac
        command="$command${command:+ }$(printf '%s' "$word" | sed 's/%/%%/g')"
    done
    lockstepd=${PREFIX:-/usr/local}/bin/lockstepd
    case $directory in /etc/*) config=/etc/lockstepd ;; *) config=$directory ;; esac
    mkdir -p "$config"
    for unit in service socket; do mkdir -p "$directory/lockstepd@$name.$unit.d"; done
    make application.service.in "$directory/$name.service"
    make application.conf.in "$directory/lockstepd@$name.service.d/application.conf"
    make application-socket.conf.in "$directory/lockstepd@$name.socket.d/address.conf"
    if [ -e "$config/$name.toml" ]; then
        echo "make-units.sh: $config/$name.toml is kept; it needs proxy = \"unix:/run/$name/app.sock\" in [public]" >&2
    else
        make application.toml.in "$config/$name.toml"
    fi
    exit
fi

binary=$2
shift 2
check_binary "$binary"

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
    check_address "$address"
    case " $units " in
    *" $(unit "$server") "*) usage "$server: named twice (give one of its units a second ListenStream= instead)" ;;
    esac
    units="$units${units:+ }$(unit "$server")"
done

for socket in "$@"; do
    server=${socket%%=*}
    set_address "${socket#*=}"
    make app.socket.in "$directory/$(unit "$server")"
done
make app.service.in "$directory/$name.service"

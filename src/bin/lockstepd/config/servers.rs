//! Settings of the public and the admin server.

use lockstepd::Address;

use super::setting::settings;
use super::value::Mode;

settings! { PublicSettings {
    listen: Vec<Address> = "public.listen" {
        variable: "LOCKSTEPD_PUBLIC",
        value: "ADDRESS",
        default: Default::To("0.0.0.0:9090"),
        reload: false,
        help: "Where the public server listens: IP:PORT or unix:/PATH, several separated by commas",
        more: "Sockets that systemd passes under the name \"public\" take its place: to change those, `systemctl edit \
               lockstepd.socket`. IPv6 has brackets around it, and a link-local address its interface in it, \
               [fe80::1%eth0]:9090; in a socket unit that is ListenStream=[fe80::1]:9090%%eth0. The file of a Unix \
               socket is replaced only if no process listens there, and removed only if this daemon made it.",
    }
    socket_mode: Mode = "public.socket_mode" {
        variable: "LOCKSTEPD_PUBLIC_SOCKET_MODE",
        value: "MODE",
        default: Default::To("0660"),
        reload: false,
        help: "Permissions of Unix sockets that the public server binds, in octal",
        more: "They say who may connect.",
    }
    proxy: Address = "public.proxy" {
        variable: "LOCKSTEPD_PUBLIC_PROXY",
        value: "ADDRESS",
        default: Default::None("none, a greeting is answered", "unix:/run/shop/app.sock"),
        reload: true,
        help: "The application that the public server passes requests on to: unix:/PATH or IP:PORT",
        more: "In any language; with a port, under systemd, it needs drop-ins/tcp-application.conf. A reload may name \
               another application, but not bring the first, or take the last away. make-units.sh --proxy makes the \
               units for both.",
    }
}}

settings! { AdminSettings {
    listen: Vec<Address> = "admin.listen" {
        variable: "LOCKSTEPD_ADMIN",
        value: "ADDRESS",
        default: Default::To("127.0.0.1:9091"),
        reload: false,
        help: "Where the admin server listens; who reaches it can stop the daemon",
        more: "Sockets that systemd passes under the name \"admin\" take its place.",
    }
    socket_mode: Mode = "admin.socket_mode" {
        variable: "LOCKSTEPD_ADMIN_SOCKET_MODE",
        value: "MODE",
        default: Default::To("0660"),
        reload: false,
        help: "Permissions of Unix sockets that the admin server binds, in octal",
        more: "",
    }
    hosts: Vec<String> = "admin.hosts" {
        variable: "LOCKSTEPD_ADMIN_HOSTS",
        value: "NAME",
        default: Default::To(""),
        reload: false,
        help: "Host names, besides localhost and its own addresses, under which the admin server may be asked",
        more: "Behind a TLS proxy, the name that browsers know: a page from https://NAME may then ask, too.",
    }
    users: Vec<u32> = "admin.users" {
        variable: "LOCKSTEPD_ADMIN_USERS",
        value: "UID",
        default: Default::To(""),
        reload: false,
        help: "Users, by number, besides root who may use the admin server's Unix sockets; none for whoever can open \
               them",
        more: "The unit's PrivateUsers=yes hides who a client is, and the start then fails: set PrivateUsers=no with \
               `systemctl edit lockstepd`, or leave this empty, and `systemctl edit lockstepd-admin.socket` with \
               SocketUser= and SocketMode=0600.",
    }
}}

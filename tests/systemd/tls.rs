//! TLS under systemd: the certificate comes with `LoadCredential=`, and a restart is noticed by no client.

use std::net::SocketAddr;

use crate::http2::{log_all, restart_with_a_stream_in_flight};
use crate::restart::{assert_unnoticed, machine, under_load};
use crate::support::{Certificate, Load, Machine, Server, TlsRelay, has_openssl};

const DROP_IN: &str = include_str!("../../packaging/drop-ins/tls.conf");

/// A machine whose daemon speaks TLS as the drop-in has it, and the certificate.
fn secured() -> Option<(Machine, Certificate, tempfile::TempDir)> {
    if !has_openssl() {
        return None;
    }
    let machine = machine()?;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let certificate = Certificate::make(directory.path(), "localhost", &["localhost"], 90);
    put(&machine, &certificate);
    machine.write("/etc/systemd/system/lockstepd.service.d/tls.conf", DROP_IN);
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd-tls.socket"]).ok();
    Some((machine, certificate, directory))
}

/// Puts a certificate where the drop-in looks for it.
fn put(machine: &Machine, certificate: &Certificate) {
    machine.copy_in(&certificate.file, "/etc/lockstepd/tls.pem");
    machine.copy_in(&certificate.key, "/etc/lockstepd/tls.key");
    machine.run("chmod", &["0600", "/etc/lockstepd/tls.key"]).ok();
}

/// Makes a drop-in for a socket unit.
fn socket(machine: &Machine, unit: &str, lines: &str) {
    let path = format!("/etc/systemd/system/{unit}.socket.d/override.conf");
    machine.write(&path, format!("[Socket]\n{lines}\n"));
}

#[test]
fn twenty_restarts_fail_no_request_of_clients_with_tls_and_they_keep_their_connections() {
    let Some((machine, certificate, _directory)) = secured() else { return };
    let relay = machine.in_network(|| TlsRelay::to("127.0.0.1:9443", &certificate.file));
    let address: SocketAddr = relay.address().parse().unwrap();
    let load = Load::on(Server::Tcp(address));
    let report = under_load(&machine, &load, |_| {
        for _ in 0..20 {
            machine.systemctl(&["restart", "lockstepd"]).ok();
        }
    });
    assert_unnoticed(&report, &load);
    machine.assert_properties("lockstepd.service", &[("NRestarts", "0"), ("LimitCORE", "0")]);
}

#[test]
fn a_restart_waits_for_a_stream_of_http2_that_was_agreed_on_by_alpn() {
    let Some((machine, certificate, _directory)) = secured() else { return };
    log_all(&machine, "LOCKSTEPD_TLS_ALPN=h2,http/1.1");
    let relay =
        machine.in_network(|| TlsRelay::speaking(&["h2"], "127.0.0.1:9443", &certificate.file));
    restart_with_a_stream_in_flight(&machine, &relay.address());
}

#[test]
fn a_restart_exchanges_the_certificate_that_systemd_passes() {
    let Some((machine, first, directory)) = secured() else { return };
    let get = |certificate: &Certificate| {
        machine.copy_in(&certificate.file, "/root/authority.pem");
        machine.run("curl", &["-sS", "--cacert", "/root/authority.pem", "https://localhost:9443/"])
    };
    assert_eq!(get(&first).ok(), "Hello, Serve is running...\n");
    let next = Certificate::make(directory.path(), "next", &["localhost"], 90);
    put(&machine, &next);
    machine.systemctl(&["restart", "lockstepd"]).ok();
    assert_eq!(get(&next).ok(), "Hello, Serve is running...\n");
    assert_ne!(get(&first).code, 0);
}

#[test]
fn a_bad_certificate_closes_the_sockets_and_the_journal_says_why() {
    let Some((machine, _first, directory)) = secured() else { return };
    let other = Certificate::make(directory.path(), "other", &["localhost"], 90);
    machine.copy_in(&other.key, "/etc/lockstepd/tls.key");
    assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
    machine.wait_for_state("lockstepd.service", "failed");
    for socket in ["lockstepd.socket", "lockstepd-admin.socket", "lockstepd-tls.socket"] {
        machine.wait_for_state(socket, "inactive");
    }
    machine.assert_properties("lockstepd.service", &[("ExecMainStatus", "78")]);
    let journal = machine.run("journalctl", &["-u", "lockstepd", "-o", "cat"]).ok();
    assert!(journal.contains("cannot be used with the key"), "{journal}");
}

#[test]
fn the_socket_of_clear_text_redirects_where_it_has_that_name() {
    let Some((machine, certificate, _directory)) = secured() else { return };
    machine.write(
        "/etc/lockstepd/lockstepd.toml",
        "[public]\nlisten = []\n[tls]\nredirect = [\"0.0.0.0:80\"]\nport = 443\n",
    );
    socket(&machine, "lockstepd", "FileDescriptorName=redirect\nListenStream=\nListenStream=80");
    socket(&machine, "lockstepd-tls", "ListenStream=\nListenStream=443");
    machine.sh("systemctl daemon-reload; systemctl stop 'lockstepd*'").ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    machine.copy_in(&certificate.file, "/root/authority.pem");
    let follow = "curl -sSL --cacert /root/authority.pem http://localhost/any";
    assert_eq!(machine.sh(follow).ok(), "Hello, Serve is running...\n");
    machine.systemctl(&["restart", "lockstepd"]).ok();
    assert_eq!(machine.sh(follow).ok(), "Hello, Serve is running...\n");
}

#[test]
fn an_instance_speaks_tls_where_its_socket_has_that_name() {
    let Some((machine, certificate, _directory)) = secured() else { return };
    let drop_in: String = DROP_IN
        .lines()
        .filter(|line| !line.starts_with("Sockets="))
        .map(|l| l.to_owned() + "\n")
        .collect();
    machine.write("/etc/systemd/system/lockstepd@shop.service.d/tls.conf", &drop_in);
    machine.write("/etc/lockstepd/shop.toml", "[public]\nlisten = []\n");
    let names = "FileDescriptorName=public-tls\nListenStream=\nListenStream=443";
    socket(&machine, "lockstepd@shop", names);
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd@shop.socket", "lockstepd-admin@shop.socket"]).ok();
    machine.copy_in(&certificate.file, "/root/authority.pem");
    let ask = "curl -sS --cacert /root/authority.pem https://localhost/any";
    assert_eq!(machine.sh(ask).ok(), "Hello, Serve is running...\n");
}

#[test]
fn tls_costs_no_exposure() {
    let Some((machine, _certificate, _directory)) = secured() else { return };
    machine.activate();
    let report = machine.run("systemd-analyze", &["security", "lockstepd.service"]).ok();
    let level = report.rsplit("Overall exposure level for lockstepd.service: ").next();
    let level: f32 = level.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap();
    assert!(level <= 0.4, "{report}");
}

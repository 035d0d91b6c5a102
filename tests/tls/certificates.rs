//! Certificates: which are refused, which is shown, how they are exchanged, and those of clients.

use std::fs;

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::Signal,
};

use crate::secured::{Secured, secured_address, set_mode};
use crate::support::{
    Application, Certificate, Client, Launch, PATIENCE, SClient, ask, has_strace, wait_until,
};

const EXPIRED: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/fixtures/expired.pem"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/fixtures/expired.key"),
];

/// Asserts that neither a start nor a check accepts a certificate.
#[track_caller]
fn refused(certificate: &Certificate, texts: &[&str]) {
    Secured::with(&[certificate]).end().assert(78, texts);
    Secured::with(&[certificate]).args(["check"]).end().assert(78, texts);
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_with_78_and_the_remedy() {
    let Some((_, good, directory)) = Secured::launch() else { return };
    let other = Certificate::make(directory.path(), "other", &["other.example"], 90);

    let wrong = Certificate { file: good.file.clone(), key: other.key.clone() };
    refused(&wrong, &["no TLS for \"public\"", "cannot be used with the key", "the one that the"]);

    let missing = Certificate { file: directory.path().join("none.pem"), key: good.key.clone() };
    refused(&missing, &["cannot read", "none.pem", "LoadCredential="]);

    // What is being written, or has been on a full disk, is empty.
    let garbage = directory.path().join("garbage.pem");
    for content in ["no certificate", "", "\n", "-----END CERTIFICATE-----"] {
        fs::write(&garbage, content).unwrap();
        let garbage = Certificate { file: garbage.clone(), key: good.key.clone() };
        refused(&garbage, &["is no certificate in PEM"]);
    }

    let [file, key] = EXPIRED.map(|from| {
        let to = directory.path().join(from.rsplit('/').next().unwrap());
        fs::copy(from, &to).unwrap();
        set_mode(&to, 0o600);
        to
    });
    refused(&Certificate { file, key }, &["has expired", "days ago (renew it)"]);

    set_mode(&good.key, 0o644);
    refused(&good, &["may be read by every user", "chmod o-r"]);
    set_mode(&good.key, 0o640);
    Secured::with(&[&good]).args(["check"]).end().assert(0, &[]);
}

#[test]
fn settings_that_do_not_fit_each_other_end_the_start_with_78() {
    let Some((_, good, _directory)) = Secured::launch() else { return };
    let file = good.file.to_string_lossy();
    let with = |arguments: &[&str]| Launch::daemon().args(arguments).end();
    with(&["--tls-certificates", &file]).assert(78, &["names one file and tls.keys none"]);
    with(&["--tls-redirect", "127.0.0.1:0"]).assert(78, &["but no certificates"]);
    Secured::with(&[&good])
        .args(["--tls-admin", "127.0.0.1:0"])
        .end()
        .assert(78, &["tls.admin_authorities"]);
    Secured::with(&[&good])
        .args(["--tls-client-certificates", "require"])
        .end()
        .assert(78, &["without tls.client_authorities"]);
    Secured::with(&[&good]).args(["--tls-alpn", "spdy"]).end().assert(78, &["\"spdy\" cannot"]);
}

#[test]
fn a_reload_exchanges_certificates_and_a_bad_one_changes_nothing() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let old = fs::read(&secured.certificate.file).unwrap();
    let authority = secured.directory().join("authority.pem");
    fs::write(&authority, &old).unwrap();
    let mut client = SClient::connect(&address, &authority, &[]);
    client.greet();

    let next = Certificate::make(secured.directory(), "next", &["localhost"], 90);
    fs::copy(&next.file, &secured.certificate.file).unwrap();
    secured.daemon.signal(Signal::HUP);
    let refused = secured.daemon.event("not reloaded; the configuration before holds");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("cannot be used with the key"), "{error}");
    SClient::connect(&address, &authority, &[]).greet();
    assert_eq!(secured.metric("lockstepd_reloads_total{result=\"failed\"}"), 1);

    fs::copy(&next.key, &secured.certificate.key).unwrap();
    secured.daemon.signal(Signal::HUP);
    secured.daemon.event("reloaded");
    SClient::connect(&address, &next.file, &[]).greet();
    // The connection that there was goes on, with what it was made with.
    client.greet();
    secured.upgrade();
    client.greet();
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn a_key_that_does_not_come_holds_up_no_stop() {
    let Some(secured) = Secured::start(&[]) else { return };
    let key = &secured.certificate.key;
    fs::remove_file(key).unwrap();
    mkfifoat(CWD, key, Mode::RUSR | Mode::WUSR).unwrap();
    secured.daemon.signal(Signal::HUP);
    // Opened once the daemon reads it.
    let writer = fs::OpenOptions::new().write(true).open(key).unwrap();
    secured.daemon.stop().assert(0, &[]);
    drop(writer);
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let Some((_, first, directory)) = Secured::launch() else { return };
    let second = Certificate::make(directory.path(), "two", &["two.example", "*.two.example"], 90);
    let mut daemon = Secured::with(&[&first, &second]).start();
    let address = secured_address(&mut daemon);
    for (asked, shown) in [
        ("localhost", "CN = localhost"),
        ("two.example", "CN = two"),
        ("x.two.example", "CN = two"),
        ("unknown.example", "CN = localhost"),
    ] {
        let mut client = SClient::connect_as(asked, &address);
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (_, said) = client.end();
        let subject = said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
        assert!(subject.contains(shown), "{asked}: {subject:?} in {said}");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn operators_see_when_certificates_expire_and_are_warned_fourteen_days_before() {
    let Some((_, good, directory)) = Secured::launch() else { return };
    let soon = Certificate::make(directory.path(), "soon", &["soon.example"], 13);
    let mut daemon = Secured::with(&[&good, &soon]).start();
    let warning = daemon.event("a certificate expires soon (renew it, then reload or restart)");
    assert_eq!(warning["names"], "soon.example");
    assert_eq!(warning["days_left"], 12);
    let metrics = daemon.get_admin("/metrics").body;
    let name = "lockstepd_tls_certificate_expiry_timestamp_seconds{server=\"public\",certificate=";
    assert_eq!(metrics.matches(name).count(), 2, "{metrics}");
    let status: serde_json::Value =
        serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    let shown = &status["tls"][0];
    assert_eq!(shown["server"], "public");
    assert_eq!(shown["certificates"][1]["names"][0], "soon.example");
    assert!(shown["certificates"][1]["expires_at"].is_string());
    assert_eq!(status["servers"][0]["sockets"][1]["tls"], true);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert_eq!(ended.text().matches("expires soon").count(), 1);
}

#[test]
fn clients_without_a_certificate_are_refused_where_one_is_required() {
    let Some((launch, good, directory)) = Secured::launch() else { return };
    let authority = Certificate::make(directory.path(), "staff", &["staff.example"], 90);
    let alice = Certificate::signed(directory.path(), "alice", &authority);
    let socket = format!("unix:{}", directory.path().join("app.sock").display());
    let application = Application::start(&socket, &directory.path().join("executed"), &[]);
    let file = authority.file.to_string_lossy();
    let mut daemon = launch
        .args(["--tls-client-authorities", &*file, "--public-proxy", application.address()])
        .start();
    let address = secured_address(&mut daemon);
    let (_, said) = SClient::connect(&address, &good.file, &["-msg"]).ended();
    assert!(said.contains("CertificateRequest"), "{said}");
    let mut client = SClient::connect(
        &address,
        &good.file,
        &["-cert", &alice.file.to_string_lossy(), "-key", &alice.key.to_string_lossy()],
    );
    client.send("GET /headers HTTP/1.1\r\nHost: localhost\r\nClient-Cert: :bGllcw==:\r\n\r\n");
    client.wait_for("the application's answer", |said| said.contains("client-cert"));
    let said = client.said();
    assert!(said.contains("x-forwarded-proto: https"), "{said}");
    assert!(!said.contains("bGllcw=="), "what a client says itself is not passed on");
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    client.send("GET /headers HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.wait_for("the next process knows the certificate as well", |said| {
        said.matches("client-cert: :MII").count() == 2
    });
    daemon.stop().assert(0, &[]);
}

#[test]
fn the_admin_server_over_tls_serves_those_alone_whose_certificates_are_signed() {
    let Some((launch, good, directory)) = Secured::launch() else { return };
    let authority = Certificate::make(directory.path(), "operators", &["operators.example"], 90);
    let root = Certificate::signed(directory.path(), "root", &authority);
    let file = authority.file.to_string_lossy();
    let admin = format!("{}:0", Launch::address());
    let mut daemon =
        launch.args(["--tls-admin", &admin, "--tls-admin-authorities", &*file]).start();
    let addresses = daemon.addresses("admin");
    let address = addresses.iter().find_map(|it| it.strip_suffix(" (TLS)")).unwrap();
    let mut client = SClient::connect(
        address,
        &good.file,
        &["-cert", &root.file.to_string_lossy(), "-key", &root.key.to_string_lossy()],
    );
    client.send("GET /listener HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.wait_for("its answer", |said| said.contains("Hello, I am is listener!!"));
    let (_, said) = SClient::connect(address, &good.file, &["-msg"]).end();
    assert!(!said.contains("listener!!"), "{said}");
    assert_eq!(ask(&daemon.admin(), "GET", "/live").status, 200);
    daemon.stop().assert(0, &[]);
}

#[test]
fn keys_are_in_no_line_of_the_log() {
    let Some(mut secured) = Secured::start(&["--log-level", "trace"]) else { return };
    let address = secured.address();
    let mut client = SClient::connect(&address, &secured.certificate.file, &[]);
    client.greet();
    secured.upgrade();
    client.greet();
    let key = fs::read_to_string(&secured.certificate.key).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let open = "lockstepd_connections{server=\"public\"}";
    wait_until("it is open", PATIENCE, || secured.metric(open) == 1);
    let ended = secured.daemon.stop();
    assert!(!ended.text().contains(&secret));
    assert!(!ended.text().contains("Saved {"), "its state is not shown");
}

#[test]
fn the_authorities_that_clients_trust_are_read_for_no_server_and_no_connection() {
    let Some((_, certificate, directory)) = Secured::launch() else { return };
    if !has_strace() {
        return;
    }
    let (authorities, opened) =
        (directory.path().join("authorities"), directory.path().join("opened"));
    fs::copy(&certificate.file, &authorities).unwrap();
    let launch = Secured::traced(&certificate, &authorities, &opened);
    let launch = launch.env("SSL_CERT_FILE", &authorities);
    let mut secured = Secured::of(launch, certificate, directory);
    let relay = secured.relay();
    let mut client = Client::connect(&relay.address());
    for _ in 0..2 {
        assert_eq!(client.request("GET", "/").status, 200);
        secured.upgrade();
    }
    assert_eq!(client.request("GET", "/").status, 200);
    secured.daemon.stop().assert(0, &[]);
    // By each program once, when s2n-tls is initialized: the first, and for each upgrade one that checks the configuration
    // and one that serves.
    let opened = fs::read_to_string(&opened).unwrap();
    assert_eq!(opened.matches("openat(").count(), 5, "{opened}");
}

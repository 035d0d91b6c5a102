//! OpenSSL's client over upgrades in place: versions, ciphers, new keys, sessions.

use crate::secured::Secured;
use crate::support::SClient;

/// One connection, before and after two upgrades.
#[track_caller]
fn goes_on(arguments: &[&str], shown: &str) {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let mut client = SClient::connect(&address, &secured.certificate.file, arguments);
    client.greet();
    assert!(client.said().contains(shown), "{shown} is not in {}", client.said());
    for _ in 0..2 {
        secured.upgrade();
        client.greet();
        client.greet();
        assert_eq!(secured.metric("lockstepd_connections_taken_over_total{server=\"public\"}"), 1);
        assert_eq!(secured.metric("lockstepd_connections_accepted_total{server=\"public\"}"), 0);
    }
    let (_, said) = client.end();
    assert_eq!(said.matches("Hello, Serve is running...").count(), 5);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn a_connection_of_tls_1_3_outlives_the_process() {
    goes_on(&["-tls1_3"], "TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256");
}

#[test]
fn a_connection_of_tls_1_2_outlives_the_process() {
    goes_on(&["-tls1_2"], "TLSv1.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256");
}

#[test]
fn a_connection_with_chacha20_outlives_the_process() {
    let cipher = "TLS_CHACHA20_POLY1305_SHA256";
    goes_on(&["-tls1_3", "-ciphersuites", cipher], &format!("Cipher is {cipher}"));
}

#[test]
fn a_connection_with_a_384_bit_hash_outlives_the_process() {
    let cipher = "TLS_AES_256_GCM_SHA384";
    goes_on(&["-tls1_3", "-ciphersuites", cipher], &format!("Cipher is {cipher}"));
}

#[test]
fn keys_are_exchanged_before_and_after_an_upgrade() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let mut client = SClient::connect(&address, &secured.certificate.file, &["-tls1_3", "-msg"]);
    client.greet();
    for command in ["k\n", "K\n"] {
        let updates = |said: &str, way: &str| {
            said.matches(&format!("{way} TLS 1.3, Handshake [length 0005], KeyUpdate")).count()
        };
        let before = updates(&client.said(), ">>>");
        client.send(command);
        client.wait_for("the client's KeyUpdate", |said| updates(said, ">>>") == before + 1);
        secured.upgrade();
        client.greet();
        client.greet();
        let wanted = usize::from(command == "K\n");
        client.wait_for("the daemon's KeyUpdate", |said| updates(said, "<<<") >= wanted);
    }
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn keys_that_were_asked_for_within_a_request_are_exchanged_by_the_next_process() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let mut client = SClient::connect(&address, &secured.certificate.file, &["-tls1_3", "-msg"]);
    client.greet();
    client.send("K\n");
    client.wait_for("the client's KeyUpdate", |said| {
        said.contains(">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
    });
    client.send("GET / HTTP/1.1\nHo");
    secured.upgrade();
    client.send("st: localhost\n\n");
    client.greeted();
    assert!(client.said().contains("<<< TLS 1.3, Handshake [length 0005], KeyUpdate"));
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn sessions_are_resumed_in_the_next_process() {
    for version in ["-tls1_3", "-tls1_2"] {
        let Some(mut secured) = Secured::start(&[]) else { return };
        let address = secured.address();
        let session = secured.directory().join("session.pem");
        let session = session.to_string_lossy();
        let authority = secured.certificate.file.clone();
        let mut first = SClient::connect(&address, &authority, &[version, "-sess_out", &session]);
        first.greet();
        let (_, said) = first.end();
        assert!(said.contains("New, TLSv1."), "{said}");
        secured.upgrade();
        let mut second = SClient::connect(&address, &authority, &[version, "-sess_in", &session]);
        second.greet();
        assert!(second.said().contains("Reused, TLSv1."), "{}", second.said());
        let handshakes = "lockstepd_tls_handshakes_total{server=\"public\",result=\"resumed\"}";
        assert_eq!(secured.metric(handshakes), 1);
        secured.daemon.stop().assert(0, &[]);
    }
}

#[test]
fn a_client_is_told_in_tls_that_its_connection_ends() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let authority = secured.certificate.file.clone();
    let mut idle = SClient::connect(&address, &authority, &["-msg"]);
    idle.greet();
    let mut last = SClient::connect(&address, &authority, &["-msg"]);
    last.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    last.greeted();
    let told = |said: &str| said.contains("<<< TLS 1.3, Alert [length 0002], warning close_notify");
    last.wait_for("close_notify after the last answer", told);
    secured.daemon.stop().assert(0, &[]);
    idle.wait_for("close_notify at the stop", told);
}

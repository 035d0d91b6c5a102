//! Clients that do not make a handshake, or not a good one.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use crate::secured::Secured;
use crate::support::{Client, PATIENCE, SClient, ask, get, wait_until};

#[test]
fn a_request_in_clear_text_is_answered_400_and_told_of_https() {
    let Some(mut secured) = Secured::start(&["--access-log", "errors"]) else { return };
    let answer = get(&secured.address(), "/");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("https://"), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    let line = secured.daemon.event("request not understood");
    assert_eq!(line["error"], "a request in clear text, where TLS is spoken");
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn garbage_ends_its_own_connection_alone() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let relay = secured.relay();
    let mut other = Client::connect(&relay.address());
    assert_eq!(other.request("GET", "/").status, 200);
    for garbage in
        [&[0; 64][..], b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01"]
    {
        let mut client = TcpStream::connect(&address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(garbage).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        // An alert, or a reset: what was not read when the server closed makes it that.
        let _ = client.read_to_end(&mut heard);
        assert!(!heard.starts_with(b"HTTP/"), "{}", heard.escape_ascii());
    }
    let failed = "lockstepd_tls_handshakes_total{server=\"public\",result=\"failed\"}";
    wait_until("all have failed", PATIENCE, || secured.metric(failed) == 4);
    assert_eq!(other.request("GET", "/").status, 200);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    let Some(mut secured) = Secured::start(&["--head-timeout", "200ms"]) else { return };
    let mut client = TcpStream::connect(secured.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard);
    let timeouts = "lockstepd_timeouts_total{server=\"public\",waiting_for=\"handshake\"}";
    assert_eq!(secured.metric(timeouts), 1);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn versions_before_1_2_are_refused_with_an_alert() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let arguments = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-msg"];
    let client = SClient::connect(&address, &secured.certificate.file, &arguments);
    let (_, said) = client.end();
    assert!(said.contains("fatal protocol_version"), "{said}");
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn renegotiation_is_refused() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let arguments = ["-tls1_2", "-legacy_renegotiation", "-msg"];
    let mut client = SClient::connect(&address, &secured.certificate.file, &arguments);
    client.greet();
    client.send("R\n");
    let (_, said) = client.ended();
    assert_eq!(said.matches("ClientHello").count(), 2, "{said}");
    assert_eq!(said.matches("ServerHello,").count() + said.matches("ServerHello\n").count(), 1);
    assert_eq!(ask(&secured.daemon.public(), "GET", "/").status, 200);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn a_client_that_closes_without_a_word_is_no_event() {
    let Some(mut secured) = Secured::start(&["--log-level", "info"]) else { return };
    let relay = secured.relay();
    let mut client = Client::connect(&relay.address());
    assert_eq!(client.request("GET", "/").status, 200);
    let address = secured.address();
    drop(SClient::connect(&address, &secured.certificate.file, &[]));
    drop(client);
    drop(relay);
    let open = "lockstepd_connections{server=\"public\"}";
    wait_until("all are gone", PATIENCE, || secured.metric(open) == 0);
    let ended = secured.daemon.stop();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("WARN") && !ended.text().contains("ERROR"), "{}", ended.text());
}

#[test]
fn the_application_protocol_is_http_1_1() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let address = secured.address();
    let mut client =
        SClient::connect(&address, &secured.certificate.file, &["-alpn", "h2,http/1.1"]);
    client.greet();
    assert!(client.said().contains("ALPN protocol: http/1.1"), "{}", client.said());
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn http_2_is_spoken_where_it_is_offered() {
    let Some(mut secured) = Secured::start(&["--tls-alpn", "h2,http/1.1"]) else { return };
    let address = secured.address();
    let port = address.rsplit(':').next().unwrap();
    let to = format!("localhost:{port}:{address}");
    let file = secured.certificate.file.to_string_lossy();
    let url = format!("https://localhost:{port}/");
    let shown = ["-w", "%{http_version}", "--connect-to", &*to, "--cacert", &*file, &*url];
    for (asked, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let curl = Command::new("curl").args(["-sS", asked]).args(shown).output().unwrap();
        let said = String::from_utf8_lossy(&curl.stdout).into_owned();
        assert_eq!(said, format!("Hello, Serve is running...\n{version}"), "{curl:?}");
    }
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn a_probe_that_only_connects_is_no_failed_handshake() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    drop(TcpStream::connect(secured.address()).unwrap());
    let (accepted, open) = (
        "lockstepd_connections_accepted_total{server=\"public\"}",
        "lockstepd_connections{server=\"public\"}",
    );
    wait_until("it has come and gone", PATIENCE, || {
        secured.metric(accepted) == 1 && secured.metric(open) == 0
    });
    let failed = "lockstepd_tls_handshakes_total{server=\"public\",result=\"failed\"}";
    assert_eq!(secured.metric(failed), 0);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn who_comes_in_clear_text_is_redirected_where_that_is_wanted() {
    let redirect = format!("{}:0", crate::support::Launch::address());
    let Some(mut secured) = Secured::start(&["--tls-redirect", &redirect, "--tls-port", "443"])
    else {
        return;
    };
    let address = secured.daemon.addresses("redirect").remove(0);
    let mut client = Client::connect(&address);
    client.send("GET /a?b=c HTTP/1.1\r\nHost: shop.example:80\r\n\r\n");
    let answer = client.response("GET");
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), Some("https://shop.example/a?b=c"));
    secured.daemon.stop().assert(0, &[]);
}

//! The admin server against what a web page, or a client of somebody else's, can make others send.

use std::process::Command;

use serde_json::Value;

use crate::{
    program::Samples,
    support::{Daemon, Launch, ask, exchange},
};

/// Hosts that a page's name could resolve to us under, or that only look like ours.
const FOREIGN_HOSTS: [&str; 7] = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example:9091",
    "evil.localhost",
    "localhost@evil.example",
    "evil@localhost",
    "192.0.2.1",
];

/// What a request may carry besides a foreign host; nothing of it excuses that.
const EXCUSES: [&str; 7] = [
    "",
    "Origin: http://localhost\r\n",
    "Referer: http://localhost/\r\n",
    "Sec-Fetch-Site: same-origin\r\n",
    "Sec-Fetch-Site: none\r\n",
    "X-Forwarded-Host: localhost\r\n",
    "Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n",
];

/// What a browser says, or is made to say, for a page of somebody else's that names the right host.
const FOREIGN_PAGES: [&str; 11] = [
    "Origin: http://evil.example\r\n",
    "Origin: null\r\n",
    "Origin: http://localhost:1\r\n",
    "Origin: https://localhost\r\n",
    "Origin: http://localhost.evil.example\r\n",
    "Referer: http://evil.example/localhost\r\n",
    "Referer: http://localhost@evil.example/\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Site: same-site\r\n",
    "Sec-Fetch-Site: none, same-origin\r\n",
    "Sec-Fetch-Site: none\r\nOrigin: http://evil.example\r\n",
];

const METHODS: [&str; 5] = ["GET", "POST", "HEAD", "PUT", "OPTIONS"];
const ORDERS: [&str; 3] = ["/listener?stop=forged", "/listener?fail=forged", "/reload"];

/// Every host and the fields beside it that a forged request may have.
fn forgeries() -> impl Iterator<Item = String> {
    let foreign = |host| EXCUSES.map(|excuse| format!("Host: {host}\r\n{excuse}"));
    let hosts = FOREIGN_HOSTS.into_iter().flat_map(foreign);
    let pages = |host| FOREIGN_PAGES.map(|page| format!("Host: {host}\r\n{page}"));
    hosts.chain(["localhost", ""].into_iter().flat_map(pages))
}

#[test]
fn probes_that_name_no_host_get_their_answers() {
    let mut daemon = Launch::daemon().start();
    let admin = daemon.admin();
    for (request, status) in [
        ("GET /ready HTTP/1.0\r\n\r\n", 200),
        // HAProxy's `option httpchk`, and the same with a path.
        ("OPTIONS / HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS /ready HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS /live HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS /status HTTP/1.0\r\n\r\n", 405),
        ("GET /ready HTTP/1.0\r\nHost:\r\n\r\n", 200),
        ("GET /ready HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200),
        ("GET /nothing HTTP/1.0\r\n\r\n", 404),
        ("GET /ready HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        ("GET /ready HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n", 403),
        ("GET /ready HTTP/1.0\r\nHost:\r\nHost:\r\n\r\n", 400),
        // RFC 9112 section 3.2.
        ("GET /ready HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ] {
        let heard = exchange(&admin, request.as_bytes(), false);
        assert_eq!(heard.statuses(), [status], "{request}{}", heard.summary());
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_thousand_forged_requests_change_nothing() {
    let mut daemon = Launch::daemon().start();
    let admin = daemon.admin();
    let before = status(&mut daemon);
    let mut sent = 0;
    for fields in forgeries() {
        for method in METHODS {
            for order in ORDERS {
                let request =
                    format!("{method} {order} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
                let heard = exchange(&admin, request.as_bytes(), false);
                let refused = matches!(heard.statuses()[..], [400 | 403]);
                assert!(refused, "{request}{}", heard.summary());
                sent += 1;
            }
        }
    }
    assert!(sent >= 1000, "{sent} requests");

    let after = status(&mut daemon);
    assert_eq!((&after["pid"], &after["phase"]), (&before["pid"], &"ready".into()));
    assert_eq!(after["stop_cause"], Value::Null);
    let samples = Samples::of(&admin);
    for result in ["ok", "failed"] {
        let reloads = samples.value(&format!("lockstepd_reloads_total{{result=\"{result}\"}}"));
        assert!(reloads.abs() < 0.5, "{reloads} reloads {result}");
    }
    assert_eq!(curl(&admin, "/listener"), "Hello, I am is listener!!\n");

    // That they would have had an effect otherwise shows an order that is nobody's forgery.
    assert_eq!(curl(&admin, "/listener?stop=enough"), "Hello, I am is listener!!\n");
    let ended = daemon.end();
    ended.assert(0, &["enough"]);
    assert!(!ended.text().contains("forged"), "{}", ended.text());
}

#[test]
fn a_page_behind_a_tls_proxy_may_give_orders_where_its_host_is_listed() {
    let mut daemon = Launch::daemon().args(["--admin-hosts", "ops.example"]).start();
    let admin = daemon.admin();
    let reload = |host: &str, page: &str| {
        let request =
            format!("POST /reload HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{page}\r\n");
        exchange(&admin, request.as_bytes(), false).statuses()
    };
    // As proxies pass it on, and as nginx does of itself.
    for host in ["ops.example", &admin] {
        for page in [
            "Origin: https://ops.example\r\nSec-Fetch-Site: same-origin\r\n",
            "Origin: https://ops.example\r\nReferer: https://ops.example/\r\n",
            "Origin: https://ops.example:443\r\n",
        ] {
            assert_eq!(reload(host, page), [202], "{host} {page}");
        }
        for page in [
            "Origin: https://ops.example:8443\r\n",
            "Origin: https://evil.example\r\n",
            "Origin: https://ops.example\r\nReferer: https://evil.example/\r\n",
            "Origin: https://ops.example\r\nSec-Fetch-Site: same-site\r\n",
        ] {
            assert_eq!(reload(host, page), [403], "{host} {page}");
        }
    }
    let page = "Origin: https://ops.example:8443\r\n";
    assert_eq!(reload("ops.example:8443", page), [202]);
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_body_beyond_the_limit_is_answered_413_however_it_is_framed_and_has_no_effect() {
    let mut daemon = Launch::daemon().args(["--max-admin-body-size", "10"]).start();
    let admin = daemon.admin();
    let order = |body: &str| {
        let request = format!("POST /listener?stop=large HTTP/1.1\r\nHost: localhost\r\n{body}");
        exchange(&admin, request.as_bytes(), false)
    };
    for body in [
        "Content-Length: 11\r\n\r\n",
        "Content-Length: 11\r\n\r\n01234567890",
        "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n",
    ] {
        // Heard to its end: the connection is closed, though the request did not ask for that.
        let heard = order(body);
        assert_eq!(heard.statuses(), [413], "{body}: {}", heard.summary());
        assert!(heard.answers[0].head.contains("\r\nconnection: close\r\n"), "{heard:?}");
    }
    let limits = &status(&mut daemon)["limits"];
    assert_eq!(limits["admin_body_size_bytes"], 10);
    for body in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"].map(|framing| {
        let body = if framing.starts_with('C') {
            "0123456789"
        } else {
            "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"
        };
        format!("GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n{body}")
    }) {
        assert_eq!(exchange(&admin, body.as_bytes(), false).statuses(), [200], "{body}");
    }
    daemon.stop().assert(0, &[]);
}

/// What `/status` says.
fn status(daemon: &mut Daemon) -> Value {
    let answer = ask(&daemon.admin(), "GET", "/status");
    serde_json::from_slice(&answer.body).expect("the status is JSON")
}

/// What curl gets as the README writes it, under the name `localhost`.
#[track_caller]
fn curl(admin: &str, path: &str) -> String {
    let (ip, port) = admin.rsplit_once(':').expect("an address has a port");
    let resolve = format!("localhost:{port}:{ip}");
    let url = format!("localhost:{port}{path}");
    let arguments = ["--silent", "--fail", "--max-time", "50", "--resolve", &resolve, &url];
    let output = Command::new("curl").args(arguments).output().expect("curl can be run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("every answer is text")
}

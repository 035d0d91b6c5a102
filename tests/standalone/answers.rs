//! What the two servers answer.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Launch};

#[test]
fn every_public_path_answers_the_sentence() {
    let mut daemon = Launch::daemon().start();
    for path in ["/", "/any", "/listener", "/a/b?c=d"] {
        let response = daemon.get_public(path);
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "Hello, Serve is running...\n")
        );
        assert!(response.header("content-type").unwrap().starts_with("text/plain"), "{response:?}");
    }
}

#[test]
fn the_listener_answers_its_sentence() {
    let mut daemon = Launch::daemon().start();
    let response = daemon.get_admin("/listener");
    assert_eq!((response.status, response.body.as_str()), (200, "Hello, I am is listener!!\n"));
    assert!(response.header("content-type").unwrap().starts_with("text/plain"), "{response:?}");
}

#[test]
fn the_public_server_stops_for_nobody() {
    let mut daemon = Launch::daemon().start();
    daemon.get_public("/listener?stop=x");
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn a_scraper_that_comes_every_half_minute_keeps_its_connection() {
    let mut daemon = Launch::daemon().start();
    let mut scraper = Client::connect(&daemon.admin());
    assert_eq!(scraper.request("GET", "/metrics").status, 200);
    assert!(!scraper.is_closed_within(Duration::from_secs(31)));
    let status: Value = serde_json::from_str(&scraper.request("GET", "/status").body).unwrap();
    // Neither is that of a public connection an interval at which somebody comes.
    assert_eq!(status["limits"]["idle_timeout_seconds"], 620.0);
}

#[test]
fn head_answers_the_head_alone() {
    let mut daemon = Launch::daemon().start();
    for (address, path) in [(daemon.public(), "/"), (daemon.admin(), "/listener")] {
        let mut client = Client::connect(&address);
        let head = client.request("HEAD", path);
        // Anything after the head would be taken for the next answer.
        let whole = client.request("GET", path);
        assert_eq!((head.status, whole.status), (200, 200));
        assert_eq!(head.header("content-length"), whole.header("content-length"));
        assert_eq!(head.header("content-type"), whole.header("content-type"));
    }
}

#[test]
fn a_head_of_the_stop_does_not_stop() {
    let mut daemon = Launch::daemon().start();
    let mut client = Client::connect(&daemon.admin());
    for path in ["/listener?stop=x", "/listener?fail=x"] {
        assert_eq!(client.request("HEAD", path).status, 200);
    }
    assert_eq!(client.request("GET", "/ready").status, 200);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopping")["cause"], "SIGTERM");
}

#[test]
fn other_methods_on_admin_answer_405_and_what_is_allowed() {
    let mut daemon = Launch::daemon().start();
    let mut client = Client::connect(&daemon.admin());
    for (path, refused, allowed) in [
        ("/listener?stop=x", &["PUT", "DELETE", "OPTIONS"][..], "GET,HEAD,POST"),
        ("/live", &["POST", "PUT", "DELETE"], "GET,HEAD,OPTIONS"),
        ("/ready", &["POST", "PUT", "DELETE"], "GET,HEAD,OPTIONS"),
        ("/status", &["POST", "PUT", "DELETE", "OPTIONS"], "GET,HEAD"),
    ] {
        for method in refused {
            let response = client.request(method, path);
            assert_eq!(response.status, 405, "{method} {path}");
            let allow = response.header("allow").expect("RFC 9110 wants it").replace(' ', "");
            assert_eq!(allow, allowed, "{method} {path}");
        }
    }
    assert_eq!(client.request("GET", "/ready").status, 200);
}

#[test]
fn unknown_paths_on_admin_answer_404() {
    let mut daemon = Launch::daemon().start();
    for path in ["/", "/any", "/listener/", "/readyz", "/status/public"] {
        assert_eq!(daemon.get_admin(path).status, 404, "{path}");
    }
}

#[test]
fn live_and_ready_answer_200_once_it_is_ready() {
    let mut daemon = Launch::daemon().start();
    for path in ["/live", "/ready"] {
        let response = daemon.get_admin(path);
        assert_eq!(response.status, 200, "{path}");
        assert!(response.body.ends_with('\n'), "{response:?}");
    }
}

#[test]
fn status_tells_phase_version_process_and_sockets() {
    let mut daemon = Launch::daemon().start();
    let response = daemon.get_admin("/status");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let status: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(status["name"], "lockstepd");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["pid"], daemon.pid());
    for (index, name) in ["public", "admin"].into_iter().enumerate() {
        let server = &status["servers"][index];
        assert_eq!(server["name"], name);
        assert_eq!(server["sockets"][0]["address"], *daemon.addresses(name)[0]);
        assert_eq!(server["sockets"][0]["opened_by"], "lockstepd");
    }
}

#[test]
fn status_counts_the_connections_of_each_server() {
    let mut daemon = Launch::daemon().start();
    let mut clients = [(); 3].map(|()| Client::connect(&daemon.public()));
    for client in &mut clients {
        assert_eq!(client.request("GET", "/").status, 200);
    }
    let status: Value = serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    assert_eq!(status["servers"][0]["connections"], 3);
    assert_eq!(status["servers"][1]["connections"], 1);
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let mut daemon = Launch::daemon().start();
    for address in [daemon.public(), daemon.admin()] {
        let mut client = Client::connect(&address);
        for _ in 0..5 {
            assert_eq!(client.request("GET", "/live").status, 200);
        }
    }
}

#[test]
fn a_body_that_nobody_wants_does_not_cost_the_connection() {
    let mut daemon = Launch::daemon().start();
    let mut client = Client::connect(&daemon.public());
    client.send("POST /form HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(client.request("GET", "/").status, 200);
}

#[test]
fn no_answer_is_held_back_by_half_a_request_behind_it() {
    // Whoever waits for the rest of a head waits for ever.
    let mut daemon = Launch::daemon().args(["--head-timeout", "1h"]).start();
    let mut client = Client::connect(&daemon.public());
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHo");
    assert_eq!(client.response("GET").status, 200);
    client.send("st: test\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
}

#[test]
fn many_requests_at_once_are_answered_in_order() {
    let mut daemon = Launch::daemon().start();
    let mut client = Client::connect(&daemon.public());
    let requests = 1000;
    let request =
        |number| format!("GET / HTTP/1.1\r\nHost: test\r\nX-Request-Id: {number}\r\n\r\n");
    client.send(&(0..requests).map(request).collect::<Vec<_>>().concat());
    for number in 0..requests {
        let response = client.response("GET");
        assert_eq!(response.header("x-request-id"), Some(&*number.to_string()));
    }
}

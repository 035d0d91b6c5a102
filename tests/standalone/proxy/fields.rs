//! What of a head is for one connection alone, and what the application is told of the client.

use super::{OK, Place, answer, hears_ok, played, request};

use crate::support::{End, Head, Launch, Played};

/// The request's head as the application gets it, which answers.
#[track_caller]
fn passed_on(played: &Played, public: &str, head: &str) -> Head {
    let mut client = End::asking(public, head);
    let mut application = played.accept();
    let head = application.head();
    application.send(OK);
    hears_ok(&mut client);
    head
}

#[test]
fn fields_of_one_connection_go_no_further() {
    let (_place, played, _daemon, public) = played(&[]);
    let fields = "Connection: keep-alive, X-Secret , close-to, host\r\nX-Secret: 1\r\n\
                  Close-To: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                  Proxy-Authorization: Basic YQ==\r\nTE: gzip;q=0.5\r\nX-Kept: 1\r\nx-kept: 2\r\n";
    let head = passed_on(&played, &public, &request("GET /a?b=%20c", fields));
    assert_eq!(head.first(), "GET /a?b=%20c HTTP/1.1");
    assert_eq!(head.all("host"), ["shop.example"]);
    assert_eq!(head.all("x-kept"), ["1", "2"]);
    let told = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    assert_eq!(head.names_but(&told), ["host", "x-kept", "x-kept"], "{}", head.text);
}

#[test]
fn fields_of_the_applications_connection_come_no_further() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    let fields = "Connection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                  Content-Length: 2\r\n";
    application.send(answer("299 Odd", fields) + "ok");
    let head = client.head();
    client.hears("ok");
    assert_eq!(head.first(), "HTTP/1.1 299 Odd");
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    let known = ["set-cookie", "content-length", "date", "x-request-id"];
    assert_eq!(head.names_but(&known), [""; 0], "{}", head.text);
    // The application's connection has ended; the client's has not.
    client.send(request("GET /again", ""));
    let mut application = played.accept();
    assert_eq!(application.head().first(), "GET /again HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn what_a_client_says_of_its_origin_is_replaced() {
    let (_place, played, _daemon, public) = played(&[]);
    let fields = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\n\
                  X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil.example\r\nX_Real_IP: 6.6.6.6\r\n\
                  X-Forwarded-Prefix: /evil\r\nX-Other_Field: 1\r\n";
    let mut client = End::asking(&public, request("GET /", fields));
    let mut application = played.accept();
    let head = application.head();
    application.send(OK);
    hears_ok(&mut client);
    let ip = client.local_ip();
    assert_eq!(head.all("x-forwarded-for"), [&*ip]);
    assert_eq!(head.all("forwarded"), [format!("for={ip};proto=http;host=\"shop.example\"")]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["shop.example"]);
    let told = ["host", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    // A program that makes variables of fields would take the last one for another as well.
    assert_eq!(head.names_but(&told), [""; 0], "{}", head.text);
}

/// What a proxy in front says.
const SAID: &str = "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\n\
                    X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example\r\n\
                    X_Forwarded_For: 6.6.6.6\r\n";

#[test]
fn a_trusted_network_is_believed_and_added() {
    let (_place, played, _daemon, public) =
        played(&["--proxy-trusted-proxies", "10.0.0.0/8,127.0.0.0/8"]);
    let mut client = End::asking(&public, request("GET /", SAID));
    let mut application = played.accept();
    let head = application.head();
    application.send(OK);
    hears_ok(&mut client);
    let ip = client.local_ip();
    assert_eq!(head.all("x-forwarded-for"), [format!("192.0.2.7, {ip}")]);
    let last = format!("for={ip};proto=http;host=\"shop.example\"");
    assert_eq!(head.all("forwarded"), [format!("for=192.0.2.7, {last}")]);
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["www.example"]);
    assert!(head.all("x_forwarded_for").is_empty());
}

#[test]
fn another_network_is_not_believed() {
    let (_place, played, _daemon, public) = played(&["--proxy-trusted-proxies", "10.0.0.0/8,unix"]);
    let head = passed_on(&played, &public, &request("GET /", SAID));
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert!(!head.text.contains("192.0.2.7") && !head.text.contains("www.example"));
}

#[test]
fn a_unix_sockets_clients_are_believed_if_they_are_trusted() {
    for (trusted, proto) in [("unix", "https"), ("127.0.0.1", "http")] {
        let place = Place::new();
        let played = Played::bind(&place.socket());
        let front = format!("unix:{}", place.directory.path().join("front.sock").display());
        let launch = Launch::on(&front, &format!("{}:0", Launch::address()));
        let options = ["--public-proxy", &place.address(), "--proxy-trusted-proxies", trusted];
        let _daemon = launch.args(options).start();
        let head = passed_on(&played, &front, &request("GET /", SAID));
        assert_eq!(head.all("x-forwarded-proto"), [proto]);
        let unknown = "for=unknown;proto=http;host=\"shop.example\"";
        if proto == "https" {
            assert_eq!(head.all("forwarded"), [format!("for=192.0.2.7, {unknown}")]);
            assert_eq!(head.all("x-forwarded-for"), ["192.0.2.7"]);
        } else {
            assert_eq!(head.all("forwarded"), [unknown]);
            assert!(head.all("x-forwarded-for").is_empty());
        }
    }
}

#[test]
fn via_is_added_both_ways_where_it_is_wanted() {
    let (_place, played, _daemon, public) = played(&["--proxy-via", "true"]);
    let mut client = End::asking(&public, request("GET /", "Via: 1.0 a\r\nVia: 1.1 b\r\n"));
    let mut application = played.accept();
    assert_eq!(application.head().all("via"), ["1.0 a, 1.1 b, 1.1 lockstepd"]);
    application.send(answer("200 OK", "Via: 1.1 c\r\nContent-Length: 2\r\n") + "ok");
    assert_eq!(client.head().all("via"), ["1.1 c, 1.1 lockstepd"]);
}

#[test]
fn te_is_passed_on_for_trailers_only() {
    let (_place, played, _daemon, public) = played(&[]);
    let fields = "TE: gzip, trailers;q=1\r\nConnection: TE\r\n";
    let head = passed_on(&played, &public, &request("GET /", "TE: trailers\r\nConnection: TE\r\n"));
    assert_eq!(head.all("te"), ["trailers"]);
    assert_eq!(head.all("connection"), ["te"]);
    let head = passed_on(&played, &public, &request("GET /", fields));
    assert!(head.all("te").iter().all(|te| *te == "trailers"), "{}", head.text);
}

#[test]
fn a_host_is_there_for_the_application_whatever_the_client_speaks() {
    let (_place, played, _daemon, public) = played(&[]);
    for (asked, first, host) in [
        ("GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.1", "localhost"),
        ("GET /old HTTP/1.0\r\nHost: a.example\r\n\r\n", "GET /old HTTP/1.1", "a.example"),
        (
            "GET http://b.example:81/p?q HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET /p?q HTTP/1.1",
            "b.example:81",
        ),
    ] {
        let mut client = End::asking(&public, asked);
        let mut application = played.accept();
        let head = application.head();
        assert_eq!((head.first(), head.all("host")), (first, vec![host]));
        application
            .send(answer("200 OK", "Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n0\r\n\r\n");
        if asked.contains("HTTP/1.0") {
            // It knows no chunks.
            let answered = client.rest();
            assert!(answered.starts_with("HTTP/1.0 200 OK\r\n"), "{answered}");
            assert!(!answered.to_lowercase().contains("transfer-encoding"), "{answered}");
            assert!(answered.ends_with("\r\n\r\nok"), "{answered}");
        } else {
            assert_eq!(client.head().status(), 200);
            assert_eq!(client.chunked().0, "ok");
        }
    }
}

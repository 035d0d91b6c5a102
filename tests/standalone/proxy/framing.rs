//! Where bodies end, both ways.

use super::{OK, answer, hears_ok, played, request};

use crate::support::End;

#[test]
fn a_counted_body_keeps_its_length() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("POST /", "Content-Length: 0005\r\n"));
    let mut application = played.accept();
    let head = application.head();
    assert_eq!((head.all("content-length"), head.all("transfer-encoding")), (vec!["5"], vec![]));
    client.send("hello");
    application.hears("hello");
    application.send(answer("200 OK", "Content-Length: 3\r\n") + "abc");
    let head = client.head();
    assert_eq!((head.all("content-length"), head.all("transfer-encoding")), (vec!["3"], vec![]));
    client.hears("abc");
}

#[test]
fn chunked_bodies_and_their_trailers_pass_both_ways() {
    let (_place, played, _daemon, public) = played(&[]);
    let fields =
        "TE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n";
    let mut client = End::asking(&public, request("POST /", fields));
    let mut application = played.accept();
    let head = application.head();
    assert_eq!(
        (head.all("transfer-encoding"), head.all("content-length")),
        (vec!["chunked"], vec![])
    );
    assert_eq!(head.all("trailer"), ["X-Sum"]);
    client.send("5;ext=1\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n");
    let (body, trailers) = application.chunked();
    assert_eq!((&*body, &*trailers.to_lowercase()), ("hello world", "x-sum: 11\r\n"));
    let fields = "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n";
    application.send(answer("200 OK", fields) + "2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (head.all("transfer-encoding"), head.all("content-length")),
        (vec!["chunked"], vec![])
    );
    let (body, trailers) = client.chunked();
    assert_eq!((&*body, &*trailers.to_lowercase()), ("ok", "x-sum: 2\r\n"));
}

#[test]
fn a_get_may_have_a_chunked_body() {
    let (_place, played, _daemon, public) = played(&[]);
    let body = "3\r\nabc\r\n0\r\n\r\n";
    let chunked = request("GET /", "Transfer-Encoding: chunked\r\n") + body;
    let mut client = End::asking(&public, chunked + &request("GET /next", ""));
    let mut application = played.accept();
    assert_eq!(application.head().all("transfer-encoding"), ["chunked"]);
    assert_eq!(application.chunked().0, "abc");
    application.send(OK);
    hears_ok(&mut client);
    assert_eq!(application.head().first(), "GET /next HTTP/1.1");
}

#[test]
fn an_empty_body_is_told_as_such() {
    let (_place, played, _daemon, public) = played(&[]);
    for (fields, length) in [("Content-Length: 0\r\n", vec!["0"]), ("", vec![])] {
        let mut client = End::asking(&public, request("POST /", fields));
        let mut application = played.accept();
        let head = application.head();
        assert!(head.all("content-length") == length || head.all("content-length") == ["0"]);
        assert_eq!(head.all("transfer-encoding"), [""; 0]);
        application.send(answer("200 OK", "Content-Length: 0\r\nConnection: close\r\n"));
        assert_eq!(client.head().all("content-length"), ["0"]);
    }
}

#[test]
fn answers_without_a_body_keep_their_fields_and_the_connection() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::connect(&public);
    let mut application = None;
    for (method, status, fields, length) in [
        ("HEAD", "200 OK", "Content-Length: 1000\r\n", vec!["1000"]),
        ("HEAD", "200 OK", "Transfer-Encoding: chunked\r\n", vec![]),
        ("GET", "204 No Content", "", vec![]),
        // hyper leaves a length away that a 304 MAY have, RFC 9110 section 8.6.
        ("GET", "304 Not Modified", "ETag: \"1\"\r\nContent-Length: 1000\r\n", vec![]),
        ("GET", "304 Not Modified", "ETag: \"1\"\r\n", vec![]),
    ] {
        client.send(request(&format!("{method} /"), ""));
        let application = application.get_or_insert_with(|| played.accept());
        application.head();
        application.send(answer(status, fields));
        let head = client.head();
        assert_eq!(head.first(), format!("HTTP/1.1 {status}"));
        assert_eq!(head.all("content-length"), length, "{method} {status}: {}", head.text);
    }
    // All came over one connection, on which nothing is left.
    client.send(request("GET /last", ""));
    let mut application = application.unwrap();
    assert_eq!(application.head().first(), "GET /last HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn a_body_until_the_applications_end_is_framed_for_the_client() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::connect(&public);
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        client.send(request("GET /", ""));
        let mut application = played.accept();
        application.head();
        application.send(format!("{version} 200 OK\r\n\r\nuntil the end"));
        drop(application);
        let head = client.head();
        assert_eq!((head.status(), head.all("transfer-encoding")), (200, vec!["chunked"]));
        assert_eq!(client.chunked().0, "until the end");
    }
}

#[test]
fn of_two_framings_the_client_sees_one_or_none() {
    let (_place, played, _daemon, public) = played(&[]);
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let two = "Content-Length: 2\r\nContent-Length: 5\r\n";
    let same = "Content-Length: 5\r\nContent-Length: 5\r\n";
    let listed = "Content-Length: 5, 5\r\n";
    for (fields, body) in
        [(both, "5\r\nhello\r\n0\r\n\r\n"), (two, "hello"), (same, "hello"), (listed, "hello")]
    {
        let mut client = End::asking(&public, request("GET /", ""));
        let mut application = played.accept();
        application.head();
        application.send(answer("200 OK", fields) + body);
        drop(application);
        let head = client.head();
        let framing = (head.all("content-length"), head.all("transfer-encoding"));
        match (head.status(), framing) {
            (200, (length, coding)) if length.is_empty() && coding == ["chunked"] => {
                assert_eq!(client.chunked().0, "hello", "{fields:?}");
            }
            (200, (length, coding)) if length == ["5"] && coding.is_empty() => {
                client.hears("hello");
            }
            (502, (length, coding)) if length.len() == 1 && coding.is_empty() => {}
            _ => panic!("{fields:?}: {}", head.text),
        }
    }
}

#[test]
fn what_follows_an_answer_unasked_is_nobodys_answer() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    application.send(OK.to_owned() + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    hears_ok(&mut client);
    client.send(request("GET /next", ""));
    // That connection is not used again.
    let mut application = played.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn an_answer_that_is_cut_short_is_cut_short_for_the_client() {
    let (_place, played, mut daemon, public) = played(&[]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunk = "a\r\nten bytes\n\r\n";
    for (fields, part, passed_on, last) in [
        ("Content-Length: 1000\r\n", "ten bytes\n", "ten bytes\n", ""),
        (chunked, "100\r\nten bytes\n", "A\r\nten bytes\n\r\n", ""),
        (chunked, chunk, "A\r\nten bytes\n\r\n", ""),
        (chunked, chunk, "A\r\nten bytes\n\r\n", "zz\r\n"),
    ] {
        let mut client = End::asking(&public, request("GET /", ""));
        let mut application = played.accept();
        application.head();
        application.send(answer("200 OK", fields) + part);
        assert_eq!(client.head().status(), 200);
        client.hears(passed_on);
        application.send(last);
        drop(application);
        assert_eq!(client.rest(), "");
    }
    let status = daemon.get_admin("/status").body;
    assert!(status.contains("\"cut_short\":4"), "{status}");
}

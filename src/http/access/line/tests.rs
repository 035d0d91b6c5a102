//! Lines as their readers see them.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What a line may have at most to go through a pipe in one piece.
const PIPE_MAX: usize = 4096;

fn request<'f>(method: &'f Method, path: &'f str, user_agent: Option<&'f [u8]>) -> Facts<'f> {
    let request = RequestFacts {
        version: Version::HTTP_11,
        method,
        path,
        bytes: 27,
        took: Duration::from_micros(85),
        id: &"0aF-3",
        traceparent: None,
        user_agent,
        referer: None,
    };
    Facts {
        server: "public",
        peer: Peer::Tcp("192.0.2.17:4711".parse().unwrap()),
        request: Some(request),
        status: Some(StatusCode::OK),
        error: None,
        message: "request",
    }
}

fn refused() -> Facts<'static> {
    Facts {
        server: "public",
        peer: Peer::Tcp("[2001:db8::1]:4711".parse().unwrap()),
        request: None,
        status: Some(StatusCode::BAD_REQUEST),
        error: Some(&"invalid HTTP method"),
        message: "request not understood",
    }
}

/// A microsecond after 2026-11-28 14:29:27.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_876_167) + Duration::from_micros(1)
}

fn combined(facts: &Facts<'_>) -> String {
    let mut line = Vec::new();
    facts.combined(now(), &mut line);
    String::from_utf8(line).unwrap()
}

fn json(facts: &Facts<'_>) -> Value {
    let mut line = Vec::new();
    facts.json(now(), &mut line);
    assert!(line.is_ascii() && line.ends_with(b"}\n"));
    serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {}", line.escape_ascii()))
}

/// The fields of a line, as who reads the format takes it apart.
fn fields(line: &str) -> Vec<String> {
    let line = line.strip_suffix('\n').expect("a line has an end");
    assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
    let (head, rest) = line.split_once(" [").expect("there is a date");
    let (date, rest) = rest.split_once("] \"").expect("it has an end");
    let parts: Vec<_> = rest.split('"').collect();
    let [request, numbers, referer, " ", user_agent, ""] = parts[..] else {
        panic!("{parts:?}");
    };
    let mut fields = vec![head.to_owned(), date.to_owned(), request.to_owned()];
    fields.extend(numbers.split_whitespace().map(str::to_owned));
    fields.extend([referer.to_owned(), user_agent.to_owned()]);
    fields
}

#[test]
fn a_line_of_the_combined_format_is_as_apache_has_it() {
    let agent = b"Mozilla/5.0 (X11; Linux x86_64)";
    let mut facts = request(&Method::GET, "/any", Some(agent));
    facts.request.as_mut().unwrap().referer = Some(b"https://example.com/");
    let expected = "192.0.2.17 - - [28/Nov/2026:14:29:27 +0000] \"GET /any HTTP/1.1\" 200 27 \
                    \"https://example.com/\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n";
    assert_eq!(combined(&facts), expected);
}

#[test]
fn what_a_request_has_not_is_a_dash_and_without_an_answer_the_status_is_499() {
    let mut facts = request(&Method::HEAD, "/", None);
    facts.status = None;
    facts.request.as_mut().unwrap().version = Version::HTTP_2;
    let line = combined(&facts);
    assert!(line.ends_with("\"HEAD / HTTP/2.0\" 499 27 \"-\" \"-\"\n"), "{line}");
}

#[test]
fn what_was_not_understood_has_a_dash_for_its_request_line() {
    let expected = "2001:db8::1 - - [28/Nov/2026:14:29:27 +0000] \"-\" 400 0 \"-\" \"-\"\n";
    assert_eq!(combined(&refused()), expected);
    let told = json(&refused());
    assert_eq!(told["error"], "invalid HTTP method");
    assert_eq!(told["message"], "request not understood");
    assert_eq!(told.get("path"), None);
}

#[test]
fn a_line_of_json_has_the_names_of_the_events_and_a_time() {
    let mut facts = request(&Method::GET, "/any", Some(b"curl/8.5"));
    facts.request.as_mut().unwrap().traceparent = Some(b"00-4bf9-01");
    let expected = serde_json::json!({
        "time": "2026-11-28T14:29:27.000001Z",
        "server": "public",
        "peer": "192.0.2.17:4711",
        "version": "HTTP/1.1",
        "method": "GET",
        "path": "/any",
        "status": 200,
        "bytes": 27,
        "duration_us": 85,
        "request_id": "0aF-3",
        "traceparent": "00-4bf9-01",
        "user_agent": "curl/8.5",
        "message": "request",
    });
    assert_eq!(json(&facts), expected);
}

#[test]
fn a_client_of_a_unix_socket_is_called_unix() {
    let mut facts = request(&Method::GET, "/", None);
    facts.peer = Peer::Unix(None);
    assert!(combined(&facts).starts_with("unix - - ["));
    assert_eq!(json(&facts)["peer"], "unix");
}

#[test]
fn what_could_forge_a_line_is_escaped_as_nginx_does() {
    let agent = b"a\" 200 1 \"-\" \"\\\r\n\x1b[31m\x7f\xc3\xa9\xff";
    let line = combined(&request(&Method::GET, "/\"\\é", Some(agent)));
    let fields = fields(&line);
    assert_eq!(fields[2], r"GET /\x22\x5C\xC3\xA9 HTTP/1.1");
    assert_eq!(fields[6], r"a\x22 200 1 \x22-\x22 \x22\x5C\x0D\x0A\x1B[31m\x7F\xC3\xA9\xFF");
}

#[test]
fn json_keeps_text_and_replaces_what_is_none() {
    let agent = "a\"\\\r\n\u{2028}é🦀".as_bytes();
    assert_eq!(
        json(&request(&Method::GET, "/é", Some(agent)))["user_agent"],
        "a\"\\\r\n\u{2028}é🦀"
    );
    assert_eq!(json(&request(&Method::GET, "/é", Some(b"a\xffb")))["user_agent"], "a\u{fffd}b");
}

#[test]
fn an_escape_is_cut_off_whole() {
    let agent = [b"x".repeat(TEXT_MAX - 3), b"\xff\xffyyy".to_vec()].concat();
    let line = combined(&request(&Method::GET, "/", Some(&agent)));
    assert_eq!(fields(&line)[6], "x".repeat(TEXT_MAX - 3));
    let agent = ["x".repeat(TEXT_MAX - 11), "🦀y".to_owned()].concat();
    let told = json(&request(&Method::GET, "/", Some(agent.as_bytes())));
    assert_eq!(told["user_agent"], "x".repeat(TEXT_MAX - 11));
}

#[test]
fn a_second_is_formatted_for_every_month_and_for_times_that_no_date_has() {
    for (number, combined, rfc3339) in [
        (0, "01/Jan/1970:00:00:00", "1970-01-01T00:00:00"),
        (951_782_399, "28/Feb/2000:23:59:59", "2000-02-28T23:59:59"),
        (951_782_400, "29/Feb/2000:00:00:00", "2000-02-29T00:00:00"),
        (1_798_761_599, "31/Dec/2026:23:59:59", "2026-12-31T23:59:59"),
        (u64::MAX, "31/Dec/9999:23:59:59", "9999-12-31T23:59:59"),
    ] {
        let second = Second::new(number);
        assert_eq!(String::from_utf8_lossy(&second.combined), combined);
        assert_eq!(String::from_utf8_lossy(&second.rfc3339), rfc3339);
    }
}

#[test]
fn numbers_are_written_whole() {
    for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
        let mut line = Vec::new();
        decimal(number, &mut line);
        assert_eq!(line, number.to_string().into_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_sends_is_one_line_of_all_fields_that_a_pipe_takes_in_one_piece(
        path in "(\\PC|[\"\\\\ \\n]){0,1500}",
        agent in prop::collection::vec(any::<u8>(), 0..600),
        referer in prop::collection::vec(any::<u8>(), 0..600),
        error in "(\\PC|[\"\\\\ \\n]){0,400}",
    ) {
        let mut facts = request(&Method::GET, &path, Some(&agent));
        facts.request.as_mut().unwrap().referer = Some(&referer);
        facts.request.as_mut().unwrap().traceparent = Some(&agent);
        facts.error = Some(&error);
        let line = combined(&facts);
        prop_assert!(line.len() < PIPE_MAX);
        let fields = fields(&line);
        prop_assert_eq!(fields.len(), 7, "{}", line);
        prop_assert_eq!(&fields[3], "200");
        let mut line = Vec::new();
        facts.json(now(), &mut line);
        prop_assert!(line.len() < PIPE_MAX && line.is_ascii());
        prop_assert_eq!(line.split_inclusive(|byte| *byte == b'\n').count(), 1);
        let told: Value = serde_json::from_slice(&line).unwrap();
        let shown = told["path"].as_str().unwrap();
        prop_assert!(path.starts_with(shown), "{} is no beginning of {}", shown, path);
    }
}

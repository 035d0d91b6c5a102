use proptest::prelude::*;

use super::*;

fn check(headers: &[(&str, &str)]) -> Result<(), StatusCode> {
    let guard = Guard {
        hosts: vec!["ops.example".to_owned()],
        users: Vec::new(),
        bound: ["192.0.2.1:9091", "[fe80::1%eth0]:9091"].map(|bound| bound.parse().unwrap()).into(),
    };
    let mut request = Request::builder().uri("/listener?stop=x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    guard.check(&request.body(Body::empty()).unwrap()).map_err(|(status, _)| status)
}

#[test]
fn our_own_names_are_let_in() {
    for host in [
        "localhost",
        "localhost:9091",
        "LOCALHOST.",
        "127.0.0.1:9091",
        "127.9.9.9",
        "[::1]:9091",
        "[::ffff:127.0.0.1]:9091",
        "[::ffff:192.0.2.1]",
        "[fe80::1]:9091",
        "[fe80::1%25eth0]:9091",
        "[fe80::1%eth0]",
        "192.0.2.1:9091",
        "ops.example",
        "Ops.Example:80",
    ] {
        assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
    }
}

#[test]
fn names_that_only_look_like_ours_are_refused() {
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost",
        "ops.example.evil.example",
        "localhost@evil.example",
        "evil@localhost",
        "192.0.2.2",
        "[::ffff:192.0.2.2]",
        "[fe80::2%25eth0]",
    ] {
        assert_eq!(check(&[("host", host)]), Err(StatusCode::FORBIDDEN), "{host}");
    }
    for host in ["local host", "localhost:port:1"] {
        assert_eq!(check(&[("host", host)]), Err(StatusCode::BAD_REQUEST), "{host}");
    }
    let two = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(check(&two), Err(StatusCode::BAD_REQUEST));
}

#[test]
fn no_host_is_a_probes_unless_the_rest_is_a_browsers() {
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[("host", "")]), Ok(()));
    assert_eq!(check(&[("host", ""), ("host", "")]), Err(StatusCode::BAD_REQUEST));
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "http://localhost"),
        ("origin", "null"),
        ("referer", "http://evil.example/"),
        ("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(check(&[(name, value)]), Err(StatusCode::FORBIDDEN), "{name}: {value}");
        let empty = [("host", ""), (name, value)];
        assert_eq!(check(&empty), Err(StatusCode::FORBIDDEN), "{name}: {value}");
    }
}

#[test]
fn what_a_browser_sends_for_another_site_is_refused() {
    for site in ["cross-site", "same-site", "", "nonsense"] {
        let headers = [("host", "localhost:9091"), ("sec-fetch-site", site)];
        assert_eq!(check(&headers), Err(StatusCode::FORBIDDEN), "{site}");
    }
    for origin in
        ["null", "http://evil.example", "http://localhost:1", "https://localhost:9091", "x"]
    {
        for name in ["origin", "referer"] {
            let headers = [("host", "localhost:9091"), (name, origin)];
            assert_eq!(check(&headers), Err(StatusCode::FORBIDDEN), "{name}: {origin}");
        }
    }
    let own = [
        ("host", "localhost:9091"),
        ("origin", "http://localhost:9091"),
        ("referer", "http://localhost:9091/page?x"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(check(&own), Ok(()));
}

#[test]
fn a_listed_host_is_ours_behind_a_proxy_and_at_no_other_port() {
    let is_let_in = |host: &str, origin: &str| {
        let is_let_in = |name, value: &str| check(&[("host", host), (name, value)]).is_ok();
        let lets = is_let_in("origin", origin);
        assert_eq!(lets, is_let_in("referer", &format!("{origin}/page")), "{host} {origin}");
        lets
    };
    for (host, origin) in [
        ("ops.example", "https://ops.example"),
        ("ops.example", "https://ops.example:443"),
        ("ops.example:443", "https://ops.example"),
        ("ops.example", "http://ops.example"),
        ("OPS.example", "https://ops.Example"),
        ("127.0.0.1:9091", "https://ops.example"),
        ("ops.example:8443", "https://ops.example:8443"),
        ("ops.example:9091", "https://ops.example"),
    ] {
        assert!(is_let_in(host, origin), "{host} {origin}");
    }
    for (host, origin) in [
        ("ops.example", "https://ops.example:8443"),
        ("127.0.0.1:9091", "https://ops.example:8443"),
        // On the network a page without TLS can be forged.
        ("127.0.0.1:9091", "http://ops.example"),
        ("ops.example:9091", "http://ops.example"),
        ("ops.example", "http://ops.example:443"),
        ("ops.example", "https://ops.example:80"),
        ("ops.example", "ftp://ops.example"),
        ("ops.example", "https://evil@ops.example"),
        ("ops.example", "https://ops.example.evil.example"),
        ("ops.example", "https://evil.example"),
        ("127.0.0.1", "https://127.0.0.1"),
        ("192.0.2.1", "https://192.0.2.1"),
        ("localhost", "https://localhost"),
    ] {
        assert!(!is_let_in(host, origin), "{host} {origin}");
    }
    let other_site = [("host", "ops.example"), ("origin", "https://ops.example")];
    let other_site = [&other_site[..], &[("sec-fetch-site", "same-site")]].concat();
    assert_eq!(check(&other_site), Err(StatusCode::FORBIDDEN));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_host_is_let_in_but_by_name_or_address(
        before in "[ -~]{0,6}",
        name in "localhost|ops\\.example|127\\.0\\.0\\.1|\\[::1(%[ -~]{0,4})?\\]|\\[fe80::1%25lo\\]|192\\.0\\.2\\.1|[ -~]{0,12}",
        after in "(:[0-9]{0,5})?|[ -~]{0,12}",
    ) {
        let host = format!("{before}{name}{after}");
        // Spaces around a field's value are no part of it.
        let is_let_in = check(&[("host", &host)]) == Ok(());
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((ip, rest)) => {
                let ip = ip.split_once('%').map_or(ip, |(ip, _)| ip);
                (ip, rest.strip_prefix(':').unwrap_or(rest))
            }
            None => host.split_once(':').unwrap_or((&host, "")),
        };
        let names = ["localhost", "ops.example"];
        let is_ours = host.trim().is_empty()
            || names.contains(&&*name.trim_end_matches('.').to_ascii_lowercase())
            || ["192.0.2.1", "fe80::1"].contains(&name)
            || name.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        prop_assert!(!is_let_in || is_ours, "{}", host);
        prop_assert!(!is_let_in || port.bytes().all(|byte| byte.is_ascii_digit()), "{}", host);
    }
}

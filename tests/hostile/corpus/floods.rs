//! Too much of everything.

use super::{Answered, BAD, Case, Refused, TOO_MUCH, Unanswered};

/// A head is too large before anybody could say whether its target is too long.
const LONG_TARGET: super::Expected = Refused(0, &[414, 431]);

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn generated() -> Vec<Case> {
    let limit = "limits: a head of 64 KiB and 100 fields at most; RFC 6585 section 5: 431";
    let target = "RFC 9112 section 3: a server MUST answer 414 to a target longer than it parses";
    let head = |fields: String| format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let x = |count: usize| "x".repeat(count);
    vec![
        Case::new("a head of 10 MB", head(format!("X: {}\r\n", x(10 << 20))), TOO_MUCH, limit),
        Case::new(
            "a head of 10 MB that does not end",
            format!("GET / HTTP/1.1\r\nX: {}", x(10 << 20)),
            TOO_MUCH,
            limit,
        ),
        Case::new("a head of 65 KB", head(format!("X: {}\r\n", x(65 << 10))), TOO_MUCH, limit),
        Case::new(
            "a head of 60 KB",
            head(format!("X: {}\r\n", x(60 << 10))),
            Answered(1),
            "within the limits",
        ),
        Case::new("10,000 fields", head("X: y\r\n".repeat(10_000)), TOO_MUCH, limit),
        Case::new("101 fields", head("X: y\r\n".repeat(100)), TOO_MUCH, limit),
        Case::new("100 fields", head("X: y\r\n".repeat(99)), Answered(1), "within the limits"),
        Case::new(
            "10,000 different fields",
            head(
                (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect::<Vec<_>>().concat(),
            ),
            TOO_MUCH,
            limit,
        ),
        Case::new(
            "a field name of 100 KB",
            head(format!("{}: y\r\n", x(100_000))),
            TOO_MUCH,
            limit,
        ),
        Case::new(
            "a field name of 70,000 bytes with nothing after it",
            format!("GET / HTTP/1.1\r\n{}", x(70_000)),
            TOO_MUCH,
            limit,
        ),
        Case::new(
            "a target of 8,000 bytes",
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", x(8_000)),
            Answered(1),
            "RFC 9112 section 3: 8,000 bytes at least are RECOMMENDED",
        ),
        Case::new(
            "a target of 65,535 bytes",
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", x(65_534)),
            LONG_TARGET,
            target,
        ),
        Case::new(
            "a target of 1 MB",
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", x(1 << 20)),
            LONG_TARGET,
            target,
        ),
        Case::new(
            "a target of 1 MB without an end",
            format!("GET /{}", x(1 << 20)),
            LONG_TARGET,
            target,
        ),
        Case::new(
            "a query of 1 MB",
            format!("GET /?{} HTTP/1.1\r\nHost: test\r\n\r\n", x(1 << 20)),
            LONG_TARGET,
            target,
        ),
        Case::new(
            "a method of 1 MB",
            format!("{} / HTTP/1.1\r\nHost: test\r\n\r\n", x(1 << 20)),
            TOO_MUCH,
            limit,
        ),
        Case::new(
            "a version of 1 MB",
            format!("GET / HTTP/1.{}\r\nHost: test\r\n\r\n", "1".repeat(1 << 20)),
            BAD,
            "RFC 9112 section 2.3",
        ),
        Case::new("1 MB of spaces", x(0) + &" ".repeat(1 << 20), BAD, "RFC 9112 section 3"),
        Case::new("1 MB of NULs", vec![0; 1 << 20], BAD, "RFC 9112 section 3"),
        Case::new(
            "1 MB of empty lines",
            "\r\n".repeat(1 << 19),
            Refused(0, &[400, 431]),
            "RFC 9112 section 2.2: at least one is ignored; there is an end to it",
        ),
        Case::new(
            "10,000 empty lines, then a request",
            "\r\n".repeat(10_000) + "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
            Answered(1),
            "RFC 9112 section 2.2: ignored while they fit into a head",
        ),
        Case::new(
            "a Connection of 5,000 options",
            head(format!("Connection: {}\r\n", "x, ".repeat(5_000))),
            Answered(1),
            "RFC 9110 section 7.6.1",
        ),
        Case::new(
            "a thousand good requests at once",
            super::good!().repeat(1000),
            Answered(1000),
            "RFC 9112 section 9.3.2",
        ),
        Case::new(
            "nothing at all",
            Vec::new(),
            Unanswered,
            "a connection without a request is closed without an answer",
        ),
    ]
}

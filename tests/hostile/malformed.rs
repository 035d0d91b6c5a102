//! The corpus, case by case: each comes to what the table says, and the next client is served.

use std::{
    iter,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

#[cfg(feature = "tls")]
use crate::support::{Certificate, TlsRelay, has_openssl};
use crate::{
    corpus::{self, Case, Expected},
    program::Program,
    support::{Daemon, Heard, Launch, ask, exchange},
};

#[test]
fn the_corpus_is_as_large_as_promised() {
    let cases = corpus::all();
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "every case has a name of its own");
    let refused = cases.iter().filter(|case| {
        !matches!(case.expected, Expected::Answered(_) | Expected::AnsweredAndClosed(_))
    });
    assert!(refused.count() >= 150);
}

#[test]
fn every_malformed_request_to_the_public_is_answered_as_documented() {
    let mut daemon = Launch::daemon().start();
    let address = daemon.public();
    let next = b"GET /next HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let judge = |case: &Case| {
        judged(case, &exchange(&address, &case.to_send(), case.hangs_up()), false)?;
        let after = exchange(&address, next, false);
        match after.answers.as_slice() {
            [answer] if answer.body == b"Hello, Serve is running...\n" => Ok(()),
            _ => Err(format!("{}: the NEXT client got {}", case.name, after.summary())),
        }
    };
    judge_all(&corpus::all(), judge);
    assert_unharmed(daemon);
}

#[cfg(feature = "tls")]
#[test]
fn every_malformed_request_over_tls_is_answered_as_in_clear_text() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(directory.path(), "localhost", &["localhost"], 90);
    let (file, key) = (certificate.file.to_string_lossy(), certificate.key.to_string_lossy());
    let listen = format!("{}:0", Launch::address());
    let mut daemon = Launch::daemon()
        .args(["--tls-listen", &*listen, "--tls-certificates", &*file, "--tls-keys", &*key])
        .start();
    let addresses = daemon.addresses("public");
    let secured = addresses.iter().find_map(|address| address.strip_suffix(" (TLS)")).unwrap();
    let relay = TlsRelay::to(secured, &certificate.file);
    let address = relay.address();
    judge_all(&corpus::all(), |case| {
        judged(case, &exchange(&address, &case.to_send(), case.hangs_up()), false)
    });
    assert_unharmed(daemon);
}

#[test]
fn every_malformed_body_to_a_service_that_reads_it_is_answered_400() {
    let program = Program::with_limits("60s");
    judge_all(&corpus::with_bodies(), |case| {
        judged(case, &exchange(&program.public, &case.to_send(), case.hangs_up()), true)
    });
    assert_unharmed(program.daemon);
}

#[test]
fn no_malformed_request_to_the_admin_is_answered_with_success() {
    let mut daemon = Launch::daemon().start();
    let address = daemon.admin();
    judge_all(&corpus::all(), |case| {
        let heard = exchange(&address, &case.bytes, true);
        let good = match case.expected {
            Expected::Refused(good, _)
            | Expected::Answered(good)
            | Expected::AnsweredAndClosed(good) => good,
            _ => 0,
        };
        let successes = heard.statuses().iter().filter(|status| **status < 400).count();
        if successes > good {
            return Err(format!("{}: {}", case.name, heard.summary()));
        }
        Ok(())
    });
    assert_eq!(ask(&address, "GET", "/live").status, 200);
    assert_unharmed(daemon);
}

/// Where hyper 1.12.0 understands what RFC 9112 forbids, and what comes of it; each is without harm here,
/// since nothing else in front of the daemon's service reads the bytes in another way.
///
/// A line that is not true any more makes the test fail, so that it is removed.
const DEVIATIONS: &[(&str, &[u16], &str)] = &[
    ("a space after the size", &[200, 200], "section 7.1: BWS belongs before \";\" only"),
    ("a tab after the size", &[200, 200], "section 7.1: BWS belongs before \";\" only"),
    ("an extension without a name", &[200, 200], "section 7.1.1: extensions are skipped unparsed"),
    ("an extension with a NUL", &[200, 200], "section 7.1.1: extensions are skipped unparsed"),
    ("a fragment in the target", &[200, 200], "section 3.2 (SHOULD): http::Uri drops it unseen"),
];

/// Tells whether hyper understands what it should not: then what follows is a request like any other.
pub(crate) fn is_deviation(case: &Case) -> bool {
    DEVIATIONS.iter().any(|deviation| deviation.0 == case.name)
}

/// The verdict on a case, unless it is known that hyper has another opinion.
pub(crate) fn judged(case: &Case, heard: &Heard, reads: bool) -> Result<(), String> {
    match DEVIATIONS.iter().find(|deviation| deviation.0 == case.name) {
        Some((_, statuses, _)) if heard.statuses() == *statuses => Ok(()),
        Some(_) => Err(format!("{}: no known deviation any more: {}", case.name, heard.summary())),
        None => case.verdict(heard, reads),
    }
}

/// Judges every case, and shows all that are wrong at once.
#[track_caller]
fn judge_all(cases: &[Case], judge: impl Fn(&Case) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let some = || {
        let taken = iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        taken.filter_map(|case| judge(case).err()).collect::<Vec<_>>()
    };
    let wrong: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(some)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a judge")).collect()
    });
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Nothing panicked, and the daemon stops in order.
#[track_caller]
pub(crate) fn assert_unharmed(daemon: Daemon) {
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.text());
    for event in ended.events() {
        assert!(!event.to_string().contains("panic"), "{event}");
    }
}

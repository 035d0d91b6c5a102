//! The corpus through the proxy: nothing reaches the application that the proxy has not understood, and nothing that
//! it has refused.

use std::thread;

use tempfile::TempDir;

use crate::{
    corpus::{self, Case},
    malformed::{assert_unharmed, is_deviation, judged},
    support::{Answer, Daemon, Launch, exchange},
    upstream::{FIELD, Upstream},
};

/// How many daemons share the corpus; each has an application of its own, which hears of one case at a time.
const DAEMONS: usize = 8;

struct Target {
    _directory: TempDir,
    upstream: Upstream,
    daemon: Daemon,
    public: String,
}

// === impl Target ===

impl Target {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = directory.path().join("app.sock");
        let upstream = Upstream::bind(&socket);
        let address = format!("unix:{}", socket.display());
        let mut daemon = Launch::daemon().args(["--public-proxy", &address]).start();
        let public = daemon.public();
        Self { _directory: directory, upstream, daemon, public }
    }

    fn judge(&self, case: &Case) -> Result<(), String> {
        let heard = exchange(&self.public, &case.to_send(), case.hangs_up());
        let is_its = |answer: &&Answer| answer.head.contains(FIELD);
        let answered = heard.answers.iter().filter(is_its).count();
        let record = std::mem::take(&mut *self.upstream.record());
        let fail = |what: String| Err(format!("{}: {what}: {}", case.name, heard.summary()));
        if let Some(fault) = record.faults.first() {
            return fail(format!("what is wrong was passed on: {fault}"));
        }
        if !is_deviation(case) && record.whole.iter().any(|head| is_smuggled(head)) {
            return fail("it was smuggled to the application".to_owned());
        }
        if record.whole.len() != answered {
            return fail(format!("{answered} answers came of {:?}", record.whole));
        }
        // The proxy reads the bodies, as it passes them on.
        let has_body = case.bytes.starts_with(b"POST /length ");
        judged(case, &heard, has_body)
    }
}

/// Tells whether a request is the one that nobody may take for one.
fn is_smuggled(head: &str) -> bool {
    head.starts_with("GET /smuggled ") || head.contains("\r\nx-request-id: smuggled\r\n")
}

#[test]
fn nothing_malformed_reaches_an_application_behind_the_proxy() {
    let cases = corpus::all();
    let judge = |number| {
        let target = Target::new();
        let its = cases.iter().skip(number).step_by(DAEMONS);
        let wrong: Vec<_> = its.filter_map(|case| target.judge(case).err()).collect();
        // Nor has anything come later.
        let record = target.upstream.record().clone();
        assert_eq!((record.whole, record.faults), (vec![], vec![]));
        assert_unharmed(target.daemon);
        wrong
    };
    let wrong: Vec<_> = thread::scope(|scope| {
        let judges: Vec<_> =
            (0..DAEMONS).map(|number| scope.spawn(move || judge(number))).collect();
        judges.into_iter().flat_map(|judge| judge.join().expect("a judge")).collect()
    });
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

//! Malformed and hostile requests: a table of what is sent and what has to come of it.
//!
//! Written from RFC 9112 (HTTP/1.1) and RFC 9110 (HTTP semantics), to which the rules refer, and from the
//! known forms of request smuggling. What must not be understood as a request carries the name `smuggled`:
//! an answer that bears it is a failure whatever the table says.

mod chunks;
mod fields;
mod floods;
mod framing;
mod host;
mod protocols;
mod start_line;
mod targets;

use std::borrow::Cow;

use crate::support::{Answer, Heard};

/// Concatenates literals to bytes.
macro_rules! bytes {
    ($($part:expr),* $(,)?) => { concat!($($part),*).as_bytes() };
}

/// The request that must not be answered.
macro_rules! smuggled {
    () => {
        "GET /smuggled HTTP/1.1\r\nHost: test\r\nX-Request-Id: smuggled\r\n\r\n"
    };
}

/// An ordinary request.
macro_rules! good {
    () => {
        "GET /good HTTP/1.1\r\nHost: test\r\n\r\n"
    };
}

/// The request that follows where the connection stays: its answer says that nothing was left over.
macro_rules! closing {
    () => {
        "GET /last HTTP/1.1\r\nHost: test\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
    };
}

pub(crate) use {bytes, closing, good, smuggled};

const LAST: &[u8] = closing!().as_bytes();

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Cow<'static, [u8]>,
    pub(crate) expected: Expected,
    /// Where that is written, or why it is allowed.
    pub(crate) rule: &'static str,
}

/// What has to come of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    /// So many good answers, then one with one of these statuses (0: none); then the server ends the
    /// connection.
    Refused(usize, &'static [u16]),
    /// The request is not whole when the client hangs up: no answer, or a refusal.
    Unanswered,
    /// The head is well, the body is not. A service that reads the body answers 400; one that does not
    /// may have answered before. In either case nothing that follows is answered.
    BrokenBody,
    /// The head is well, and the client hangs up before the body has come: the same.
    CutBody,
    /// One answer, whatever it is, to all of it; the server may end the connection then.
    One,
    /// One answer with one of these statuses; the connection may stay.
    Declined(&'static [u16]),
    /// So many good answers, and the connection stays.
    Answered(usize),
    /// So many good answers, after which the server ends the connection although the client has more.
    AnsweredAndClosed(usize),
}

pub(crate) use Expected::{
    Answered, AnsweredAndClosed, BrokenBody, CutBody, Declined, One, Refused, Unanswered,
};

/// 400, in most cases.
pub(crate) const BAD: Expected = Refused(0, &[400]);
/// A transfer coding that is not understood: 501, or 400.
pub(crate) const CODING: Expected = Refused(0, &[400, 501]);
/// More than the limits allow. Who sends so much may miss the answer: then it is a reset.
pub(crate) const TOO_MUCH: Expected = Refused(0, &[431]);

pub(crate) const fn case(
    name: &'static str,
    bytes: &'static [u8],
    expected: Expected,
    rule: &'static str,
) -> Row {
    Row { name, bytes, expected, rule }
}

/// A line of a constant table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    name: &'static str,
    bytes: &'static [u8],
    expected: Expected,
    rule: &'static str,
}

/// The tables whose requests have bodies, all `POST /length`.
pub(crate) fn with_bodies() -> Vec<Case> {
    cases(&[framing::ROWS, chunks::ROWS]).chain(chunks::generated()).collect()
}

/// All tables.
pub(crate) fn all() -> Vec<Case> {
    let tables = [start_line::ROWS, targets::ROWS, host::ROWS, fields::ROWS, protocols::ROWS];
    cases(&tables)
        .chain(with_bodies())
        .chain(fields::generated())
        .chain(floods::generated())
        .collect()
}

fn cases<'r>(tables: &'r [&'static [Row]]) -> impl Iterator<Item = Case> + 'r {
    tables.iter().flat_map(|table| table.iter()).map(|row| Case {
        name: row.name.to_owned(),
        bytes: Cow::Borrowed(row.bytes),
        expected: row.expected,
        rule: row.rule,
    })
}

// === impl Case ===

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        expected: Expected,
        rule: &'static str,
    ) -> Self {
        Self { name: name.into(), bytes: Cow::Owned(bytes.into()), expected, rule }
    }

    /// Whether the client says that nothing more will come; otherwise the server has to end it.
    pub(crate) fn hangs_up(&self) -> bool {
        matches!(self.expected, Unanswered | CutBody)
    }

    /// What is sent: where the connection stays, with a request that ends it.
    pub(crate) fn to_send(&self) -> Cow<'_, [u8]> {
        match self.expected {
            One | Declined(_) | Answered(_) => Cow::Owned([&self.bytes, LAST].concat()),
            _ => Cow::Borrowed(&self.bytes),
        }
    }

    /// What is wrong with what came of it; `reads` says whether the service reads bodies.
    pub(crate) fn verdict(&self, heard: &Heard, reads: bool) -> Result<(), String> {
        let statuses = heard.statuses();
        let is_good = |status: &u16| (200..300).contains(status);
        let is_last = |answer: &Answer| answer.head.contains("\r\nx-request-id: last\r\n");
        let flood = self.bytes.len() > 64 << 10;
        let fits = match self.expected {
            Refused(good, refusals) => match statuses.as_slice() {
                [first @ .., last] if *last >= 400 => {
                    first.len() == good && first.iter().all(is_good) && refusals.contains(last)
                }
                answers => {
                    (answers.len() == good && refusals.contains(&0))
                        || (answers.is_empty() && flood && heard.broken.is_some())
                }
            },
            Unanswered => matches!(statuses.as_slice(), [] | [400]),
            BrokenBody if reads => statuses == [400],
            // Whoever has hung up may get no answer any more.
            CutBody if reads => matches!(statuses.as_slice(), [] | [400]),
            BrokenBody | CutBody => matches!(statuses.as_slice(), [] | [400 | 200]),
            One => match heard.answers.as_slice() {
                [answer] => !is_last(answer),
                [answer, last] => !is_last(answer) && is_last(last),
                _ => false,
            },
            Declined(refusals) => match heard.answers.as_slice() {
                [answer] => refusals.contains(&answer.status),
                [answer, last] => refusals.contains(&answer.status) && is_last(last),
                _ => false,
            },
            Answered(good) => {
                statuses.len() == good + 1
                    && statuses[..good].iter().all(is_good)
                    && heard.answers.last().is_some_and(is_last)
            }
            AnsweredAndClosed(good) => statuses.len() == good && statuses.iter().all(is_good),
        };
        // Whoever floods may lose what was said at last to a reset; nobody else may.
        let orderly = heard.rest.is_empty() && (heard.broken.is_none() || flood);
        let smuggled = heard.answers.iter().any(|answer| answer.head.contains("smuggled"));
        if fits && orderly && !smuggled {
            return Ok(());
        }
        let what = if smuggled { "ANSWERED WHAT WAS SMUGGLED: " } else { "" };
        let Self { name, expected, rule, .. } = self;
        Err(format!("{name}: {what}{} instead of {expected:?} ({rule})", heard.summary()))
    }
}

//! What is generated: requests with their handlers, how they are sent, and what happens meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::handlers::{Conduct, Plan};
use crate::http::activity::LEFTOVER_MAX;

/// A client's whole life.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) requests: Vec<Sent>,
    /// Where what is sent is cut, and how long the client waits there.
    cuts: Vec<(Index, Duration)>,
    /// Changes of the mode, each before one of the segments.
    changes: Vec<(Index, Change)>,
    /// The client sends no more than this of it all.
    ends_at: Option<Index>,
    /// The client then says that it sends no more.
    pub(super) hangs_up: bool,
}

/// One request.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub(super) struct Sent {
    pub(super) method: &'static str,
    pub(super) framing: Framing,
    pub(super) expects: bool,
    pub(super) offers_upgrade: bool,
    /// It is the client's last, as it says.
    pub(super) closes: bool,
    /// It is of HTTP/1.0.
    pub(super) is_old: bool,
    /// Line ends come before it, which belong to no request.
    has_line_ends: bool,
    pub(super) plan: Plan,
}

/// How a request's body is framed.
#[derive(Clone, Debug)]
pub(super) enum Framing {
    None,
    Length(usize),
    /// `has_length`: with a Content-Length beside it, which does not count.
    Chunked {
        chunks: Vec<usize>,
        extends: bool,
        has_trailers: bool,
        has_length: bool,
    },
}

/// A change of the mode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Held for so long at most, and released.
    Hold(Duration),
    /// Handed over if it can be held in this time.
    Restart(Duration),
    Linger,
}

// === impl Sequence ===

impl Sequence {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let requests = prop::collection::vec(Sent::any(), 1..5);
        let cuts = prop::collection::vec((any::<Index>(), pause()), 0..6);
        let changes = prop::collection::vec((any::<Index>(), Change::any()), 0..3);
        let ends_at = prop::option::weighted(0.2, any::<Index>());
        let hangs_up = prop::bool::weighted(0.15);
        (requests, cuts, changes, ends_at, hangs_up).prop_map(
            |(requests, cuts, changes, ends_at, hangs_up)| Self {
                requests,
                cuts,
                changes,
                ends_at,
                hangs_up,
            },
        )
    }

    /// How many of the requests are sent whole, and whether the beginning of one more is.
    pub(super) fn sent(&self) -> (usize, bool) {
        let mut left = self.length();
        for (id, sent) in self.requests.iter().enumerate() {
            let length = sent.bytes(id).len();
            if left < length {
                return (id, left > 0);
            }
            left -= length;
        }
        (self.requests.len(), false)
    }

    /// What is sent at a time, and how long the client waits before.
    pub(super) fn segments(&self) -> Vec<(Vec<u8>, Duration)> {
        let mut bytes = self.bytes();
        bytes.truncate(self.length());
        let place = |(at, pause): &(Index, Duration)| (at.index(bytes.len() + 1), *pause);
        let mut cuts: Vec<_> = self.cuts.iter().map(place).collect();
        cuts.sort_unstable();
        let mut segments = Vec::new();
        let (mut from, mut wait) = (0, Duration::ZERO);
        for (at, pause) in cuts {
            segments.push((bytes[from..at].to_vec(), wait));
            (from, wait) = (at, pause);
        }
        segments.push((bytes[from..].to_vec(), wait));
        segments
    }

    pub(super) fn changes_before(&self, segment: usize) -> impl Iterator<Item = Change> {
        let segments = self.cuts.len() + 1;
        let at = move |(at, change): &(Index, Change)| {
            (at.index(segments) == segment).then_some(*change)
        };
        self.changes.iter().filter_map(at)
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn lingers(&self) -> bool {
        self.changes.iter().any(|(_, change)| matches!(change, Change::Linger))
    }

    /// Whether there may be no answer behind so many: one may be the last, or never come, or a panic in the middle
    /// of it has ended the connection.
    pub(super) fn may_end_early(&self, answers: usize) -> bool {
        let ends = |sent: &Sent| {
            sent.may_be_last()
                || matches!(
                    sent.plan.conduct,
                    Conduct::Refuses | Conduct::PanicsInAnswer | Conduct::Hangs
                )
        };
        self.requests.iter().take(answers + 1).any(ends)
    }

    /// All bytes of the requests.
    fn bytes(&self) -> Vec<u8> {
        self.requests.iter().enumerate().flat_map(|(id, sent)| sent.bytes(id)).collect()
    }

    /// How many of them are sent.
    fn length(&self) -> usize {
        let length = self.bytes().len();
        self.ends_at.map_or(length, |end| end.index(length))
    }
}

// === impl Sent ===

impl Sent {
    fn any() -> impl Strategy<Value = Self> {
        let rare = prop::bool::weighted(0.1);
        let flags = (prop::bool::weighted(0.25), rare, rare, rare, rare);
        (prop::sample::select(vec!["POST", "PUT", "GET"]), Framing::any(), flags, Plan::any())
            .prop_map(
                |(
                    method,
                    framing,
                    (expects, offers_upgrade, closes, is_old, has_line_ends),
                    plan,
                )| {
                    // HTTP/1.0 knows neither chunks, nor expectations, nor upgrades.
                    let is_old = is_old && !matches!(framing, Framing::Chunked { .. });
                    Self {
                        method,
                        framing,
                        expects: expects && !is_old,
                        offers_upgrade: offers_upgrade && !is_old,
                        closes,
                        is_old,
                        has_line_ends,
                        plan,
                    }
                },
            )
    }

    /// Whether the server may say, of its own accord, that the answer is the last.
    pub(super) fn may_be_last(&self) -> bool {
        let is_long = match &self.framing {
            Framing::None => false,
            Framing::Length(length) => *length as u64 > LEFTOVER_MAX,
            Framing::Chunked { has_length: true, .. } => true,
            Framing::Chunked { chunks, .. } => chunks.iter().sum::<usize>() as u64 > LEFTOVER_MAX,
        };
        // To HTTP/1.0 an answer of unknown length is.
        self.closes || self.expects || self.is_old || is_long
    }

    fn bytes(&self, id: usize) -> Vec<u8> {
        let version = if self.is_old { "1.0" } else { "1.1" };
        let line_ends = if self.has_line_ends { "\r\n" } else { "" };
        let mut head =
            format!("{line_ends}{} /{id} HTTP/{version}\r\nHost: model\r\n", self.method);
        head.push_str(match (self.closes, self.is_old, self.offers_upgrade) {
            (true, _, _) => "Connection: close\r\n",
            (false, true, _) => "Connection: keep-alive\r\n",
            (false, false, true) => "Connection: Upgrade\r\nUpgrade: model\r\n",
            (false, false, false) => "",
        });
        if self.expects {
            head.push_str("Expect: 100-continue\r\n");
        }
        let mut content = Vec::new();
        match &self.framing {
            Framing::None => {}
            Framing::Length(length) => {
                let _ = write!(head, "Content-Length: {length}\r\n");
                content = body(id, 0, *length);
            }
            Framing::Chunked { chunks, extends, has_trailers, has_length } => {
                head.push_str(if *has_length { "Content-Length: 5\r\n" } else { "" });
                head.push_str("Transfer-Encoding: chunked\r\n");
                let extension = if *extends { ";name=\"value\"" } else { "" };
                let mut from = 0;
                for length in chunks {
                    content.extend(format!("{length:x}{extension}\r\n").into_bytes());
                    content.extend(body(id, from, *length));
                    content.extend(b"\r\n");
                    from += length;
                }
                content.extend(if *has_trailers {
                    &b"0\r\nChecked: yes\r\n"[..]
                } else {
                    b"0\r\n"
                });
                content.extend(b"\r\n");
            }
        }
        head.push_str("\r\n");
        [head.into_bytes(), content].concat()
    }
}

/// Bytes of a body that look like requests.
fn body(id: usize, from: usize, length: usize) -> Vec<u8> {
    let request = format!("GET /in-{id} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    request.into_iter().cycle().skip(from).take(length).collect()
}

// === impl Framing ===

impl Framing {
    fn any() -> impl Strategy<Value = Self> {
        // A whole number of requests, mostly: what follows them would be another.
        const REQUEST: usize = b"GET /in-0 HTTP/1.1\r\nHost: x\r\n\r\n".len();
        let length = prop_oneof![
            3 => (1..4_usize).prop_map(|count| count * REQUEST),
            1 => 1..200_usize,
            1 => (50..200_usize).prop_map(|count| count * REQUEST),
        ];
        let chunks = prop::collection::vec(length.clone(), 0..4);
        let rare = prop::bool::weighted(0.2);
        prop_oneof![
            2 => Just(Self::None),
            3 => length.prop_map(Self::Length),
            3 => (chunks, rare, rare, prop::bool::weighted(0.1)).prop_map(
                |(chunks, extends, has_trailers, has_length)| {
                    Self::Chunked { chunks, extends, has_trailers, has_length }
                },
            ),
        ]
    }
}

// === impl Change ===

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => pause().prop_map(Self::Hold),
            4 => pause().prop_map(Self::Restart),
            1 => Just(Self::Linger),
        ]
    }
}

/// How long a client, a handler or a change of the mode takes.
pub(super) fn pause() -> impl Strategy<Value = Duration> {
    prop::sample::select(vec![0, 0, 1, 15, 45, 300, 1500]).prop_map(Duration::from_millis)
}

//! What is counted, at the cost of an atomic addition.
//!
//! Label sets are bounded: servers by the program, methods and statuses by the tables here.
#![cfg_attr(
    feature = "admin",
    expect(clippy::cast_precision_loss, reason = "figures for people, exact up to 2^53")
)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
#[cfg(feature = "admin")]
use serde::Serialize;

/// The methods that are told apart; the last stands for all others.
pub(crate) const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// Statuses from 100 to 599.
pub(crate) const STATUSES: usize = 500;

/// The upper bounds of a histogram's buckets, in microseconds: those that Prometheus' clients have by default, with
/// finer ones below and a coarser one above.
pub(crate) const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// How long something took, by buckets; how often it happened is their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Count; BOUNDS_US.len() + 1],
    sum_us: Count,
}

/// What is counted of one server.
#[derive(Debug)]
pub(crate) struct ServerMetrics {
    /// Requests that the service has taken, and those of them that are finished.
    begun: Count,
    finished: Count,
    /// Answers by method; those of one by status, once there is one.
    pub(crate) answers: [OnceLock<Box<[Count]>>; METHODS.len()],
    /// From requests' heads to the ends of their answers.
    pub(crate) durations: Histogram,
    pub(crate) accepted: Count,
    pub(crate) taken_over: Count,
    /// How often the server came to its limit of connections while a client was waiting.
    pub(crate) full: Count,
    /// Idle connections that were closed to make room for others.
    pub(crate) evicted: Count,
    pub(crate) accept_shortages: Count,
    pub(crate) accept_aborts: Count,
    /// How often a listener of the program's own has failed.
    pub(crate) accept_failures: Count,
    pub(crate) panics: Count,
    /// Connections of HTTP/2, and those of them that have ended.
    #[cfg(feature = "http2")]
    pub(crate) http2_connections: Count,
    #[cfg(feature = "http2")]
    pub(crate) http2_ended: Count,
    /// Requests of HTTP/2 that were given up before there was an answer.
    #[cfg(feature = "http2")]
    pub(crate) streams_given_up: Count,
    /// Connections that ended by a time-out, by what was waited for.
    pub(crate) timeouts: [Count; TIMEOUTS.len()],
}

/// What is counted of the reloads of a daemon.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) succeeded: Count,
    pub(crate) failed: Count,
}

/// How long requests took.
#[cfg(feature = "admin")]
#[derive(Debug, Serialize)]
pub(crate) struct Durations {
    /// The upper bounds of the buckets; the last bucket has none.
    le_seconds: [f64; BOUNDS_US.len()],
    /// How many requests fell into each bucket.
    counts: [u64; BOUNDS_US.len() + 1],
    sum_seconds: f64,
}

/// What a time-out waited for; the index is that of [`ServerMetrics::timeouts`].
pub(crate) const TIMEOUTS: [&str; 6] = ["first_byte", "head", "body", "idle", "write", "handshake"];

// === impl Count ===

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Histogram ===

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| took <= *bound);
        self.buckets[bucket.unwrap_or(BOUNDS_US.len())].add(1);
        self.sum_us.add(took);
    }

    /// How often it took no longer than each bound, and longer than the one before.
    #[cfg(feature = "admin")]
    pub(crate) fn counts(&self) -> [u64; BOUNDS_US.len() + 1] {
        self.buckets.each_ref().map(Count::get)
    }

    #[cfg(feature = "admin")]
    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }
}

// === impl ServerMetrics ===

impl ServerMetrics {
    pub(crate) fn new() -> Self {
        Self {
            begun: Count::default(),
            finished: Count::default(),
            answers: Default::default(),
            durations: Histogram::default(),
            accepted: Count::default(),
            taken_over: Count::default(),
            full: Count::default(),
            evicted: Count::default(),
            accept_shortages: Count::default(),
            accept_aborts: Count::default(),
            accept_failures: Count::default(),
            panics: Count::default(),
            #[cfg(feature = "http2")]
            http2_connections: Count::default(),
            #[cfg(feature = "http2")]
            http2_ended: Count::default(),
            #[cfg(feature = "http2")]
            streams_given_up: Count::default(),
            timeouts: Default::default(),
        }
    }

    /// The answers to requests of a method.
    fn answered(&self, method: usize) -> &[Count] {
        self.answers[method]
            .get_or_init(|| std::iter::repeat_with(Count::default).take(STATUSES).collect())
    }

    /// The service takes a request.
    pub(crate) fn begin(&self) {
        self.begun.add(1);
    }

    /// A request has its answer, or (without a status) never will.
    pub(crate) fn end(&self, method: usize, status: Option<StatusCode>, took: Duration) {
        if let Some(status) = status {
            let status = usize::from(status.as_u16()) - 100;
            // Statuses of 600 and above have no meaning in HTTP.
            if status < STATUSES {
                self.answered(method)[status].add(1);
            }
            self.durations.add(took);
        }
        self.finished.0.fetch_add(1, Ordering::Release);
    }

    /// A client was answered whose request did not come, or could not be understood. It does not count as a
    /// request that has begun: port scanners must not keep a daemon from its idle exit.
    pub(crate) fn refused(&self, status: StatusCode) {
        let status = usize::from(status.as_u16()) - 100;
        self.answered(METHODS.len() - 1)[status].add(1);
    }

    /// How long requests took so far.
    #[cfg(feature = "admin")]
    pub(crate) fn durations(&self) -> Durations {
        Durations {
            le_seconds: BOUNDS_US.map(|bound| bound as f64 / 1e6),
            counts: self.durations.counts(),
            sum_seconds: self.durations.sum_seconds(),
        }
    }

    /// How many requests the service has taken.
    pub(crate) fn requests(&self) -> u64 {
        self.begun.get()
    }

    /// How many connections of HTTP/2 are open.
    #[cfg(all(feature = "admin", feature = "http2"))]
    pub(crate) fn http2_open(&self) -> u64 {
        let ended = self.http2_ended.get();
        self.http2_connections.get().saturating_sub(ended)
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> u64 {
        // In this order, a request that begins in between is not missed.
        let finished = self.finished.0.load(Ordering::Acquire);
        self.begun.get().saturating_sub(finished)
    }
}

/// A method's place in the table.
pub(crate) fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => METHODS.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "admin")]
    #[test]
    fn a_duration_is_counted_once_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 100_000, 100_001, 30_000_000, 30_000_001] {
            histogram.add(Duration::from_micros(us));
        }
        let counts = histogram.counts();
        let count = |bound| counts[BOUNDS_US.iter().position(|it| *it == bound).unwrap()];
        assert_eq!([100, 250, 100_000, 250_000, 30_000_000].map(count), [2, 1, 1, 1, 1]);
        assert_eq!((counts[BOUNDS_US.len()], counts.iter().sum::<u64>()), (1, 7));
        assert!((histogram.sum_seconds() - 60.200_203).abs() < 1e-9);
    }

    #[test]
    fn every_method_has_its_own_place() {
        for (index, name) in METHODS[..METHODS.len() - 1].iter().enumerate() {
            assert_eq!(method_index(&name.parse().unwrap()), index);
        }
        assert_eq!(METHODS[method_index(&Method::TRACE)], "other");
    }
}

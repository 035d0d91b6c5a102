//! Clients of HTTP/2 that never retry, and open another connection when they are told to: each answer that a server
//! owes them counts.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use super::{
    http2::{Http2, is_answered},
    wait::{PATIENCE, wait_until},
};

const CLIENTS: usize = 8;

/// A crowd of them, as a test sees it.
#[derive(Debug, Default)]
pub(crate) struct Http2Load {
    stop: AtomicBool,
    answers: AtomicU64,
}

// === impl Http2Load ===

impl Http2Load {
    /// Has clients ask the server at `address` while `meanwhile` happens; answers which requests it has left unanswered.
    pub(crate) fn during(address: &str, meanwhile: impl FnOnce(&Self)) -> Vec<String> {
        let load = Self::default();
        thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| load.client(address))).collect();
            let stop = StopOnDrop(&load);
            meanwhile(&load);
            drop(stop);
            clients.into_iter().flat_map(|client| client.join().expect("it only asks")).collect()
        })
    }

    /// Waits until there have been a hundred more answers.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        wait_until("a hundred more answers", PATIENCE, || {
            self.answers.load(Ordering::Relaxed) > before + 100
        });
    }

    /// Asks for four things at a time, and opens another connection when it is told to. What the server says that it
    /// has not seen counts as not asked for.
    fn client(&self, address: &str) -> Vec<String> {
        let mut unanswered = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let mut client = Http2::connect(address);
            while !self.stop.load(Ordering::Relaxed) && client.goaways().is_empty() {
                client.seen.clear();
                let streams: Vec<_> = (0..4).map(|_| client.get("/")).collect();
                let is_open = loop {
                    if streams.iter().all(|stream| is_answered(&client.seen, *stream)) {
                        break true;
                    }
                    if client.frame().is_none() {
                        break false;
                    }
                };
                let last = client.goaways().last().map(|(last, _)| *last);
                for stream in streams {
                    if is_answered(&client.seen, stream) {
                        self.answers.fetch_add(1, Ordering::Relaxed);
                    } else if last.is_none_or(|last| stream <= last) {
                        unanswered.push(format!("{stream} of {last:?}: {:?}", client.seen));
                    }
                }
                if !is_open {
                    break;
                }
            }
        }
        unanswered
    }
}

/// Ends the crowd even if the test fails meanwhile.
struct StopOnDrop<'l>(&'l Http2Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

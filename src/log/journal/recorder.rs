//! The layer that records what is logged, on the thread that logs, and leaves it to the log's.

use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::recorded::{RecordedEvent, RecordedSpan, Values};
use crate::log::queue::Queue;

/// Takes events to the queue.
#[derive(Debug)]
pub(crate) struct Recorder(pub(crate) Queue<RecordedEvent>);

/// A span's record, shared with those of its events that wait in the queue.
struct Recording(Arc<RecordedSpan>);

// === impl Recorder ===

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let recording = Recording(Arc::new(RecordedSpan::of(attributes)));
            span.extensions_mut().insert(recording);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            // Before the span is locked: a value's `Debug` may log, or panic, which is logged, inside of it.
            let added = Values::of(span.metadata(), |visitor| values.record(visitor));
            if let Some(Recording(span)) = span.extensions_mut().get_mut::<Recording>() {
                Arc::make_mut(span).add(added);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let scope = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let span = |extensions: &Recording| Arc::clone(&extensions.0);
        let spans = scope.filter_map(|at| at.extensions().get::<Recording>().map(span)).collect();
        let event = RecordedEvent::of(event, spans);
        let size = event.size();
        self.0.push(event, size);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use tracing::dispatcher::with_default;
    use tracing::field::{Empty, debug};
    use tracing::{Dispatch, info, info_span};
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log::queue::Sink;

    struct Kept(Sender<RecordedEvent>);

    impl Sink for Kept {
        type Line = RecordedEvent;

        fn write(&mut self, event: RecordedEvent) -> io::Result<()> {
            self.0.send(event).map_err(io::Error::other)
        }

        fn loss(&self, lost: u64) -> RecordedEvent {
            unreachable!("{lost} lines were lost");
        }
    }

    /// A value that asks for the spans around it, as an event of its `Debug` does.
    struct Curious(Dispatch);

    impl fmt::Debug for Curious {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            with_default(&self.0, || info!("from inside"));
            f.write_str("seen")
        }
    }

    #[test]
    fn a_value_that_logs_while_its_span_learns_it_stops_nobody() {
        let (kept, events) = channel();
        thread::spawn(|| {
            let recorder = Recorder(Queue::start(Kept(kept)).unwrap());
            let dispatch = Dispatch::new(Registry::default().with(recorder));
            with_default(&dispatch, || {
                let span = info_span!("span", value = Empty).entered();
                span.record("value", debug(Curious(dispatch.clone())));
                info!("after");
            });
        });
        let next = || events.recv_timeout(Duration::from_secs(60)).unwrap().spans[0].added.len();
        assert_eq!([next(), next()], [0, 1]);
    }

    #[test]
    fn a_span_that_learns_for_ever_keeps_the_newest_of_each_field() {
        let (kept, events) = channel();
        let recorder = Recorder(Queue::start(Kept(kept)).unwrap());
        with_default(&Dispatch::new(Registry::default().with(recorder)), || {
            let span = info_span!("span", early = Empty, late = Empty).entered();
            span.record("early", 7);
            for number in 0..1000 {
                span.record("late", number);
            }
            info!("after");
        });
        let event = events.recv_timeout(Duration::from_secs(60)).unwrap();
        let added = &event.spans[0].added;
        let newest = |at| added.iter().filter_map(|values| values.get(at)).next_back().unwrap();
        assert_eq!([newest(0).to_string(), newest(1).to_string()], ["7", "999"]);
        assert_eq!(added.len(), 8);
    }
}

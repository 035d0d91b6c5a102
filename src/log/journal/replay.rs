//! Recorded events, shown to tracing-journald's layer.
//!
//! That layer is the only one of a subscriber that is installed nowhere, in no thread either: events and their
//! spans are given to it by hand. tracing does not know of it, and so asks it about no other event.

use std::fmt::{self, Write as _};

use tracing::field::ValueSet;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use super::place::{MESSAGE, Place, Places};
use super::recorded::{Recorded, RecordedEvent, RecordedSpan, Shown, Values, cut};
use super::spans::Spans;
use crate::log::setup::quoted;

/// The longest value that is told behind the message, in bytes: its field has all of it.
const TOLD_MAX: usize = 4 << 10;

/// Room for the fields of most events.
const TOLD_USUAL: usize = 256;

/// Shows events to a layer.
pub(super) struct Replay {
    subscriber: Box<dyn Subscriber + Send + Sync>,
    places: Places,
}

// === impl Replay ===

impl Replay {
    pub(super) fn to(layer: impl Layer<Spans> + Send + Sync) -> Self {
        let subscriber = Box::new(Spans::default().with(layer));
        Self { subscriber, places: Places::default() }
    }

    /// Shows an event inside of its spans, with this message.
    pub(super) fn event(&mut self, event: &RecordedEvent, message: &Recorded) {
        let place = self.places.of(event.metadata);
        let mut open: Vec<Id> = Vec::with_capacity(event.spans.len());
        for span in &event.spans {
            let place = self.places.of(span.metadata);
            let id = self.begin(place, span, open.last());
            open.push(id);
        }
        let innermost = open.last().cloned();
        if let Some(id) = &innermost {
            self.subscriber.enter(id);
        }
        show(place, &event.values, Some(message), |values| {
            self.subscriber.event(&Event::new_child_of(innermost.clone(), place.metadata, values));
        });
        if let Some(id) = &innermost {
            self.subscriber.exit(id);
        }
        for id in open.into_iter().rev() {
            self.subscriber.try_close(id);
        }
    }

    fn begin(&self, place: Place, span: &RecordedSpan, parent: Option<&Id>) -> Id {
        let mut begun = None;
        show(place, &span.values, None, |values| {
            let attributes = match parent {
                Some(parent) => Attributes::child_of(parent.clone(), place.metadata, values),
                None => Attributes::new_root(place.metadata, values),
            };
            begun = Some(self.subscriber.new_span(&attributes));
        });
        let id = begun.expect("what shows values does so once");
        for added in &span.added {
            show(place, added, None, |values| self.subscriber.record(&id, &Record::new(values)));
        }
        id
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Shows values under the names of a place.
fn show(
    place: Place,
    values: &Values,
    message: Option<&Recorded>,
    show: impl FnOnce(&ValueSet<'_>),
) {
    let fields = place.metadata.fields();
    let value = |at: usize| match message {
        Some(message) if place.message == Some(at) => Some(message),
        _ if place.hidden.contains(&at) => None,
        _ => values.get(at),
    };
    let shown: Vec<_> = (0..fields.len()).map(|at| value(at).map(Recorded::shown)).collect();
    let values: Vec<_> = shown.iter().map(|shown| shown.as_ref().map(Shown::value)).collect();
    show(&fields.value_set_all(&values));
}

/// Takes the message of an event, and puts its fields behind it: `journalctl` shows nothing else unless it
/// is asked to.
pub(super) fn told(event: &mut RecordedEvent) -> String {
    let fields = event.metadata.fields();
    let mut told = String::new();
    for (at, field) in (0..).zip(fields) {
        if field.name() == MESSAGE {
            match event.values.take(at) {
                Some(Recorded::Str(text) | Recorded::Debug(text)) => told = text,
                Some(value) => told = value.to_string(),
                None => {}
            }
        }
    }
    told.reserve(TOLD_USUAL);
    for (field, value) in fields.iter().zip(event.values.iter()) {
        match (field.name(), value) {
            // A MESSAGE_ID is for the journal's index.
            (_, None) | ("message_id", _) => {}
            (name, Some(Recorded::Str(text) | Recorded::Debug(text))) => {
                tell(&mut told, name, text);
            }
            (name, Some(value)) => {
                // Writing to a string does not fail.
                let _ = write!(told, " {name}={value}");
            }
        }
    }
    told
}

fn tell(told: &mut String, name: &str, text: &str) {
    if text.len() > TOLD_MAX {
        let mut text = text.to_owned();
        cut(&mut text, TOLD_MAX);
        told.extend([" ", name, "=", &quoted(&text)]);
    } else {
        told.extend([" ", name, "=", &quoted(text)]);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use tracing::callsite::{Callsite, Identifier};
    use tracing::dispatcher::get_default;
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;
    use tracing::subscriber::{Interest, NoSubscriber};
    use tracing::{Dispatch, Level, Metadata};
    use tracing_subscriber::layer::Context;
    use tracing_subscriber::registry::LookupSpan;

    use super::*;

    struct Anywhere;

    impl Callsite for Anywhere {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &EVENT
        }
    }

    static SPAN: Metadata<'static> = metadata(&[], Kind::SPAN);
    static EVENT: Metadata<'static> = metadata(&[MESSAGE], Kind::EVENT);

    const fn metadata(names: &'static [&'static str], kind: Kind) -> Metadata<'static> {
        let fields = FieldSet::new(names, Identifier(&Anywhere));
        Metadata::new("name", "target", Level::INFO, None, None, None, fields, kind)
    }

    /// An event in so many spans.
    fn event_in(depth: usize) -> RecordedEvent {
        let span =
            RecordedSpan { metadata: &SPAN, values: Values::new(Vec::new()), added: Vec::new() };
        let spans = iter::repeat_n(Arc::new(span), depth).collect();
        RecordedEvent { metadata: &EVENT, values: Values::new(vec![None]), spans }
    }

    #[test]
    fn spans_may_be_as_deep_as_they_like() {
        struct Deep(Sender<usize>);

        impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Deep {
            fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
                let spans = context.event_scope(event).map_or(0, Iterator::count);
                // This is how tracing-journald looks for them.
                let current = context.lookup_current().map_or(0, |span| span.scope().count());
                assert_eq!(spans, current);
                self.0.send(spans).unwrap();
            }
        }

        let (depth, seen) = channel();
        // With as much stack as the log's thread has.
        let replay =
            move || Replay::to(Deep(depth)).event(&event_in(20_000), &Recorded::Bool(true));
        thread::Builder::new().stack_size(2 << 20).spawn(replay).unwrap().join().unwrap();
        assert_eq!(seen.recv().unwrap(), 20_000);
    }

    /// As long as any thread has a subscriber, tracing drops what is logged while an event is recorded, in all.
    #[test]
    fn no_subscriber_is_the_threads_while_an_event_is_shown() {
        struct IsNone(Sender<bool>);

        impl<S: Subscriber> Layer<S> for IsNone {
            fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
                self.0.send(get_default(Dispatch::is::<NoSubscriber>)).unwrap();
            }

            fn on_close(&self, _: Id, _: Context<'_, S>) {
                self.0.send(get_default(Dispatch::is::<NoSubscriber>)).unwrap();
            }
        }

        let (is_none, seen) = channel();
        Replay::to(IsNone(is_none)).event(&event_in(2), &Recorded::Bool(true));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [true; 3]);
    }
}

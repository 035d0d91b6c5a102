//! Recorded events, shown to tracing-journald's layer.
//!
//! That layer is the only one of a subscriber that is installed nowhere: events are dispatched to it by
//! hand, each with its spans. To everything else that subscriber says that it wants nothing, so
//! that it does not make events dearer that nobody logs.

use std::fmt::Write as _;

use tracing::dispatcher::with_default;
use tracing::field::ValueSet;
use tracing::span::{Attributes, Record};
use tracing::{Dispatch, Event};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::place::{MESSAGE, Place, Places};
use super::recorded::{Recorded, RecordedEvent, RecordedSpan, Shown, Values, cut};
use crate::log::setup::quoted;

/// The longest value that is told behind the message, in bytes: its field has all of it.
const TOLD_MAX: usize = 4 << 10;

/// Room for the fields of most events.
const TOLD_USUAL: usize = 256;

/// Shows events to a layer.
#[derive(Debug)]
pub(super) struct Replay {
    dispatch: Dispatch,
    places: Places,
}

// === impl Replay ===

impl Replay {
    pub(super) fn to(layer: impl Layer<Registry> + Send + Sync) -> Self {
        let subscriber = Registry::default().with(layer).with(LevelFilter::OFF);
        Self { dispatch: Dispatch::new(subscriber), places: Places::default() }
    }

    /// Shows an event inside of its spans, with this message.
    pub(super) fn event(&mut self, event: &RecordedEvent, message: &Recorded) {
        let place = self.places.of(event.metadata);
        let spans = event.spans.iter().map(|span| (self.places.of(span.metadata), &**span));
        let spans: Vec<_> = spans.collect();
        let dispatch = &self.dispatch;
        let show_event = || {
            show(place, &event.values, Some(message), |values| {
                dispatch.event(&Event::new(place.metadata, values));
            });
        };
        if spans.is_empty() {
            show_event();
        } else {
            // The registry closes spans by the thread's subscriber.
            with_default(dispatch, || inside(dispatch, &spans, show_event));
        }
    }
}

/// Does it inside of these spans, the first of which is the outermost.
fn inside(dispatch: &Dispatch, spans: &[(Place, &RecordedSpan)], act: impl FnOnce()) {
    // Not by recursion: an application may have more spans around an event than there is stack.
    let mut entered = Vec::with_capacity(spans.len());
    for (place, span) in spans {
        let mut id = None;
        show(*place, &span.values, None, |values| {
            id = Some(dispatch.new_span(&Attributes::new(place.metadata, values)));
        });
        let id = id.expect("what shows values does so once");
        for added in &span.added {
            show(*place, added, None, |values| dispatch.record(&id, &Record::new(values)));
        }
        dispatch.enter(&id);
        entered.push(id);
    }
    act();
    for id in entered.into_iter().rev() {
        dispatch.exit(&id);
        dispatch.try_close(id);
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
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;
    use tracing::subscriber::Interest;
    use tracing::{Level, Metadata, Subscriber, enabled};
    use tracing_subscriber::layer::{Context, Identity};
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

    #[test]
    fn spans_may_be_as_deep_as_they_like() {
        struct Deep(Sender<usize>);

        impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Deep {
            fn on_event(&self, _: &Event<'_>, context: Context<'_, S>) {
                let spans = context.lookup_current().map_or(0, |span| span.scope().count());
                self.0.send(spans).unwrap();
            }
        }

        let span =
            RecordedSpan { metadata: &SPAN, values: Values::new(Vec::new()), added: Vec::new() };
        let spans = iter::repeat_n(Arc::new(span), 20_000).collect();
        let event = RecordedEvent { metadata: &EVENT, values: Values::new(vec![None]), spans };
        let (depth, seen) = channel();
        // With as much stack as the log's thread has.
        let replay = move || Replay::to(Deep(depth)).event(&event, &Recorded::Bool(true));
        thread::Builder::new().stack_size(2 << 20).spawn(replay).unwrap().join().unwrap();
        assert_eq!(seen.recv().unwrap(), 20_000);
    }

    #[test]
    fn its_subscriber_wants_no_event_of_its_own() {
        let replay = Replay::to(Identity::new());
        assert!(!with_default(&replay.dispatch, || enabled!(Level::ERROR)));
    }
}

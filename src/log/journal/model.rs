//! Recording and replaying, against what a visitor is shown of the original, for arbitrary events and spans.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::mpsc::{Sender, channel};

use proptest::collection::vec;
use proptest::prelude::*;
use tracing::callsite::{Callsite, Identifier};
use tracing::dispatcher::with_default;
use tracing::field::{Field, FieldSet, Value, ValueSet, Visit, debug};
use tracing::metadata::Kind;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use super::place::{is_valid, journal_name};
use super::recorded::{Recorded, RecordedEvent};
use super::recorder::Recorder;
use super::replay::{Replay, told};
use crate::log::queue::{Queue, Sink};
use crate::log::setup::quoted;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_replayed_is_what_was_logged(
        spans in vec((place(), vec(vec(value(), 6), 0..3)), 0..4),
        event in place(),
        is_entered: bool,
    ) {
        let (original, replayed) = (log(&spans, &event, is_entered), replay(&spans, &event, is_entered));
        prop_assert_eq!(as_the_journal_has_it(&original), as_the_layer_writes_it(&replayed));
    }
}

/// The names and the values of an event's or a span's fields.
type Given = Vec<(&'static str, Option<Datum>)>;

type Spans = Vec<(Given, Vec<Vec<Option<Datum>>>)>;

/// A value, by its kind.
#[derive(Clone, Debug)]
enum Datum {
    F64(f64),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    Bool(bool),
    Str(String),
    Bytes(Vec<u8>),
    Error(String),
    Debug(String),
}

fn place() -> impl Strategy<Value = Given> {
    let name = prop_oneof![
        4 => "[a-z][a-z_.]{0,9}",
        1 => Just("message".to_owned()),
        1 => Just("message_id".to_owned()),
        1 => "_?(Message|MESSAGE|message)",
        2 => "[a-z0-9é_.-]{0,9}",
        1 => "\\PC{0,9}",
        1 => "[a-zé_.-]{60,70}",
    ];
    vec((name.prop_map(|name| &*name.leak()), value()), 0..6)
}

fn value() -> impl Strategy<Value = Option<Datum>> {
    let text = || prop_oneof![any::<String>(), "[a-z\" =\n]{0,9}", Just("x".repeat(9999))];
    let given = prop_oneof![
        any::<f64>().prop_map(Datum::F64),
        any::<i64>().prop_map(Datum::I64),
        any::<u64>().prop_map(Datum::U64),
        any::<i128>().prop_map(Datum::I128),
        any::<u128>().prop_map(Datum::U128),
        any::<bool>().prop_map(Datum::Bool),
        text().prop_map(Datum::Str),
        any::<Vec<u8>>().prop_map(Datum::Bytes),
        text().prop_map(Datum::Error),
        text().prop_map(Datum::Debug),
    ];
    prop_oneof![4 => given.prop_map(Some), 1 => Just(None)]
}

// === How it is logged ===

struct Anywhere;

impl Callsite for Anywhere {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        unreachable!("it is not registered")
    }
}

fn metadata(given: &Given, kind: Kind) -> &'static Metadata<'static> {
    let names: Vec<&'static str> = given.iter().map(|(name, _)| *name).collect();
    let fields = FieldSet::new(names.leak(), Identifier(&Anywhere));
    let (file, line) = (Some("somewhere.rs"), Some(7));
    let metadata = Metadata::new("name", "target", Level::INFO, file, line, None, fields, kind);
    Box::leak(Box::new(metadata))
}

fn with_values<R>(
    metadata: &Metadata<'_>,
    given: &[Option<Datum>],
    act: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    fn boxed<'g>(given: &'g Datum) -> Box<dyn Value + 'g> {
        match given {
            Datum::F64(value) => Box::new(value),
            Datum::I64(value) => Box::new(value),
            Datum::U64(value) => Box::new(value),
            Datum::I128(value) => Box::new(value),
            Datum::U128(value) => Box::new(value),
            Datum::Bool(value) => Box::new(value),
            Datum::Str(value) => Box::new(value),
            Datum::Bytes(value) => Box::new(&value[..]),
            Datum::Error(text) => {
                let error: Box<dyn Error> = text.clone().into();
                Box::new(error)
            }
            Datum::Debug(value) => Box::new(debug(value)),
        }
    }
    let fields = metadata.fields();
    let given = given.iter().map(Option::as_ref).chain(std::iter::repeat(None)).take(fields.len());
    let values: Vec<_> = given.map(|given| given.map(boxed)).collect();
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    act(&fields.value_set_all(&values))
}

fn dispatch(dispatch: &Dispatch, spans: &Spans, event: &Given, is_entered: bool) {
    let split = |given: &Given| given.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
    with_default(dispatch, || {
        let mut ids: Vec<Id> = Vec::new();
        for (given, added) in spans {
            let metadata = metadata(given, Kind::SPAN);
            let id = with_values(metadata, &split(given), |values| {
                dispatch.new_span(&match ids.last() {
                    Some(parent) if !is_entered => {
                        Attributes::child_of(parent.clone(), metadata, values)
                    }
                    _ => Attributes::new(metadata, values),
                })
            });
            for added in added {
                with_values(metadata, added, |values| dispatch.record(&id, &Record::new(values)));
            }
            if is_entered {
                dispatch.enter(&id);
            }
            ids.push(id);
        }
        let metadata = metadata(event, Kind::EVENT);
        with_values(metadata, &split(event), |values| {
            dispatch.event(&match ids.last() {
                Some(parent) if !is_entered => {
                    Event::new_child_of(parent.clone(), metadata, values)
                }
                _ => Event::new(metadata, values),
            });
        });
        for id in ids.into_iter().rev() {
            if is_entered {
                dispatch.exit(&id);
            }
            dispatch.try_close(id);
        }
    });
}

// === What is seen ===

/// What visitors see of an event and of its spans from the outermost.
#[derive(Debug)]
struct Seen {
    metadata: &'static Metadata<'static>,
    spans: Vec<(&'static str, Fields)>,
    event: Fields,
}

/// Fields by name, with the kind and the text of their values.
#[derive(Clone, Debug, Default)]
struct Fields(Vec<(String, &'static str, String)>);

impl Fields {
    fn put(&mut self, field: &Field, kind: &'static str, text: String) {
        self.0.push((field.name().to_owned(), kind, text));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, "f64", format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, "i64", value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, "u64", value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, "bool", value.to_string());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, "str", value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, "debug", format!("{value:?}"));
    }
}

/// Shows an event in its spans to a channel, as tracing-journald looks them up.
struct See(Sender<Seen>);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for See {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span =
            event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current());
        let spans = span.into_iter().flat_map(|span| span.scope().from_root());
        let spans = spans.map(|span| {
            (span.metadata().target(), span.extensions().get::<Fields>().unwrap().clone())
        });
        let (spans, metadata) = (spans.collect(), event.metadata());
        let mut seen = Seen { metadata, spans, event: Fields::default() };
        event.record(&mut seen.event);
        self.0.send(seen).unwrap();
    }
}

fn log(spans: &Spans, event: &Given, is_entered: bool) -> Seen {
    let (see, seen) = channel();
    let subscriber = Registry::default().with(See(see));
    dispatch(&Dispatch::new(subscriber), spans, event, is_entered);
    seen.recv().unwrap()
}

/// The whole way: the layer, the queue, the thread, and the layer there.
fn replay(spans: &Spans, event: &Given, is_entered: bool) -> Seen {
    struct Replayed(Replay);

    impl Sink for Replayed {
        type Line = RecordedEvent;

        fn write(&mut self, mut event: RecordedEvent) -> io::Result<()> {
            let message = Recorded::Str(told(&mut event));
            self.0.event(&event, &message);
            Ok(())
        }

        fn loss(&self, lost: u64) -> RecordedEvent {
            unreachable!("{lost} lines were lost");
        }
    }

    let (see, seen) = channel();
    let queue = Queue::start(Replayed(Replay::to(See(see)))).unwrap();
    let subscriber = Registry::default().with(Recorder(queue));
    dispatch(&Dispatch::new(subscriber), spans, event, is_entered);
    seen.recv().unwrap()
}

// === What the journal has to have ===

#[derive(Debug, PartialEq)]
struct Expected {
    place: String,
    message: String,
    spans: Vec<(&'static str, Fields)>,
    event: Fields,
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn described(metadata: &Metadata<'_>) -> String {
    let (file, line) = (metadata.file(), metadata.line());
    format!("{} {} {} {file:?} {line:?}", metadata.name(), metadata.target(), metadata.level())
}

/// By the names that the journal accepts, and the message with the fields behind it.
fn as_the_journal_has_it(seen: &Seen) -> Expected {
    let named = |fields: &Fields, is_event: bool| {
        let fields = fields.0.iter().filter(|(name, ..)| !is_event || name != "message");
        let named = fields.map(|(name, kind, text)| (journal_name(name), *kind, text.clone()));
        let is_second = |name: &str| is_event && name == "MESSAGE";
        Fields(named.filter(|(name, ..)| is_valid(name) && !is_second(name)).collect())
    };
    let (mut message, mut behind) = (String::new(), String::new());
    for (name, _, text) in &seen.event.0 {
        match &**name {
            "message_id" => {}
            "message" => message.clone_from(text),
            _ => {
                let mut text = text.clone();
                if text.len() > 4096 {
                    let end = (0..=4096).rev().find(|at| text.is_char_boundary(*at)).unwrap();
                    let more = text.split_off(end).len();
                    write!(text, "… ({more} bytes more)").unwrap();
                }
                behind.extend([" ", name, "=", &quoted(&text)]);
            }
        }
    }
    let spans = seen.spans.iter().map(|(target, fields)| (*target, named(fields, false)));
    Expected {
        place: described(seen.metadata),
        message: message + &behind,
        spans: spans.collect(),
        event: named(&seen.event, true),
    }
}

/// By the names that tracing-journald makes of what it is shown; the message is one, and text.
fn as_the_layer_writes_it(seen: &Seen) -> Expected {
    let sanitized = |name: &str| -> String {
        let dots = name.bytes().map(|byte| if byte == b'.' { b'_' } else { byte });
        let bytes = dots.skip_while(|byte| *byte == b'_');
        let bytes = bytes.filter(|byte| *byte == b'_' || byte.is_ascii_alphanumeric());
        bytes.map(|byte| char::from(byte).to_ascii_uppercase()).collect()
    };
    let named = |fields: &Fields| -> Vec<_> {
        let fields = fields.0.iter();
        fields.map(|(name, kind, text)| (sanitized(name), *kind, text.clone())).collect()
    };
    let (mut messages, mut event) = (Vec::new(), Vec::new());
    for ((name, kind, text), shown) in named(&seen.event).into_iter().zip(&seen.event.0) {
        if shown.0 == "message" {
            messages.push((kind, text));
        } else {
            event.push((name, kind, text));
        }
    }
    let [("str", message)] = &messages[..] else { panic!("not one message: {messages:?}") };
    let spans = seen.spans.iter().map(|(target, fields)| (*target, Fields(named(fields))));
    Expected {
        place: described(seen.metadata),
        message: message.clone(),
        spans: spans.collect(),
        event: Fields(event),
    }
}

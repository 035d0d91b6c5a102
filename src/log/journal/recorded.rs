//! An event and its spans as owned values: recorded on the thread that logs, shown again on the log's.
//!
//! Invariants:
//! - A visitor is shown what it would have been shown of the original, in the order of the fields: numbers of 64
//!   bits, truth values and strings as such, and everything else (errors, bytes, larger numbers, what is known by
//!   its `Debug`) as the text that tracing makes of it for a visitor that does not ask for more. tracing-journald
//!   asks for strings alone.
//! - A text is bounded.
//!
//! Absent on purpose: of a field that an event gives twice, the earlier value. tracing's macros make no such
//! event.

use std::fmt::{self, Write as _};
use std::iter;
use std::sync::Arc;

use tracing::field::{DisplayValue, Field, Value, Visit, display};
use tracing::span::Attributes;
use tracing::{Event, Metadata};

/// The longest text of a value, in bytes. What is longer is cut, and says so.
const TEXT_MAX: usize = 4 << 20;

/// Room for the text of most values, a client's address for example.
const TEXT_USUAL: usize = 32;

/// How many times of a span's learning are kept apart.
const ADDED_MAX: usize = 8;

/// An event, and the spans around it from the outermost.
#[derive(Debug)]
pub(crate) struct RecordedEvent {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) values: Values,
    pub(super) spans: Vec<Arc<RecordedSpan>>,
}

/// A span: what was known at its begin, and what was added, in order.
#[derive(Clone, Debug)]
pub(super) struct RecordedSpan {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) values: Values,
    pub(super) added: Vec<Values>,
}

/// The values of an event or a span, in the order of its fields; `None` where one has none.
#[derive(Clone, Debug)]
pub(super) struct Values(Vec<Option<Recorded>>);

/// A value, by the ways in which a visitor is shown one.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    F64(f64),
    I64(i64),
    U64(u64),
    Bool(bool),
    Str(String),
    Debug(String),
}

/// A text in the making that keeps its bound, however much is written to it.
#[derive(Default)]
struct Bounded {
    text: String,
    missing: usize,
}

/// A recorded value as tracing takes one.
pub(super) enum Shown<'r> {
    Plain(&'r dyn Value),
    Debug(DisplayValue<&'r str>),
}

// === impl RecordedEvent ===

impl RecordedEvent {
    pub(super) fn of(event: &Event<'_>, spans: Vec<Arc<RecordedSpan>>) -> Self {
        let metadata = event.metadata();
        Self { metadata, values: Values::of(metadata, |visitor| event.record(visitor)), spans }
    }

    /// About how much memory it takes. A span counts for each of its events: that is too much at worst.
    pub(super) fn size(&self) -> usize {
        let spans = self
            .spans
            .iter()
            .map(|span| span.values.size() + span.added.iter().map(Values::size).sum::<usize>());
        let shared = self.spans.len() * size_of::<RecordedSpan>();
        size_of::<Self>() + self.values.size() + shared + spans.sum::<usize>()
    }
}

// === impl RecordedSpan ===

impl RecordedSpan {
    pub(super) fn of(attributes: &Attributes<'_>) -> Self {
        let metadata = attributes.metadata();
        let values = Values::of(metadata, |visitor| attributes.record(visitor));
        Self { metadata, values, added: Vec::new() }
    }

    /// Adds what the span has learnt. What it has learnt long ago keeps its newest values only: a span may
    /// live for ever, and the journal drops an entry of more than 1024 fields.
    pub(super) fn add(&mut self, added: Values) {
        self.added.push(added);
        if self.added.len() > ADDED_MAX {
            let oldest = self.added.remove(0);
            self.added[0].complete(oldest);
        }
    }
}

// === impl Values ===

impl Values {
    pub(super) fn of(metadata: &Metadata<'_>, record: impl FnOnce(&mut dyn Visit)) -> Self {
        let none = iter::repeat_with(|| None).take(metadata.fields().len());
        let mut values = Self(none.collect());
        record(&mut values);
        values
    }

    /// The values of an event of our own.
    pub(super) fn new(values: Vec<Option<Recorded>>) -> Self {
        Self(values)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&Recorded>> {
        self.0.iter().map(Option::as_ref)
    }

    /// The value of the field in this place.
    pub(super) fn get(&self, place: usize) -> Option<&Recorded> {
        self.0.get(place)?.as_ref()
    }

    pub(super) fn take(&mut self, place: usize) -> Option<Recorded> {
        self.0.get_mut(place)?.take()
    }

    /// The texts in it, which are what can be long.
    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        self.0.iter_mut().flatten().filter_map(Recorded::text)
    }

    pub(super) fn text_len(&self) -> usize {
        self.iter().flatten().map(Recorded::text_len).sum()
    }

    /// Takes those that it has none of.
    fn complete(&mut self, earlier: Self) {
        for (value, earlier) in self.0.iter_mut().zip(earlier.0) {
            *value = value.take().or(earlier);
        }
    }

    fn size(&self) -> usize {
        self.0.len() * size_of::<Option<Recorded>>() + self.text_len()
    }

    fn put(&mut self, field: &Field, value: Recorded) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(value);
        }
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Recorded::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Recorded::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Recorded::U64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Recorded::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::default();
        // It takes everything.
        let _ = text.write_str(value);
        self.put(field, Recorded::Str(text.into_text()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded { text: String::with_capacity(TEXT_USUAL), missing: 0 };
        // Writing to it fails only if the value itself does, and then it has said enough.
        let _ = write!(text, "{value:?}");
        self.put(field, Recorded::Debug(text.into_text()));
    }
}

// === impl Recorded ===

impl Recorded {
    /// Its text, which is all of it that can be long.
    pub(super) fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Str(text) | Self::Debug(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn text_len(&self) -> usize {
        match self {
            Self::Str(text) | Self::Debug(text) => text.len(),
            _ => 0,
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        match self {
            Self::F64(value) => Shown::Plain(value),
            Self::I64(value) => Shown::Plain(value),
            Self::U64(value) => Shown::Plain(value),
            Self::Bool(value) => Shown::Plain(value),
            Self::Str(text) => Shown::Plain(text),
            Self::Debug(text) => Shown::Debug(display(text)),
        }
    }
}

/// The value as the log shows it.
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // With a point, as tracing shows it.
            Self::F64(value) => write!(f, "{value:?}"),
            Self::I64(value) => value.fmt(f),
            Self::U64(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Str(text) | Self::Debug(text) => f.write_str(text),
        }
    }
}

// === impl Shown ===

impl Shown<'_> {
    pub(super) fn value(&self) -> &dyn Value {
        match self {
            Self::Plain(value) => value,
            Self::Debug(text) => text,
        }
    }
}

// === impl Bounded ===

impl Bounded {
    fn into_text(mut self) -> String {
        if self.missing > 0 {
            // Not twice as much, which a string takes by itself.
            self.text.reserve_exact(TEXT_USUAL);
            tell_missing(&mut self.text, self.missing);
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = if self.missing > 0 { 0 } else { TEXT_MAX - self.text.len() };
        let end = end_within(more, room);
        self.text.push_str(&more[..end]);
        self.missing += more.len() - end;
        Ok(())
    }
}

/// Where a text ends that takes `max` bytes at most, at a character.
fn end_within(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn tell_missing(text: &mut String, missing: usize) {
    // Writing to a string does not fail.
    let _ = write!(text, "… ({missing} bytes more)");
}

/// Cuts a text that is longer than `max` bytes at a character, and says behind it how much is missing.
pub(super) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = end_within(text, max);
        let missing = text.len() - end;
        text.truncate(end);
        tell_missing(text, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_cut_at_a_character_and_says_so() {
        let mut text = "ä".repeat(9);
        cut(&mut text, 5);
        assert_eq!(text, "ää… (14 bytes more)");
        let mut text = "short".to_owned();
        cut(&mut text, 5);
        assert_eq!(text, "short");
    }

    #[test]
    fn what_is_too_long_takes_no_memory_beyond_its_bound() {
        let mut text = Bounded::default();
        text.write_str("a").unwrap();
        for _ in 0..64 {
            text.write_str(&"ä".repeat(1 << 20)).unwrap();
        }
        let text = text.into_text();
        let (kept, missing) = text.split_once("… (").unwrap();
        assert_eq!(kept.len(), TEXT_MAX - 1, "a character has two bytes");
        assert_eq!(missing, format!("{} bytes more)", (128 << 20) + 1 - kept.len()));
        assert!(text.capacity() <= 2 * TEXT_MAX, "{}", text.capacity());
    }
}

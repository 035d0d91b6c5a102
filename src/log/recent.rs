//! The last events that matter, for the status page.
//!
//! What matters is a warning, an error, or an event of the lifecycle, which is known by its
//! `message_id`. tracing asks once for each place in the code, so that other events cost nothing. The log's
//! level has no influence here: the page shows events that the log leaves out.
//!
//! Absent on purpose: fields of spans, and the `message_id` itself. The journal has both.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// How many events are kept.
const CAPACITY: usize = 100;

/// The longest message or value, in characters; the log has all of it.
const TEXT_MAX: usize = 500;

/// The field that makes an event one of the lifecycle.
const MESSAGE_ID: &str = "message_id";

/// An event that mattered.
#[derive(Debug, Serialize)]
pub(crate) struct Recent {
    /// Counts the events of this process from 1.
    pub(crate) number: u64,
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    #[serde(serialize_with = "display")]
    level: Level,
    message: String,
    #[serde(serialize_with = "map")]
    fields: Vec<(&'static str, String)>,
}

/// The events of this process, the oldest first: there is one log.
static RING: Ring = Ring(Mutex::new((0, VecDeque::new())));

/// How many events there have been, and the last of them.
struct Ring(Mutex<(u64, VecDeque<Arc<Recent>>)>);

/// The kept events with numbers above `number`, the oldest first.
pub(crate) fn recent_since(number: u64) -> Vec<Arc<Recent>> {
    RING.since(number)
}

/// The layer that keeps what matters.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    Keep.with_filter(filter_fn(matters).with_max_level_hint(LevelFilter::INFO))
}

fn matters(metadata: &Metadata<'_>) -> bool {
    let level = *metadata.level();
    let is_lifecycle = || metadata.fields().field(MESSAGE_ID).is_some();
    metadata.is_event() && (level <= Level::WARN || (level == Level::INFO && is_lifecycle()))
}

// === impl Ring ===

impl Ring {
    fn push(&self, mut event: Recent) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, events) = &mut *ring;
        *count += 1;
        event.number = *count;
        if events.len() == CAPACITY {
            events.pop_front();
        }
        events.push_back(Arc::new(event));
    }

    fn since(&self, number: u64) -> Vec<Arc<Recent>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.1.iter().filter(|event| event.number > number).cloned().collect()
    }
}

/// Puts events into the ring.
struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        RING.push(Recent::of(event));
    }
}

// === impl Recent ===

impl Recent {
    fn of(event: &Event<'_>) -> Self {
        let mut recent = Self {
            number: 0,
            time: SystemTime::now(),
            level: *event.metadata().level(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut recent);
        recent
    }

    fn put(&mut self, field: &Field, value: String) {
        let value = match value.char_indices().nth(TEXT_MAX) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        };
        match field.name() {
            "message" => self.message = value,
            MESSAGE_ID => {}
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Recent {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

pub(crate) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn display<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn map<S: Serializer>(fields: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The ring is the process's: what a test sees of it begins with its own first event.
    fn messages(log: impl FnOnce()) -> Vec<String> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = RING.0.lock().unwrap().0;
        with_default(Registry::default().with(layer()), log);
        recent_since(before).iter().map(|event| event.message.clone()).collect()
    }

    #[test]
    fn warnings_errors_and_the_lifecycle_are_kept_and_nothing_else() {
        let kept = messages(|| {
            tracing::info!("chatter");
            tracing::info!(message_id = "5e27", "ready");
            tracing::debug!(message_id = "5e27", "too fine");
            tracing::warn!("careful");
            tracing::error!("broken");
        });
        assert_eq!(kept, ["ready", "careful", "broken"]);
    }

    #[test]
    fn the_oldest_go_first() {
        let kept = messages(|| (0..=CAPACITY).for_each(|number| tracing::warn!("{number}")));
        assert_eq!(kept.len(), CAPACITY);
        assert_eq!(kept.first().map(String::as_str), Some("1"));
    }

    #[test]
    fn an_event_is_shown_with_its_fields_bounded_and_without_its_message_id() {
        let mut json = String::new();
        messages(|| {
            let error = std::io::Error::other("ä".repeat(TEXT_MAX + 1));
            tracing::error!(message_id = "87bd", server = "public", %error, n = 3, "not reloaded");
            json = serde_json::to_string(RING.since(0).last().unwrap()).unwrap();
        });
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["level"], "ERROR");
        assert_eq!(value["message"], "not reloaded");
        assert_eq!(value["fields"]["server"], "public");
        assert_eq!(value["fields"]["n"], "3");
        assert_eq!(value["fields"]["error"], format!("{}…", "ä".repeat(TEXT_MAX)));
        assert!(value["fields"][MESSAGE_ID].is_null());
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
    }
}

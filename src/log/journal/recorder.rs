//! The layer that records what is logged, on the thread that logs, and leaves it to the log's.

use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::recorded::{RecordedEvent, RecordedSpan};
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
            if let Some(Recording(span)) = span.extensions_mut().get_mut::<Recording>() {
                Arc::make_mut(span).add(values);
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

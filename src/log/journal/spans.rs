//! The spans around the event that is being shown, in a registry that leaves the thread's subscriber alone.
//!
//! tracing-subscriber's registry closes a span's parent through the subscriber of the thread. That would be the
//! application's, so the replay would have to make itself the thread's subscriber; and as long as any thread
//! has one of its own, tracing drops events that are logged while another is being recorded, in every thread.
//! So the registry here holds spans without parents, each span's parent stands beside it, and so does the
//! current span, in which tracing-journald looks for an event's. All of this is for one thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{Data, Extensions, ExtensionsMut, LookupSpan, SpanData};

/// A registry of spans that are given their parents.
#[derive(Debug, Default)]
pub(super) struct Spans {
    registry: Registry,
    /// The span that was entered last and not left yet. One at a time is entered, around an event.
    current: Mutex<Option<Id>>,
}

/// The parent of a span, among its extensions.
struct Parent(Id);

/// A span, with its parent.
#[derive(Debug)]
pub(super) struct Span<'a> {
    data: Data<'a>,
    parent: Option<Id>,
}

// === impl Spans ===

impl Spans {
    fn current(&self) -> MutexGuard<'_, Option<Id>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.registry.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let root = Attributes::new_root(attributes.metadata(), attributes.values());
        let id = self.registry.new_span(&root);
        if let (Some(parent), Some(data)) = (attributes.parent(), self.registry.span_data(&id)) {
            data.extensions_mut().insert(Parent(parent.clone()));
        }
        id
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.registry.record(id, values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.registry.record_follows_from(id, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.registry.event(event);
    }

    /// Not the registry's: that would tell the thread's subscriber when the span is left.
    fn enter(&self, id: &Id) {
        *self.current() = Some(id.clone());
    }

    fn exit(&self, _: &Id) {
        *self.current() = None;
    }

    fn current_span(&self) -> Current {
        let current = self.current().clone();
        let span =
            current.and_then(|id| Some((id.clone(), self.registry.span_data(&id)?.metadata())));
        span.map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.registry.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.registry.try_close(id)
    }
}

impl<'a> LookupSpan<'a> for Spans {
    type Data = Span<'a>;

    fn span_data(&'a self, id: &Id) -> Option<Span<'a>> {
        let data = self.registry.span_data(id)?;
        let parent = data.extensions().get::<Parent>().map(|Parent(id)| id.clone());
        Some(Span { data, parent })
    }
}

// === impl Span ===

impl<'a> SpanData<'a> for Span<'a> {
    fn id(&self) -> Id {
        self.data.id()
    }

    fn metadata(&self) -> &'static Metadata<'static> {
        self.data.metadata()
    }

    fn parent(&self) -> Option<&Id> {
        self.parent.as_ref()
    }

    fn extensions(&self) -> Extensions<'_> {
        self.data.extensions()
    }

    fn extensions_mut(&self) -> ExtensionsMut<'_> {
        self.data.extensions_mut()
    }
}

//! The spans around the event that is being shown, in a registry that leaves the thread's subscriber alone.
//!
//! tracing-subscriber's registry closes a span's parent through the subscriber of the thread. That would be the
//! application's, so the replay would have to make itself the thread's subscriber; and as long as any thread
//! has one of its own, tracing drops events that are logged while another is being recorded, in every thread.
//! So the registry here holds spans without parents, and each span's parent stands beside it.
//!
//! Absent on purpose: a current span. Each span and event names its parent.

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{Data, Extensions, ExtensionsMut, LookupSpan, SpanData};

/// A registry of spans that are given their parents.
#[derive(Debug, Default)]
pub(super) struct Spans(Registry);

/// The parent of a span, among its extensions.
struct Parent(Id);

/// A span, with its parent.
#[derive(Debug)]
pub(super) struct Span<'a> {
    data: Data<'a>,
    parent: Option<Id>,
}

// === impl Spans ===

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let root = Attributes::new_root(attributes.metadata(), attributes.values());
        let id = self.0.new_span(&root);
        if let (Some(parent), Some(data)) = (attributes.parent(), self.0.span_data(&id)) {
            data.extensions_mut().insert(Parent(parent.clone()));
        }
        id
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.0.record(id, values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.0.record_follows_from(id, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
    }

    fn enter(&self, id: &Id) {
        self.0.enter(id);
    }

    fn exit(&self, id: &Id) {
        self.0.exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.0.try_close(id)
    }
}

impl<'a> LookupSpan<'a> for Spans {
    type Data = Span<'a>;

    fn span_data(&'a self, id: &Id) -> Option<Span<'a>> {
        let data = self.0.span_data(id)?;
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

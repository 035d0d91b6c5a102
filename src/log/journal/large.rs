//! Entries that are too large for one datagram.
//!
//! tracing-journald sends what is too large for its socket's send buffer (`net.core.wmem_default`, 208 KiB
//! unless set) as a sealed memory file, whole. That fails, without a word, where there is no such file to
//! be had (no descriptors are left; `vm.memfd_noexec=2` where the kernel refuses a file without the flag for
//! it), and where it has a seal more than the journal expects: with `vm.memfd_noexec` at 1 or 2 the kernel
//! adds one against execution, for which journald drops the entry (that of systemd 252 was seen to). Then an
//! entry is cut to the size of a datagram: its longest values are, and say how much is missing.
//!
//! # Source
//! systemd's "Native Journal Protocol"; `memfd_create(2)`; unix(7).

use std::sync::Arc;

use rustix::fs::{MemfdFlags, fcntl_get_seals, memfd_create};
use tracing::Metadata;

use super::recorded::{Recorded, RecordedEvent, Values, cut};

/// What a field takes besides its name and its text: a number, or its length and two line ends.
const FIELD_SIZE: usize = 48;

/// What an entry takes besides its fields.
const ENTRY_SIZE: usize = 256;

/// What stands behind a text that was cut.
const CUT_SIZE: usize = 48;

/// Makes an entry one that reaches the journal, where `room` is how long a datagram can be.
pub(super) fn fit(event: &mut RecordedEvent, message: &mut Recorded, room: usize) {
    let size = size(event, message);
    if size > room && !has_memory_files() {
        shorten(event, message, room - (size - text_len(event, message)).min(room));
    }
}

/// Tells whether tracing-journald gets a memory file that every journal accepts.
fn has_memory_files() -> bool {
    memfd_create("log", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)
        .and_then(fcntl_get_seals)
        .is_ok_and(|seals| seals.is_empty())
}

/// How many bytes the entry has at most.
fn size(event: &RecordedEvent, message: &Recorded) -> usize {
    let fields = |metadata: &Metadata<'_>, values: &Values| -> usize {
        let names = metadata.fields().iter().map(|field| field.name().len() + FIELD_SIZE);
        names.sum::<usize>() + values.text_len()
    };
    let place = |metadata: &Metadata<'_>| {
        let file = metadata.file().map_or(0, str::len);
        ENTRY_SIZE + metadata.name().len() + metadata.target().len() + file
    };
    let spans = event.spans.iter().map(|span| {
        let added = span.added.iter().map(|values| fields(span.metadata, values));
        place(span.metadata) + fields(span.metadata, &span.values) + added.sum::<usize>()
    });
    place(event.metadata)
        + fields(event.metadata, &event.values)
        + message.text_len()
        + spans.sum::<usize>()
}

fn text_len(event: &RecordedEvent, message: &Recorded) -> usize {
    let spans = event.spans.iter().flat_map(|span| span.added.iter().chain([&span.values]));
    event.values.text_len() + message.text_len() + spans.map(Values::text_len).sum::<usize>()
}

/// Cuts the longest texts so that all have room.
fn shorten(event: &mut RecordedEvent, message: &mut Recorded, room: usize) {
    let spans = event.spans.iter_mut().map(Arc::make_mut);
    let of_spans = spans.flat_map(|span| span.added.iter_mut().chain([&mut span.values]));
    let texts = of_spans.chain([&mut event.values]).flat_map(Values::texts);
    let mut texts: Vec<_> = texts.chain(message.text()).collect();
    texts.sort_by_key(|text| text.len());
    let (mut left, mut room) = (texts.len(), room);
    for text in texts {
        let share = room / left;
        if text.len() > share {
            cut(text, share.saturating_sub(CUT_SIZE));
        }
        room = room.saturating_sub(text.len());
        left -= 1;
    }
}

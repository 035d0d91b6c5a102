//! Events in the journal's native protocol.
//!
//! Every field keeps its name in capitals. Fields of the spans around an event go along.
//!
//! # Source
//! systemd's "Native Journal Protocol"; systemd.journal-fields(7).

use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::queue::{Queue, Sink};
use super::setup::quoted;

const SOCKET: &str = "/run/systemd/journal/socket";

/// The longest value in bytes: an entry has to fit into one datagram.
const VALUE_MAX: usize = 16 << 10;

/// How often a journal that is away is looked for. The end of the process waits longer than that.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// How long the end of the process waits for the journal to take its last entries. The journal looks up
/// in /proc whose they are, and they lack their unit if the process is gone by then.
const TAKEN_TIMEOUT: Duration = Duration::from_millis(100);

/// The journal at the end of the queue. While it is away, the line in hand waits for it, and so does the
/// queue behind.
#[derive(Debug)]
pub(super) struct JournalSink {
    /// `None` while the journal is away.
    socket: Option<UnixDatagram>,
    identifier: String,
}

/// Turns events into journal entries.
#[derive(Debug)]
pub(super) struct JournalLayer {
    queue: Queue,
    identifier: String,
}

/// An entry in the making.
#[derive(Debug, Default)]
struct Entry(Vec<u8>);

/// The fields of an event, as fields of the entry and as text behind its message: `journalctl` shows
/// nothing else unless it is asked to.
#[derive(Debug)]
struct EventFields {
    entry: Entry,
    message: String,
    told: String,
}

/// The fields of a span, ready to be put into an entry.
struct SpanFields(Entry);

// === impl JournalSink ===

impl JournalSink {
    /// Connects to the journal.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn connect(identifier: &str) -> io::Result<Self> {
        Ok(Self { socket: Some(connect()?), ..Self::away(identifier) })
    }

    /// Connects to the journal as soon as there is something to write, and the journal.
    pub(super) fn away(identifier: &str) -> Self {
        Self { socket: None, identifier: identifier.to_owned() }
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(line) {
                // A journal that was restarted listens on a new socket.
                Err(error) if error.kind() != io::ErrorKind::InvalidInput => self.socket = None,
                sent => return sent.map(drop),
            }
        }
        self.socket.insert(connect()?).send(line).map(drop)
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Tells whether nobody listens, or has just ceased to.
fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotConnected, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | NotConnected)
}

impl Sink for JournalSink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        loop {
            match self.send(line) {
                Err(error) if is_away(&error) => thread::sleep(SEARCH_INTERVAL),
                sent => return sent,
            }
        }
    }

    fn loss(&self, lost: u64) -> Vec<u8> {
        let mut entry = Entry::default();
        entry.put("PRIORITY", "4");
        entry.put("SYSLOG_IDENTIFIER", &self.identifier);
        entry.put(
            "MESSAGE",
            &format!("{lost} log lines were lost: the journal was too slow, or away"),
        );
        entry.0
    }

    fn settle(&self) {
        let Some(socket) = &self.socket else { return };
        let deadline = Instant::now() + TAKEN_TIMEOUT;
        while !is_taken(socket) && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Tells whether the other end has read everything that was sent, `SIOCOUTQ` in unix(7).
fn is_taken(socket: &UnixDatagram) -> bool {
    let mut unread: libc::c_int = 0;
    #[expect(unsafe_code, reason = "an ioctl that no crate has for Unix sockets")]
    // SAFETY: the descriptor is open, and the kernel writes one int.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    asked < 0 || unread == 0
}

// === impl JournalLayer ===

impl JournalLayer {
    pub(super) fn new(queue: Queue, identifier: &str) -> Self {
        Self { queue, identifier: identifier.to_owned() }
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for JournalLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = SpanFields(Entry::default());
            attributes.record(&mut fields.0);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
                values.record(&mut fields.0);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut entry = Entry(Vec::with_capacity(512));
        entry.put_metadata(event.metadata());
        entry.put("SYSLOG_IDENTIFIER", &self.identifier);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<SpanFields>() {
                entry.0.extend_from_slice(&fields.0.0);
            }
        }
        let mut event_fields = EventFields { entry, message: String::new(), told: String::new() };
        event.record(&mut event_fields);
        let EventFields { mut entry, message, told } = event_fields;
        entry.put("MESSAGE", &(message + &told));
        self.queue.push(entry.0);
    }
}

// === impl Entry ===

impl Entry {
    fn put_metadata(&mut self, metadata: &Metadata<'_>) {
        let priority = match *metadata.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        self.put("PRIORITY", priority);
        self.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            self.put("CODE_FILE", file);
            self.put_display("CODE_LINE", &line);
        }
    }

    /// Adds a field; the name is ours, and so of capitals, digits and underscores.
    fn put(&mut self, name: &str, value: &str) {
        let end = (0..=VALUE_MAX.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
        let value = &value[..end.unwrap_or(0)];
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_display(&mut self, name: &str, value: &dyn fmt::Display) {
        self.put(name, &value.to_string());
    }

    fn put_field(&mut self, field: &Field, value: &str) {
        self.put(&field_name(field.name()), value);
    }
}

/// A field's name as the journal accepts it: capitals, digits and underscores, and no underscore
/// in front, which is for the journal's own.
fn field_name(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(fits).collect();
    let name = name.trim_start_matches('_');
    name.get(..64).unwrap_or(name).to_owned()
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_field(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_field(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_field(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_field(field, &value.to_string());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put_field(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string fails only if the value itself does, and then it has said enough.
        let _ = write!(text, "{value:?}");
        self.put_field(field, &text);
    }
}

// === impl EventFields ===

impl EventFields {
    fn put(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => {
                self.entry.put_field(field, value);
                // A MESSAGE_ID is for the journal's index.
                if name != "message_id" {
                    self.told.extend([" ", name, "=", &quoted(value)]);
                }
            }
        }
    }
}

impl Visit for EventFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Numbers and truth values come here, too.
        self.put(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_newline_cannot_begin_a_field_of_its_own() {
        let mut entry = Entry::default();
        entry.put("PATH", "a\nPRIORITY=0");
        assert_eq!(entry.0, b"PATH\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }

    #[test]
    fn a_value_is_bounded_at_a_character() {
        let mut entry = Entry::default();
        entry.put("X", &"ä".repeat(VALUE_MAX));
        assert!(entry.0.len() <= VALUE_MAX + 3 && std::str::from_utf8(&entry.0).is_ok());
    }

    #[test]
    fn an_entry_is_taken_once_it_has_been_read() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        assert!(is_taken(&ours));
        ours.send(b"MESSAGE=word\n").unwrap();
        assert!(!is_taken(&ours));
        theirs.recv(&mut [0; 99]).unwrap();
        assert!(is_taken(&ours));
    }

    #[test]
    fn field_names_fit_the_journal() {
        assert_eq!(field_name("http.status"), "HTTP_STATUS");
        assert_eq!(field_name("_pid"), "PID");
    }
}

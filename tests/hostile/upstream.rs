//! An application behind the proxy that understands nothing but what is strictly right, and writes down what it gets.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// The field by which its answers are known.
pub(crate) const FIELD: &str = "x-upstream: 1";

/// It serves as long as the test lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstream(Arc<Mutex<Record>>);

/// What has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The heads of the requests that came whole.
    pub(crate) whole: Vec<String>,
    /// What was wrong with a request.
    pub(crate) faults: Vec<String>,
}

/// How a request's body is framed.
enum Framing {
    Bytes(u64),
    Chunked,
}

// === impl Upstream ===

impl Upstream {
    #[track_caller]
    pub(crate) fn bind(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket can be bound there");
        let upstream = Self::default();
        let serving = upstream.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let upstream = serving.clone();
                thread::spawn(move || upstream.serve(&stream));
            }
        });
        upstream
    }

    /// All that has come.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        loop {
            match self.exchange(&mut reader, stream) {
                Ok(true) => {}
                Ok(false) => return,
                // The proxy may give a request up at any time.
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return,
                Err(error) => {
                    self.record().faults.push(error.to_string());
                    return;
                }
            }
        }
    }

    /// One request and its answer; whether there was one.
    fn exchange(&self, reader: &mut impl BufRead, mut stream: &UnixStream) -> io::Result<bool> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(false);
            }
        }
        let framing = framing(&head).map_err(|fault| wrong(fault, &head))?;
        let text = String::from_utf8_lossy(&head).into_owned();
        if text.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match framing {
            Framing::Bytes(length) => {
                if io::copy(&mut reader.take(length), &mut io::sink())? < length {
                    return Ok(false);
                }
            }
            Framing::Chunked => {
                if !read_chunks(reader, &head)? {
                    return Ok(false);
                }
            }
        }
        let is_head = text.starts_with("HEAD ");
        self.record().whole.push(text);
        let body = if is_head { "" } else { "upstream\n" };
        let answer = format!("HTTP/1.1 200 OK\r\n{FIELD}\r\nContent-Length: 9\r\n\r\n{body}");
        stream.write_all(answer.as_bytes())?;
        Ok(true)
    }
}

fn wrong(fault: impl Into<String>, bytes: &[u8]) -> io::Error {
    let fault = format!("{}: {}", fault.into(), bytes.escape_ascii());
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// Reads a chunked body to its end; whether it came.
fn read_chunks(reader: &mut impl BufRead, head: &[u8]) -> io::Result<bool> {
    loop {
        let Some(size) = line(reader)? else { return Ok(false) };
        let is_size = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        let size = is_size.then(|| String::from_utf8_lossy(&size).into_owned());
        let size = size.and_then(|size| u64::from_str_radix(&size, 16).ok());
        let size = size.ok_or_else(|| wrong("a chunk's size is no number", head))?;
        if size == 0 {
            break;
        }
        if io::copy(&mut reader.by_ref().take(size), &mut io::sink())? < size {
            return Ok(false);
        }
        match line(reader)? {
            Some(end) if end.is_empty() => {}
            Some(_) => return Err(wrong("a chunk is longer than its size", head)),
            None => return Ok(false),
        }
    }
    while let Some(trailer) = line(reader)? {
        if trailer.is_empty() {
            return Ok(true);
        }
        field(&trailer).map_err(|fault| wrong(fault, &trailer))?;
    }
    Ok(false)
}

/// A line without its end, which has to be CRLF.
fn line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(Some(text.to_vec())),
        None if line.ends_with(b"\n") => Err(wrong("a line ends without CR", &line)),
        None => Ok(None),
    }
}

/// A field's name, in lower case, and value; RFC 9110 sections 5.1 and 5.5.
fn field(line: &[u8]) -> Result<(String, &[u8]), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err("a field's name is no token");
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("a control character in a field");
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value))
}

/// Parses a head strictly; RFC 9112 sections 3 to 6.
fn framing(head: &[u8]) -> Result<Framing, &'static str> {
    let head = head.strip_suffix(b"\r\n\r\n").ok_or("no empty line")?;
    if head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r') {
        return Err("a line ends without CR");
    }
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first: Vec<_> = lines.next().unwrap_or_default().split(|byte| *byte == b' ').collect();
    let &[method, target, b"HTTP/1.1"] = &*first else { return Err("no request line") };
    if method.is_empty() || !method.iter().all(u8::is_ascii_graphic) {
        return Err("a method that is no token");
    }
    let is_form = target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS");
    if !is_form || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f || *byte == b'#') {
        return Err("a target that is no path");
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    for line in lines {
        let (name, value) = field(line)?;
        match &*name {
            "host" => hosts += 1,
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            "http2-settings" | "proxy-connection" | "keep-alive" => {
                return Err("a field of another connection");
            }
            "upgrade" if value != b"websocket" => return Err("an upgrade to HTTP/2 or TLS"),
            _ => {}
        }
    }
    if hosts != 1 {
        return Err("not one Host");
    }
    match (&*lengths, &*codings) {
        ([], []) => Ok(Framing::Bytes(0)),
        ([], [b"chunked"]) => Ok(Framing::Chunked),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = String::from_utf8_lossy(length).parse();
            length.map(Framing::Bytes).map_err(|_| "a length that is too large")
        }
        _ => Err("not one framing"),
    }
}

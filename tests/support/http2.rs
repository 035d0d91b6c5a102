//! A client of HTTP/2 that sends the frames that it is told to, and shows those that come.
//!
//! It speaks no more of the protocol than tests need: it asks for no compression, so that a field block can be read
//! without a state, and acknowledges what it gets unless it is told not to.
//!
//! # Source
//! RFC 9113 sections 4.1 (frames) and 6 (their kinds); RFC 7541.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use super::wait::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The stream of a GOAWAY that says only that there is going to be another.
pub(crate) const ALL_STREAMS: u32 = (1 << 31) - 1;

/// A frame that has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The answer on one stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct StreamAnswer {
    /// None: the stream was reset before there was one.
    pub(crate) status: Option<u16>,
    pub(crate) body: Vec<u8>,
    /// With which code it was reset.
    pub(crate) reset: Option<u32>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    stream: TcpStream,
    next: u32,
    /// PING and SETTINGS are acknowledged, and windows kept open.
    pub(crate) is_polite: bool,
    /// All frames that have come so far.
    pub(crate) seen: Vec<Frame>,
}

// === impl Http2 ===

impl Http2 {
    /// Connects, and sends the preface.
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
        Self::with_settings(address, &[])
    }

    /// The same, with these settings.
    #[track_caller]
    pub(crate) fn with_settings(address: &str, settings: &[(u16, u32)]) -> Self {
        let mut client =
            Self::new(TcpStream::connect(address).expect("the server listens"), PREFACE);
        // No table of fields that were sent before.
        let settings = [&[(1, 0)], settings].concat();
        let bytes =
            |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        client.send(SETTINGS, 0, 0, &settings.iter().flat_map(bytes).collect::<Vec<_>>());
        client
    }

    /// A client that has sent something already, and sends these bytes first.
    #[track_caller]
    pub(crate) fn new(mut stream: TcpStream, bytes: &[u8]) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_nodelay(true).expect("it is TCP");
        stream.write_all(bytes).expect("the server reads");
        Self { stream, next: 1, is_polite: true, seen: Vec::new() }
    }

    /// Its own address, as the server sees it.
    pub(crate) fn address(&self) -> String {
        self.stream.local_addr().expect("it is connected").to_string()
    }

    /// Sends a frame; what a server does not read any more is lost.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let _ = self.try_send(kind, flags, stream, payload);
    }

    pub(crate) fn try_send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.stream.write_all(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request without a body; answers its stream.
    pub(crate) fn get(&mut self, path: &str) -> u32 {
        self.request("GET", path, &[], true)
    }

    /// Sends the head of a request, with which it ends or not; answers its stream.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        ends: bool,
    ) -> u32 {
        let block = head(method, path, Some("test"), fields);
        self.headers(&block, ends)
    }

    /// Sends a field block; answers its stream.
    pub(crate) fn headers(&mut self, block: &[u8], ends: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        let end = if ends { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS | end, stream, block);
        stream
    }

    /// Sends a part of a request's body.
    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], ends: bool) {
        self.send(DATA, u8::from(ends) * END_STREAM, stream, bytes);
    }

    /// The next frame; none when the server has closed the connection.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("{error} instead of a frame, after {:?}", self.seen),
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).expect("a frame comes whole");
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if self.is_polite {
            self.answer_to(&frame);
        }
        self.seen.push(frame.clone());
        Some(frame)
    }

    fn answer_to(&mut self, frame: &Frame) {
        match frame.kind {
            SETTINGS | PING if frame.flags & ACK == 0 => {
                let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                self.send(frame.kind, ACK, 0, payload);
            }
            DATA if !frame.payload.is_empty() => {
                let length = u32::try_from(frame.payload.len()).expect("frames are small");
                self.send(WINDOW_UPDATE, 0, 0, &length.to_be_bytes());
                if frame.flags & END_STREAM == 0 {
                    self.send(WINDOW_UPDATE, 0, frame.stream, &length.to_be_bytes());
                }
            }
            _ => {}
        }
    }

    /// Reads until the answer on `stream` has come.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> StreamAnswer {
        loop {
            let answer = answer_among(&self.seen, stream);
            if let Some(answer) = answer {
                return answer;
            }
            assert!(self.frame().is_some(), "no answer on {stream}: {:?}", self.seen);
        }
    }

    /// Reads until a frame of this kind has come that was not seen before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, kind: u8) -> Frame {
        loop {
            match self.frame() {
                Some(frame) if frame.kind == kind => return frame,
                Some(_) => {}
                None => panic!("the end instead of a frame of kind {kind}: {:?}", self.seen),
            }
        }
    }

    /// Reads until the server closes; the last stream and the code of each GOAWAY that came.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<(u32, u32)> {
        while self.frame().is_some() {}
        self.goaways()
    }

    /// The last stream and the code of each GOAWAY so far.
    pub(crate) fn goaways(&self) -> Vec<(u32, u32)> {
        let goaways = self.seen.iter().filter(|frame| frame.kind == GOAWAY);
        goaways.map(|frame| (frame.number(0), frame.number(4))).collect()
    }
}

// === impl Frame ===

impl Frame {
    /// The number at this place of the payload.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

// === impl StreamAnswer ===

impl StreamAnswer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("every answer is text")
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The field block of a request, as literals.
pub(crate) fn head(
    method: &str,
    path: &str,
    authority: Option<&str>,
    fields: &[(&str, &str)],
) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path)];
    let authority = authority.map(|authority| (":authority", authority));
    let all = pseudo.into_iter().chain(authority).chain(fields.iter().copied());
    all.flat_map(|(name, value)| field(name, value)).collect()
}

/// A field as a literal that goes into no table.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        // An integer with a prefix of seven bits, RFC 7541 section 5.1.
        let mut bytes = Vec::new();
        if text.len() < 127 {
            bytes.push(u8::try_from(text.len()).expect("it is below 127"));
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).expect("a byte"));
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("a byte"));
        }
        bytes.extend(text.as_bytes());
        bytes
    };
    [vec![0], text(name), text(value)].concat()
}

/// Tells whether the answer on `stream` has come whole.
pub(crate) fn is_answered(frames: &[Frame], stream: u32) -> bool {
    answer_among(frames, stream).is_some_and(|answer| answer.reset.is_none())
}

/// The answer on `stream`, if it has come to its end.
fn answer_among(frames: &[Frame], stream: u32) -> Option<StreamAnswer> {
    let mut answer = StreamAnswer::default();
    for frame in frames.iter().filter(|frame| frame.stream == stream) {
        match frame.kind {
            HEADERS if answer.status.is_none() => answer.status = Some(status(&frame.payload)),
            DATA => answer.body.extend(&frame.payload),
            RST_STREAM => {
                answer.reset = Some(frame.number(0));
                return Some(answer);
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            return Some(answer);
        }
    }
    None
}

/// The status, which comes first in a field block.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Changes of the table's size may come before.
    let begin = block.iter().position(|byte| byte & 0xe0 != 0x20).expect("there is a field");
    match block[begin..] {
        [index @ 0x88..=0x8e, ..] => INDEXED[usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, length, ref rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
            } else {
                digits(text).parse().ok()
            }
            .expect("a status is a number")
        }
        _ => panic!("no status in {block:x?}"),
    }
}

/// Digits in the code of RFC 7541, appendix B: five bits up to 2, and six from 3 on.
fn digits(coded: &[u8]) -> String {
    let bits: Vec<u8> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let (mut at, mut text) = (0, String::new());
    while text.len() < 3 {
        let short = number(&bits[at..at + 5]);
        let (digit, length) =
            if short <= 2 { (short, 5) } else { (number(&bits[at..at + 6]) - 0x19 + 3, 6) };
        text.push(char::from(b'0' + digit));
        at += length;
    }
    text
}

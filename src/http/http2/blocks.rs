//! Field blocks that a client sends, which hyper tells of only when they are whole.
//!
//! Of each frame the head is looked at, and nothing else: a block begins with HEADERS and ends with the first frame
//! that says so. Whether that is as it should be hyper finds out.
//!
//! # Source
//! RFC 9113 sections 3.4 (the preface), 4.1 (a frame's head), 4.3 and 6.10 (field blocks).

const PREFACE: u32 = 24;
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// How far a client is in its frames.
#[derive(Debug)]
pub(super) struct Blocks {
    /// How much of the preface, or of the content of a frame, is still to come.
    rest: u32,
    /// The head of the next frame, and how much of it has come.
    head: [u8; HEAD],
    length: usize,
    /// With the frame that is coming, or has come last, the block ends.
    ends: bool,
    is_open: bool,
    has_begun: bool,
    /// How many have come whole.
    whole: u32,
}

// === impl Blocks ===

impl Blocks {
    pub(super) fn new() -> Self {
        let (head, length) = ([0; HEAD], 0);
        let (ends, is_open, has_begun, whole) = (false, false, false, 0);
        Self { rest: PREFACE, head, length, ends, is_open, has_begun, whole }
    }

    /// Tells whether the preface has come, and the head of a frame behind it.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Tells whether a block has come by part.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// How many blocks have come whole.
    pub(super) fn whole(&self) -> u32 {
        self.whole
    }

    /// Notes what the client sends next.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest == 0 {
                let length = bytes.len().min(HEAD - self.length);
                self.head[self.length..][..length].copy_from_slice(&bytes[..length]);
                self.length += length;
                bytes = &bytes[length..];
                if self.length < HEAD {
                    return;
                }
                self.begin();
            } else {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.rest);
                self.rest -= length;
                bytes = &bytes[length as usize..];
            }
            if self.rest == 0 && self.is_open && self.ends {
                self.is_open = false;
                self.whole = self.whole.wrapping_add(1);
            }
        }
    }

    /// The head of a frame has come.
    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.rest = u32::from_be_bytes([0, high, middle, low]);
        self.length = 0;
        self.has_begun = true;
        let is_of_block = matches!(kind, HEADERS | CONTINUATION);
        self.is_open |= is_of_block;
        self.ends = is_of_block && flags & END_HEADERS != 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], content].concat()
    }

    #[test]
    fn a_block_is_open_from_the_head_of_its_first_frame_to_the_end_of_its_last() {
        let begin = [START, &frame(4, 0, &[])].concat();
        let frames = [
            frame(HEADERS, END_HEADERS, b"whole"),
            // A flag of the same number on another kind of frame.
            frame(0, END_HEADERS, b"body"),
            frame(HEADERS, 0, b"half"),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, END_HEADERS, b""),
            frame(6, 0, b"12345678"),
            frame(HEADERS, END_HEADERS, b""),
        ];
        let bytes = [&begin[..], &frames.concat()].concat();
        // After each byte, where it is within the frames.
        let mut blocks = Blocks::new();
        let (mut open, mut at) = (Vec::new(), 0);
        for byte in &bytes {
            blocks.read(&[*byte]);
            at += 1;
            assert_eq!(blocks.has_begun(), at >= begin.len(), "after {at} bytes");
            if blocks.is_open() {
                open.push(at - begin.len());
            }
        }
        let ends: Vec<_> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let expected: Vec<_> = (HEAD..ends[0]).chain(ends[1] + HEAD..ends[4]).collect();
        assert_eq!(open, expected);
        assert_eq!(blocks.whole(), 3);
        // In one piece it is the same.
        let mut at_once = Blocks::new();
        at_once.read(&bytes);
        assert_eq!((at_once.whole(), at_once.is_open(), at_once.has_begun()), (3, false, true));
    }
}

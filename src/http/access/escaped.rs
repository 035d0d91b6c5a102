//! What clients have sent, escaped for a line of a file.

use std::fmt::{self, Write};

/// Writes what is formatted into a line, escaped and up to a length.
pub(super) struct Escaped<'l> {
    line: &'l mut Vec<u8>,
    escape: Escape,
    left: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Escape {
    /// `\xNN`
    Combined,
    /// `\uNNNN`
    Json,
}

// === impl Escaped ===

impl<'l> Escaped<'l> {
    pub(super) fn new(line: &'l mut Vec<u8>, escape: Escape, left: usize) -> Self {
        Self { line, escape, left }
    }

    /// Writes what has room, and no part of an escape.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if bytes.len() <= self.left && are_plain(bytes) {
            self.left -= bytes.len();
            self.line.extend_from_slice(bytes);
            return;
        }
        match self.escape {
            Escape::Combined => bytes.iter().all(|byte| {
                if is_plain(*byte) {
                    self.put(&[*byte])
                } else {
                    self.hexadecimal(*b"\\x", (*byte).into(), 2)
                }
            }),
            Escape::Json => bytes.utf8_chunks().all(|chunk| {
                chunk.valid().chars().all(|character| self.character(character))
                    && (chunk.invalid().is_empty() || self.character(char::REPLACEMENT_CHARACTER))
            }),
        };
    }

    fn character(&mut self, character: char) -> bool {
        match character {
            '"' => self.put(b"\\\""),
            '\\' => self.put(b"\\\\"),
            ' '..='~' => self.put(&[character as u8]),
            _ => {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units);
                // Both halves of a pair, or none.
                if self.left < 6 * units.len() {
                    self.left = 0;
                    return false;
                }
                units.iter().all(|unit| self.hexadecimal(*b"\\u", *unit, 4))
            }
        }
    }

    fn hexadecimal(&mut self, begin: [u8; 2], number: u16, count: usize) -> bool {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut escape = [0; 6];
        escape[..2].copy_from_slice(&begin);
        for place in 0..count {
            escape[2 + place] = DIGITS[usize::from(number >> (4 * (count - 1 - place)) & 15)];
        }
        self.put(&escape[..2 + count])
    }

    /// Writes a character or an escape whole; answers whether it had room. Behind what had none nothing is written.
    fn put(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.left {
            self.left = 0;
            return false;
        }
        self.left -= bytes.len();
        self.line.extend_from_slice(bytes);
        true
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')
}

/// Without a way out in the middle, so that many bytes are looked at together.
fn are_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & is_plain(*byte))
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

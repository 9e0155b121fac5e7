//! The body of a letter as it goes out after `354`: the inverse of the data receiver.

use bytes::{BufMut, BytesMut};
use memchr::memchr2;

/// Writes a letter with transparency dots and the final dot (RFC 5321 section 4.5.2).
///
/// Line ends that are not CRLF are made so: a bare CR or LF must not be sent (RFC 5321 section
/// 2.3.8), since a laxer receiver could take it for an end of data.
#[derive(Debug)]
pub struct DotStuffer {
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    InLine,
    AfterCr,
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl DotStuffer {
    /// A stuffer for one letter.
    pub fn new() -> Self {
        Self {
            place: Place::LineStart,
        }
    }

    /// Appends a piece of the letter to `output`; the letter may be cut anywhere.
    pub fn stuff(&mut self, piece: &[u8], output: &mut BytesMut) {
        output.reserve(piece.len() + piece.len() / 32 + 8);
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            match self.place {
                Place::AfterCr => {
                    output.put_slice(b"\r\n");
                    self.place = Place::LineStart;
                    if first == b'\n' {
                        rest = &rest[1..];
                    }
                    continue;
                }
                Place::LineStart if first == b'.' => output.put_u8(b'.'),
                Place::LineStart | Place::InLine => {}
            }
            self.place = Place::InLine;
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                output.put_slice(rest);
                return;
            };
            output.put_slice(&rest[..end]);
            // A bare LF ends a line just as CR does; an LF that follows a CR is taken above.
            let line_feed = usize::from(rest[end] == b'\r');
            self.place = Place::AfterCr;
            rest = &rest[end + line_feed..];
        }
    }

    /// Appends what the last line lacks, and the final dot.
    pub fn finish(self, output: &mut BytesMut) {
        output.reserve(5);
        if self.place != Place::LineStart {
            output.put_slice(b"\r\n");
        }
        output.put_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(pieces: &[&str]) -> String {
        let mut output = BytesMut::new();
        let mut stuffer = DotStuffer::new();
        for piece in pieces {
            stuffer.stuff(piece.as_bytes(), &mut output);
        }
        stuffer.finish(&mut output);
        String::from_utf8(output.to_vec()).expect("ASCII")
    }

    #[test]
    fn dots_at_line_starts_are_doubled() {
        assert_eq!(stuffed(&[".\r\n..a\r\n"]), "..\r\n...a\r\n.\r\n");
        assert_eq!(stuffed(&["a\r", "\n", ".", "b"]), "a\r\n..b\r\n.\r\n");
        assert_eq!(stuffed(&[]), ".\r\n");
    }

    #[test]
    fn bare_line_ends_do_not_get_out() {
        assert_eq!(
            stuffed(&["a\n.\nb\r.\r\r\n"]),
            "a\r\n..\r\nb\r\n..\r\n\r\n.\r\n"
        );
        assert_eq!(stuffed(&["a\r"]), "a\r\n.\r\n");
    }
}

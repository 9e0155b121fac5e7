//! Command lines: ended by CRLF and by nothing else.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Why a line was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// CR without LF (RFC 5321 section 2.3.8). The rest of the input cannot be trusted.
    #[error("a carriage return without a line feed")]
    BareCarriageReturn,
    /// LF without CR (RFC 5321 section 2.3.8). The rest of the input cannot be trusted.
    #[error("a line feed without a carriage return")]
    BareLineFeed,
    /// The line was longer than the limit. It has been skipped; the next line can be read.
    #[error("the line is too long")]
    TooLong,
}

/// Takes lines off a buffer, however the network cut them.
///
/// Peers that disagree on where a line ends can be made to disagree on where a letter ends (SMTP
/// smuggling), so a bare CR or LF is an error and never a line end.
#[derive(Debug)]
pub struct LineReader {
    limit: usize,
    /// Octets at the start of the buffer that hold no line end.
    scanned: usize,
    skipping: bool,
}

impl LineReader {
    /// A reader of lines of at most `limit` octets, CRLF not counted.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            scanned: 0,
            skipping: false,
        }
    }

    /// The next line without its CRLF, or `None` if more input is needed. After `None`, the
    /// buffer holds at most the limit and one CR.
    pub fn next_line(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, LineError>> {
        let Some(found) = memchr2(b'\r', b'\n', &input[self.scanned..]) else {
            self.scanned = input.len();
            self.skip_if_too_long(input);
            return None;
        };
        let end = self.scanned + found;
        self.scanned = end;
        match (input[end], input.get(end + 1)) {
            (b'\n', _) => {
                self.start_over(input);
                Some(Err(LineError::BareLineFeed))
            }
            (_, None) => {
                self.skip_if_too_long(input);
                None
            }
            (_, Some(b'\n')) => Some(self.take_line(input, end)),
            (_, Some(_)) => {
                self.start_over(input);
                Some(Err(LineError::BareCarriageReturn))
            }
        }
    }

    /// Forgets the input: it is discarded when TLS starts (RFC 3207 section 4.2), and after a
    /// line end that cannot be trusted.
    pub fn start_over(&mut self, input: &mut BytesMut) {
        input.clear();
        self.scanned = 0;
        self.skipping = false;
    }

    fn take_line(&mut self, input: &mut BytesMut, end: usize) -> Result<Bytes, LineError> {
        let too_long = std::mem::take(&mut self.skipping) || end > self.limit;
        self.scanned = 0;
        let mut line = input.split_to(end + 2);
        line.truncate(end);
        match too_long {
            true => Err(LineError::TooLong),
            false => Ok(line.freeze()),
        }
    }

    fn skip_if_too_long(&mut self, input: &mut BytesMut) {
        if self.scanned > self.limit {
            self.skipping = true;
        }
        if self.skipping {
            let _ = input.split_to(self.scanned);
            self.scanned = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(chunks: &[&[u8]], limit: usize) -> Vec<Result<Bytes, LineError>> {
        let mut reader = LineReader::new(limit);
        let mut input = BytesMut::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            input.extend_from_slice(chunk);
            while let Some(line) = reader.next_line(&mut input) {
                lines.push(line);
                if matches!(lines.last(), Some(Err(e)) if *e != LineError::TooLong) {
                    return lines;
                }
            }
            assert!(input.len() <= limit + 1, "the buffer is bounded");
        }
        lines
    }

    #[test]
    fn lines_end_with_crlf_only() {
        assert_eq!(
            read_all(&[b"NOOP\r", b"\nQUIT\r\n"], 10),
            [
                Ok(Bytes::from_static(b"NOOP")),
                Ok(Bytes::from_static(b"QUIT"))
            ]
        );
        assert_eq!(read_all(&[b"NOOP\n"], 10), [Err(LineError::BareLineFeed)]);
        assert_eq!(
            read_all(&[b"NO\rOP\r\n"], 10),
            [Err(LineError::BareCarriageReturn)]
        );
        assert_eq!(
            read_all(&[b"NOOP\r\r\n"], 10),
            [Err(LineError::BareCarriageReturn)]
        );
    }

    #[test]
    fn a_long_line_is_skipped_and_the_next_one_read() {
        let lines = read_all(&[b"12345", b"6789", b"0\r", b"\nok\r\n"], 4);
        assert_eq!(
            lines,
            [Err(LineError::TooLong), Ok(Bytes::from_static(b"ok"))]
        );
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\r'), Just(b'\n')], 0..40),
            cut in 0usize..40,
            limit in 1usize..6,
        ) {
            let cut = cut.min(text.len());
            let whole = read_all(&[&text], limit);
            prop_assert_eq!(&read_all(&[&text[..cut], &text[cut..]], limit), &whole);
            let single: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(&read_all(&single, limit), &whole);
        }
    }
}

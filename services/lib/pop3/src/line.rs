//! Lines from the client.

use bytes::{Buf, BytesMut};

/// A line, or what came instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end.
    Whole(BytesMut),
    /// A line that was longer than allowed; it has been passed over up to its end.
    TooLong,
}

/// Cuts what the client sends into lines. A line ends with CRLF or, as old clients do it, LF.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    buffer: BytesMut,
    /// Octets of the buffer that are known to hold no line end.
    searched: usize,
    skipping: bool,
}

impl LineReader {
    /// Takes octets from the client.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Forgets what was not read yet.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next line of at most `limit` octets without its end; `None` if its end has not come.
    pub(crate) fn next(&mut self, limit: usize) -> Option<Line> {
        let Some(lf) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            if self.searched > limit + 1 {
                self.skipping = true;
                self.buffer.clear();
                self.searched = 0;
            }
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + lf);
        self.buffer.advance(1);
        self.searched = 0;
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        match std::mem::take(&mut self.skipping) || line.len() > limit {
            true => Some(Line::TooLong),
            false => Some(Line::Whole(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            reader.push(chunk);
            while let Some(line) = reader.next(limit) {
                lines.push(line);
            }
        }
        lines
    }

    #[test]
    fn lines_end_with_crlf_or_lf() {
        let whole = |text: &str| Line::Whole(BytesMut::from(text));
        assert_eq!(
            lines(&[b"NOOP\r\nQUIT\n\r\nrest"], 10),
            vec![whole("NOOP"), whole("QUIT"), whole("")]
        );
        assert_eq!(
            lines(&[b"1234\r\n12345\r\n1\n"], 4),
            vec![whole("1234"), Line::TooLong, whole("1")]
        );
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[ab\r\n]{0,40}", size in 1usize..8, limit in 0usize..6) {
            let chunks: Vec<_> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(lines(&chunks, limit), lines(&[text.as_bytes()], limit));
        }
    }
}

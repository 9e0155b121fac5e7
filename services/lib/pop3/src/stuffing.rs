//! Multi-line responses (RFC 1939 section 3).

/// Encodes the lines of a multi-line response as they come, in any chunks: a line that starts with
/// a dot gets another one, and a bare LF becomes CRLF.
#[derive(Debug, Default)]
pub struct Stuffing {
    place: Place,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    Inside,
    AfterCr,
}

impl Stuffing {
    /// Appends the encoded form of the next octets.
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while let Some(&first) = rest.first() {
            if self.place == Place::LineStart && first == b'.' {
                out.push(b'.');
            }
            let Some(lf) = memchr::memchr(b'\n', rest) else {
                out.extend_from_slice(rest);
                self.place = if rest.last() == Some(&b'\r') {
                    Place::AfterCr
                } else {
                    Place::Inside
                };
                return;
            };
            out.extend_from_slice(&rest[..lf]);
            let after_cr = match lf.checked_sub(1) {
                Some(before) => rest[before] == b'\r',
                None => self.place == Place::AfterCr,
            };
            out.extend_from_slice(if after_cr { b"\n" } else { b"\r\n" });
            self.place = Place::LineStart;
            rest = &rest[lf + 1..];
        }
    }

    /// Appends the end of the response; a last line without its end gets one.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.place {
            Place::LineStart => {}
            Place::Inside => out.extend_from_slice(b"\r\n"),
            Place::AfterCr => out.push(b'\n'),
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// Lets the header of a message and a number of its body's lines through (`TOP`, RFC 1939
/// section 7).
#[derive(Debug)]
pub(crate) struct TopLines {
    /// Body lines still wanted; `None` while in the header.
    left: Option<u32>,
    wanted: u32,
    /// Octets of the current line, counted up to three; a CR as its only octet.
    line: usize,
    only_cr: bool,
}

impl TopLines {
    pub(crate) fn new(wanted: u32) -> Self {
        Self {
            left: None,
            wanted,
            line: 0,
            only_cr: false,
        }
    }

    /// Whether nothing more is let through.
    pub(crate) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// How many of the next octets are let through; fewer than all means that it is done.
    pub(crate) fn pass(&mut self, octets: &[u8]) -> usize {
        let mut passed = 0;
        while passed < octets.len() && !self.is_done() {
            let rest = &octets[passed..];
            let (line, ended) = match memchr::memchr(b'\n', rest) {
                Some(lf) => (&rest[..lf], true),
                None => (rest, false),
            };
            if self.line == 0 && !line.is_empty() {
                self.only_cr = line == b"\r";
            } else if !line.is_empty() {
                self.only_cr = false;
            }
            self.line = self.line.saturating_add(line.len());
            passed += line.len() + usize::from(ended);
            if ended {
                self.end_line();
            }
        }
        passed
    }

    fn end_line(&mut self) {
        let empty = self.line == 0 || self.only_cr;
        self.left = match self.left {
            None if empty => Some(self.wanted),
            None => None,
            Some(left) => Some(left.saturating_sub(1)),
        };
        self.line = 0;
        self.only_cr = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(chunks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stuffing = Stuffing::default();
        for chunk in chunks {
            stuffing.feed(chunk, &mut out);
        }
        stuffing.finish(&mut out);
        out
    }

    fn top(chunks: &[&[u8]], wanted: u32) -> Vec<u8> {
        let mut lines = TopLines::new(wanted);
        let mut out = Vec::new();
        for chunk in chunks {
            let passed = lines.pass(chunk);
            out.extend_from_slice(&chunk[..passed]);
        }
        out
    }

    #[test]
    fn dots_are_doubled_at_line_starts() {
        for (text, expected) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".\r\n..a\r\nb.\r\n", "..\r\n...a\r\nb.\r\n.\r\n"),
            ("a\n.b", "a\r\n..b\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            ("a\r.b\r\n", "a\r.b\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[text.as_bytes()]), expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn top_gives_the_header_and_some_lines() {
        let message = b"A: b\r\nC: d\r\n\r\none\r\n\r\nthree\r\n";
        assert_eq!(top(&[message], 0), b"A: b\r\nC: d\r\n\r\n");
        assert_eq!(top(&[message], 2), b"A: b\r\nC: d\r\n\r\none\r\n\r\n");
        assert_eq!(top(&[message], 9), message);
        assert_eq!(top(&[b"\nx\ny\n"], 1), b"\nx\n");
        assert_eq!(top(&[b"A: b"], 0), b"A: b");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[a.\r\n]{0,40}", size in 1usize..5, wanted in 0u32..4) {
            let text = text.as_bytes();
            let chunks: Vec<_> = text.chunks(size).collect();
            prop_assert_eq!(stuffed(&chunks), stuffed(&[text]));
            prop_assert_eq!(top(&chunks, wanted), top(&[text], wanted));
        }

        #[test]
        fn the_end_stands_out_and_text_comes_back(lines in proptest::collection::vec("[a.\r]{0,3}", 0..6)) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let sent = String::from_utf8(stuffed(&[text.as_bytes()])).expect("ASCII");
            let body = sent.strip_suffix(".\r\n").expect("the end");
            let received: String = body
                .split_inclusive("\r\n")
                .inspect(|line| assert_ne!(*line, ".\r\n"))
                .map(|line| line.strip_prefix('.').unwrap_or(line))
                .collect();
            prop_assert_eq!(received, text);
        }
    }
}

//! A header whose `Content-Transfer-Encoding` changes.

use super::{Mime, NewEncoding};
use crate::header::is_empty_line;

/// Octets of a line that are needed to know its field: the longest name, blanks and the colon.
const ENOUGH: usize = 64;

/// Rewrites a header that comes in chunks: all other fields stay, in their order.
pub(super) struct HeaderRewriter {
    /// The new field, until it is written.
    encoding: Option<NewEncoding>,
    /// `MIME-Version`, until it is seen or written.
    mime: Mime,
    line: Line,
    /// Whether the last field is one that is left out.
    dropping: bool,
}

enum Line {
    /// Its first octets: not enough yet to know what it is.
    Unknown(Vec<u8>),
    Passed,
    Dropped,
}

impl HeaderRewriter {
    pub(super) fn new(encoding: Option<NewEncoding>, mime: Mime) -> Self {
        Self {
            encoding,
            mime,
            line: Line::Unknown(Vec::new()),
            dropping: false,
        }
    }

    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            let ends = piece.ends_with(b"\n");
            match &mut self.line {
                Line::Unknown(head) => {
                    head.extend_from_slice(piece);
                    if ends || head.len() >= ENOUGH {
                        let head = std::mem::take(head);
                        self.line = self.known(&head, out);
                    }
                }
                Line::Passed => out.extend_from_slice(piece),
                Line::Dropped => {}
            }
            if ends {
                self.line = Line::Unknown(Vec::new());
            }
        }
    }

    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if let Line::Unknown(head) = &mut self.line
            && !head.is_empty()
        {
            let head = std::mem::take(head);
            self.known(&head, out);
        }
        // For a header without the empty line.
        self.add(out);
    }

    /// A line whose beginning is known; what is kept of that is written.
    fn known(&mut self, head: &[u8], out: &mut Vec<u8>) -> Line {
        let continues = matches!(head.first(), Some(b' ' | b'\t')) && !is_empty_line(head);
        if !continues {
            self.dropping = is_field(head, "content-transfer-encoding");
            if self.dropping {
                self.write_encoding(out);
            }
            if is_field(head, "mime-version") {
                self.mime = Mime::Part;
            }
            if is_empty_line(head) {
                self.add(out);
            }
        }
        match self.dropping {
            true => Line::Dropped,
            false => {
                out.extend_from_slice(head);
                Line::Passed
            }
        }
    }

    /// Writes the fields that are still missing.
    fn add(&mut self, out: &mut Vec<u8>) {
        let is_new = self.encoding.is_some();
        if is_new && std::mem::replace(&mut self.mime, Mime::Part) == Mime::Version {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        self.write_encoding(out);
    }

    fn write_encoding(&mut self, out: &mut Vec<u8>) {
        if let Some(encoding) = self.encoding.take() {
            let field = format!("Content-Transfer-Encoding: {}\r\n", encoding.name());
            out.extend_from_slice(field.as_bytes());
        }
    }
}

fn is_field(line: &[u8], name: &str) -> bool {
    let Some((start, rest)) = line.split_at_checked(name.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(name.as_bytes()) && rest.trim_ascii_start().starts_with(b":")
}

//! Fields of a header block (RFC 5322 section 2.2).

use std::borrow::Cow;

use crate::ByteRange;
use crate::decode::decode_text;

/// One field, as it stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon and without blanks before it.
    pub name: &'a [u8],
    /// Everything after the colon, folds included, without the last line end.
    pub raw: &'a [u8],
    /// The whole field with its last line end, counted from the start of the header.
    pub range: ByteRange,
}

impl<'a> Field<'a> {
    /// Whether this field has the name, which compares without case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line: line ends are taken out, blanks around it trimmed, and control
    /// characters that could break a protocol line (bare CR or LF, NUL) replaced by a space.
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.raw)
    }

    /// The value as text: unfolded, with its encoded words decoded (RFC 2047).
    pub fn decoded(&self) -> String {
        decode_text(&self.unfolded())
    }
}

/// Iterator over the fields of a header block; see [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

/// The fields of a header block, up to its empty line or its end. Lines that are no field (without
/// a colon) are passed over, together with their continuations.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { block, at: 0 }
}

/// The first field of that name.
pub fn first_field<'a>(block: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(block).find(|field| field.is(name))
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let rest = self.block.get(start..)?;
            if rest.is_empty() || is_empty_line(&rest[..line_length(rest)]) {
                return None;
            }
            let length = field_length(rest);
            self.at = start + length;
            let text = &rest[..length];
            let colon = memchr::memchr(b':', &text[..line_length(text)]);
            if let Some(colon) = colon {
                return Some(Field {
                    name: text[..colon].trim_ascii_end(),
                    raw: strip_line_end(&text[colon + 1..]),
                    range: ByteRange::at(start as u64, length as u64),
                });
            }
        }
    }
}

/// Octets of the first line with its end.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |lf| lf + 1)
}

/// Octets of the first line and of the lines that continue it (RFC 5322 section 2.2.3).
fn field_length(text: &[u8]) -> usize {
    let mut length = line_length(text);
    while let Some(b' ' | b'\t') = text.get(length) {
        length += line_length(&text[length..]);
    }
    length
}

/// Whether the line ends a header.
pub(crate) fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

fn strip_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// See [`Field::unfolded`].
fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let raw = raw.trim_ascii();
    if !raw.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let folds = matches!(tail.first(), Some(b' ' | b'\t'));
        match byte {
            b'\r' if tail.starts_with(b"\n ") || tail.starts_with(b"\n\t") => rest = &tail[1..],
            b'\n' if folds => {}
            b'\r' | b'\n' | 0 => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart_and_unfolded() {
        let block = b"Subject: a\r\n\tfolded\r\n  value\r\nX-Odd : 1\nno colon here\r\n also not\r\nTo:b\r\n\r\nBody: x\r\n";
        let found: Vec<_> = fields(block)
            .map(|f| {
                (
                    f.name.to_vec(),
                    f.unfolded().into_owned(),
                    f.range.start,
                    f.range.end,
                )
            })
            .collect();
        assert_eq!(
            found,
            vec![
                (b"Subject".to_vec(), b"a\tfolded  value".to_vec(), 0, 30),
                (b"X-Odd".to_vec(), b"1".to_vec(), 30, 40),
                (b"To".to_vec(), b"b".to_vec(), 66, 72),
            ]
        );
    }

    #[test]
    fn a_value_never_holds_a_line_end() {
        let field = first_field(b"A: x\ry\0z\r\n", "a").expect("is there");
        assert_eq!(&*field.unfolded(), b"x y z");
    }

    #[test]
    fn a_header_may_end_anywhere() {
        for block in [&b""[..], b"\r\n", b"A", b"A:", b"A: b", b":", b"\r", b" x"] {
            assert!(fields(block).count() <= 1, "{block:?}");
        }
        assert_eq!(
            first_field(b"A: b", "A").map(|f| f.raw.to_vec()),
            Some(b" b".to_vec())
        );
    }
}

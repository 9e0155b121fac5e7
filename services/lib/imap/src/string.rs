//! Writes the string forms of RFC 3501 section 9.

use crate::cursor::is_astring_char;

/// How a literal is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralKind {
    /// `{n}`: from a server, or from a client that then waits for a continuation.
    Synchronizing,
    /// `{n+}`: from a client to a server with LITERAL+ (RFC 7888).
    NonSynchronizing,
}

/// Longest text that is written as a quoted string; longer ones become literals.
const MAX_QUOTED: usize = 1000;

fn is_quotable(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_QUOTED
        && bytes
            .iter()
            .all(|b| matches!(b, 1..=0x7f if !b"\r\n".contains(b)))
}

/// Writes `{n}` and the line end; the caller writes n octets next.
pub fn put_literal_head(out: &mut Vec<u8>, length: u64, kind: LiteralKind) {
    let plus = match kind {
        LiteralKind::Synchronizing => "",
        LiteralKind::NonSynchronizing => "+",
    };
    out.extend_from_slice(format!("{{{length}{plus}}}\r\n").as_bytes());
}

/// Writes `bytes` as a quoted string; they have to be quotable.
fn put_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Writes a string: quoted where the grammar allows it, as a literal otherwise. NULs, which no
/// string can hold, are left out.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8], kind: LiteralKind) {
    if is_quotable(bytes) {
        return put_quoted(out, bytes);
    }
    let clean: Vec<u8> = bytes.iter().copied().filter(|b| *b != 0).collect();
    put_literal_head(out, clean.len() as u64, kind);
    out.extend_from_slice(&clean);
}

/// Writes an astring: as it is where the grammar allows it, as a string otherwise.
pub fn put_astring(out: &mut Vec<u8>, text: &str, kind: LiteralKind) {
    let is_atom = !text.is_empty()
        && text.len() <= MAX_QUOTED
        && text.bytes().all(is_astring_char)
        && !text.eq_ignore_ascii_case("NIL");
    match is_atom {
        true => out.extend_from_slice(text.as_bytes()),
        false => put_string(out, text.as_bytes(), kind),
    }
}

/// Writes `NIL` or a string.
pub fn put_nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>, kind: LiteralKind) {
    match bytes {
        None => out.extend_from_slice(b"NIL"),
        Some(bytes) => put_string(out, bytes, kind),
    }
}

/// Writes free text for a human on a response line: line ends, NULs and eight-bit characters,
/// which `text` of RFC 3501 section 9 cannot hold, become `?`.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let printable = |c: char| match c {
        ' '..='~' | '\t' => c as u8,
        _ => b'?',
    };
    out.extend(text.chars().map(printable));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        put_astring(&mut out, text, LiteralKind::Synchronizing);
        String::from_utf8(out).expect("the input was UTF-8")
    }

    #[test]
    fn a_string_takes_the_simplest_form_that_holds_it() {
        assert_eq!(written("INBOX"), "INBOX");
        assert_eq!(written(""), "\"\"");
        assert_eq!(written("nil"), "\"nil\"");
        assert_eq!(written("a b"), "\"a b\"");
        assert_eq!(written("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(written("ü"), "{2}\r\nü");
        assert_eq!(written("a\r\nb"), "{4}\r\na\r\nb");
        assert!(written(&"x".repeat(1001)).starts_with("{1001}\r\n"));
    }

    #[test]
    fn text_cannot_end_the_line() {
        let mut out = Vec::new();
        put_text(&mut out, "a\r\n* BYE ü");
        assert_eq!(out, b"a??* BYE ?");
    }
}

//! Strings of IMAP's wire form (RFC 3501 section 4.3).

/// Longest value that is written in quotes; longer ones are literals.
const MAX_QUOTED: usize = 1000;

/// Appends a string: quoted if it can be, else a literal. Eight-bit octets are only legal in a
/// literal; NUL is legal nowhere and becomes `?`.
pub(crate) fn string(out: &mut Vec<u8>, value: &[u8]) {
    if value.len() > MAX_QUOTED || !value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
        out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
        out.extend(value.iter().map(|&b| if b == 0 { b'?' } else { b }));
        return;
    }
    out.push(b'"');
    for &octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Appends a string, or `NIL` for none.
pub(crate) fn nstring(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"NIL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_or_literal() {
        for (value, expected) in [
            (&b""[..], &b"\"\""[..]),
            (b"a \"b\" \\c", b"\"a \\\"b\\\" \\\\c\""),
            ("é".as_bytes(), "{2}\r\né".as_bytes()),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            (b"\0", b"{1}\r\n?"),
        ] {
            let mut out = Vec::new();
            string(&mut out, value);
            assert_eq!(out, expected);
        }
        let mut out = Vec::new();
        string(&mut out, &[b'a'; 1001]);
        assert!(out.starts_with(b"{1001}\r\naaa"));
        out.clear();
        nstring(&mut out, None);
        assert_eq!(out, b"NIL");
    }
}

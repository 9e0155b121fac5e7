//! The quoted-printable encoding of text (RFC 2045 section 6.7).

/// Longest encoded line, without its end (rule 5).
const MAX_LINE: usize = 76;

/// Appends text, encoded; CRLF is a line end, other control characters but tab are content.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    let mut column = 0;
    while let Some((&octet, tail)) = rest.split_first() {
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            column = 0;
            rest = &rest[2..];
            continue;
        }
        // Rule 3: a blank at a line's end must be encoded.
        let before_line_end = tail.is_empty() || tail.starts_with(b"\r\n");
        let literal = match octet {
            b' ' | b'\t' => !before_line_end,
            octet => octet.is_ascii_graphic() && octet != b'=',
        };
        let width = if literal { 1 } else { 3 };
        if column + width > MAX_LINE - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        match literal {
            true => out.push(octet),
            false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
        }
        column += width;
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Encoding, TransferDecoder};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_comes_back(text in proptest::collection::vec(prop_oneof![
            Just(b' '), Just(b'='), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            let mut encoded = Vec::new();
            encode(&text, &mut encoded);
            prop_assert!(encoded.is_ascii());
            prop_assert!(encoded.split(|&b| b == b'\n').all(|line| line.len() <= MAX_LINE + 1));
            let mut decoded = Vec::new();
            let mut decoder = TransferDecoder::new(Encoding::QuotedPrintable);
            decoder.feed(&encoded, &mut decoded);
            decoder.finish(&mut decoded);
            prop_assert_eq!(decoded, text);
        }
    }
}

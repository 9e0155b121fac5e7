//! The part that sends the letter, or its header, back (RFC 6522 sections 3 and 4).

use super::Original;
use super::quoted_printable;
use crate::header::is_empty_line;

/// RFC 5322 section 2.1.1: the longest line, without its end.
const MAX_LINE: usize = 998;

pub(super) fn write(original: Original<'_>, out: &mut Vec<u8>) {
    match original {
        // A message/rfc822 must not be encoded (RFC 2046 section 5.2.1).
        Original::Message(message) if fits_seven_bit(message) => {
            out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
            out.extend_from_slice(message);
        }
        Original::Message(octets) | Original::Header(octets) => {
            write_header(header_of(octets), out)
        }
    }
}

fn write_header(header: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Type: text/rfc822-headers\r\n");
    if fits_seven_bit(header) {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(header);
    } else {
        out.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        quoted_printable::encode(header, out);
    }
}

/// The lines before the empty one.
fn header_of(octets: &[u8]) -> &[u8] {
    let mut at = 0;
    for line in octets.split_inclusive(|&b| b == b'\n') {
        if is_empty_line(line) {
            break;
        }
        at += line.len();
    }
    &octets[..at]
}

/// Whether the text can travel as it is: ASCII without NUL, CR and LF only together, no line too
/// long.
fn fits_seven_bit(text: &[u8]) -> bool {
    let good_line = |line: &[u8]| {
        let content = line.strip_suffix(b"\r\n").unwrap_or(line);
        content.len() <= MAX_LINE && !content.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
    };
    text.is_ascii() && text.split_inclusive(|&b| b == b'\n').all(good_line)
}

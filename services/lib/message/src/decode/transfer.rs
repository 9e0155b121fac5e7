//! Content transfer encodings (RFC 2045 section 6), decoded in chunks and leniently.

/// How a part's octets are encoded for transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// `7bit`, `8bit`, `binary`, and words that are not known.
    #[default]
    Identity,
    /// `quoted-printable` (RFC 2045 section 6.7).
    QuotedPrintable,
    /// `base64` (RFC 2045 section 6.8).
    Base64,
}

impl Encoding {
    /// The encoding that this word names (any case).
    pub fn of(word: &str) -> Self {
        match word {
            w if w.eq_ignore_ascii_case("quoted-printable") => Self::QuotedPrintable,
            w if w.eq_ignore_ascii_case("base64") => Self::Base64,
            _ => Self::Identity,
        }
    }
}

/// Decodes one part's transfer encoding.
pub struct TransferDecoder {
    state: State,
}

enum State {
    Identity,
    Base64 {
        bits: u32,
        digits: u8,
    },
    /// An escape or trailing blanks that are not yet decided.
    QuotedPrintable {
        pending: Vec<u8>,
    },
}

/// Blanks before a line end that are waited for: more than a line of them (RFC 2045 section 6.7)
/// are content.
const MAX_PENDING: usize = 1000;

impl TransferDecoder {
    /// A decoder at a part's first octet.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            state: match encoding {
                Encoding::Identity => State::Identity,
                Encoding::Base64 => State::Base64 { bits: 0, digits: 0 },
                Encoding::QuotedPrintable => State::QuotedPrintable {
                    pending: Vec::new(),
                },
            },
        }
    }

    /// Appends what the next octets decode to.
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => out.extend_from_slice(octets),
            State::Base64 { bits, digits } => feed_base64(bits, digits, octets, out),
            State::QuotedPrintable { pending } => {
                for &octet in octets {
                    feed_quoted_printable(pending, octet, out);
                }
            }
        }
    }

    /// Appends what the end of the part leaves.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.state {
            State::Identity => {}
            State::Base64 { bits, digits } => flush_base64(bits, digits, out),
            State::QuotedPrintable { pending } if pending.first() == Some(&b'=') => {
                // A soft line end at the very end, or half an escape, which is kept as it is.
                let soft = pending[1..].trim_ascii().is_empty();
                out.extend_from_slice(if soft { &[] } else { &pending });
            }
            State::QuotedPrintable { .. } => {}
        }
    }
}

/// Octets outside the alphabet are passed over (RFC 2045 section 6.8); padding ends a group, so
/// that encodings put one after another are read, too.
fn feed_base64(bits: &mut u32, digits: &mut u8, octets: &[u8], out: &mut Vec<u8>) {
    for &octet in octets {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                flush_base64(*bits, *digits, out);
                (*bits, *digits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        *bits = (*bits << 6) | u32::from(value);
        *digits += 1;
        if *digits == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (*bits, *digits) = (0, 0);
        }
    }
}

fn flush_base64(bits: u32, digits: u8, out: &mut Vec<u8>) {
    match digits {
        2 => out.extend_from_slice(&(bits << 12).to_be_bytes()[1..2]),
        3 => out.extend_from_slice(&(bits << 6).to_be_bytes()[1..3]),
        _ => {}
    }
}

fn feed_quoted_printable(pending: &mut Vec<u8>, octet: u8, out: &mut Vec<u8>) {
    match pending.first() {
        Some(b'=') => feed_escape(pending, octet, out),
        _ => match octet {
            b'=' => {
                out.append(pending);
                pending.push(b'=');
            }
            b' ' | b'\t' | b'\r' if pending.len() < MAX_PENDING => pending.push(octet),
            b'\n' => {
                // Blanks at a line's end were added in transport (RFC 2045 section 6.7 rule 3).
                let crlf = pending.last() == Some(&b'\r');
                pending.clear();
                out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
            }
            octet => {
                out.append(pending);
                out.push(octet);
            }
        },
    }
}

/// After `=`: two hexadecimal digits, or blanks and a line end; anything else stands for itself.
fn feed_escape(pending: &mut Vec<u8>, octet: u8, out: &mut Vec<u8>) {
    let blanks = pending[1..]
        .iter()
        .all(|b| matches!(b, b' ' | b'\t' | b'\r'));
    match octet {
        b'\n' if blanks => pending.clear(),
        b' ' | b'\t' | b'\r' if blanks && pending.len() < MAX_PENDING => pending.push(octet),
        octet if pending.len() == 1 && octet.is_ascii_hexdigit() => pending.push(octet),
        octet if pending.len() == 2 && octet.is_ascii_hexdigit() => {
            match (hex(pending[1]), hex(octet)) {
                (Some(high), Some(low)) => {
                    out.push((high << 4) | low);
                    pending.clear();
                }
                _ => {
                    out.append(pending);
                    out.push(octet);
                }
            }
        }
        octet => {
            out.append(pending);
            feed_quoted_printable(pending, octet, out);
        }
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

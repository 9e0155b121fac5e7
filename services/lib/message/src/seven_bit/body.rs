//! Content that gets a transfer encoding, in chunks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::NewEncoding;
use crate::dsn::quoted_printable;

/// Octets that make a line of base64 (RFC 2045 section 6.8: at most 76 characters).
const GROUP: usize = 57;
/// Octets of a line of text that are kept until its end is seen.
const MAX_LINE: usize = 1000;

/// Encodes a part's content.
pub(super) struct BodyEncoder {
    encoding: NewEncoding,
    /// What does not make a line yet.
    rest: Vec<u8>,
}

impl BodyEncoder {
    pub(super) fn new(encoding: NewEncoding) -> Self {
        let rest = Vec::new();
        Self { encoding, rest }
    }

    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            NewEncoding::QuotedPrintable => self.feed_text(octets, out),
            NewEncoding::Base64 => self.feed_octets(octets, out),
        }
    }

    /// Base64 ends with a line end; quoted-printable has those of the content.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        match self.encoding {
            NewEncoding::QuotedPrintable => quoted_printable::encode(&self.rest, out),
            NewEncoding::Base64 if self.rest.is_empty() => {}
            NewEncoding::Base64 => write_group(&self.rest, out),
        }
    }

    /// Line by line, since a line's last blank is encoded. A long line is cut by a soft line break.
    fn feed_text(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            self.rest.push(octet);
            if self.rest.ends_with(b"\r\n") {
                quoted_printable::encode(&self.rest, out);
                self.rest.clear();
            } else if self.rest.len() >= MAX_LINE {
                // A CR stays with its LF.
                let whole = self.rest.len() - usize::from(octet == b'\r');
                quoted_printable::encode(&self.rest[..whole], out);
                out.extend_from_slice(b"=\r\n");
                self.rest.drain(..whole);
            }
        }
    }

    fn feed_octets(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let missing = (GROUP - self.rest.len()).min(octets.len());
        let (first, octets) = octets.split_at(missing);
        self.rest.extend_from_slice(first);
        if self.rest.len() < GROUP {
            return;
        }
        write_group(&self.rest, out);
        let groups = octets.chunks_exact(GROUP);
        self.rest.clear();
        self.rest.extend_from_slice(groups.remainder());
        groups.for_each(|group| write_group(group, out));
    }
}

fn write_group(group: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(group).as_bytes());
    out.extend_from_slice(b"\r\n");
}

//! What a scan found.

use bytes::Bytes;

use crate::content::PartFields;
use crate::envelope::EnvelopeFields;
use crate::{ByteRange, Fields, fields, message_ids};

/// What octets a letter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    lf: u64,
    cr: u64,
    crlf: u64,
    eight_bit: bool,
    nul: bool,
}

impl Content {
    /// Whether an octet above 127 occurs: 8BITMIME is needed to send it on (RFC 6152).
    pub fn has_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Whether NUL occurs.
    pub fn has_nul(&self) -> bool {
        self.nul
    }

    /// Whether a CR occurs without LF after it.
    pub fn has_bare_cr(&self) -> bool {
        self.cr > self.crlf
    }

    /// Whether an LF occurs without CR before it.
    pub fn has_bare_lf(&self) -> bool {
        self.lf > self.crlf
    }

    /// Number of line ends.
    pub(super) fn lines(&self) -> u64 {
        self.lf
    }

    /// Takes the next octets.
    pub(super) fn note(&mut self, chunk: &[u8]) {
        self.cr += count(b'\r', chunk);
        self.lf += count(b'\n', chunk);
        self.eight_bit |= !chunk.is_ascii();
        self.nul |= memchr::memchr(0, chunk).is_some();
    }

    /// Counts a line that ended with CRLF.
    pub(super) fn note_crlf(&mut self) {
        self.crlf += 1;
    }
}

fn count(octet: u8, chunk: &[u8]) -> u64 {
    memchr::memchr_iter(octet, chunk).count() as u64
}

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Content.
    Leaf,
    /// A multipart with a boundary: its children are the parts, perhaps none.
    Multipart,
    /// A message: its only child is the message's own root.
    Message,
    /// A multipart or message that lies deeper, or later, than the limits look; told as
    /// `application/octet-stream`.
    Opaque,
}

/// A MIME part, or a message: the letter itself, or one inside a `message/rfc822` part.
///
/// Offsets count octets of the scanned input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedPart {
    /// Index of the part this one is in; `None` for the letter.
    pub parent: Option<usize>,
    /// Indexes of the parts in this one, in order.
    pub children: Vec<usize>,
    /// What it is made of.
    pub kind: Kind,
    /// Its header, with the empty line that ends it.
    pub header: ByteRange,
    /// Its body, without the line end that belongs to the delimiter after it.
    pub body: ByteRange,
    /// Line ends in the body.
    pub lines: u64,
    /// What its header says of its content.
    pub fields: PartFields,
    /// For a message, the header fields of its ENVELOPE.
    pub envelope: Option<Box<EnvelopeFields>>,
}

impl ScannedPart {
    pub(super) fn starting_at(parent: Option<usize>, start: u64) -> Self {
        Self {
            parent,
            children: Vec::new(),
            kind: Kind::Leaf,
            header: ByteRange::new(start, start),
            body: ByteRange::new(start, start),
            lines: 0,
            fields: PartFields::default(),
            envelope: None,
        }
    }
}

/// The structure of a letter: what a [`Scanner`](crate::Scanner) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// Octets.
    pub size: u64,
    /// Line ends.
    pub lines: u64,
    /// What octets it is made of.
    pub content: Content,
    /// `Received` fields in its header; too many are a loop (RFC 5321 section 6.3).
    pub received: u32,
    /// Where its header has `Return-Path` fields, which final delivery takes out (RFC 5321
    /// section 4.4). Neighbours are one range.
    pub return_paths: Vec<ByteRange>,
    /// Line ends in them.
    pub return_path_lines: u64,
    /// The first octets of its header, whole lines, as far as they were kept; without the empty
    /// line.
    pub header: Bytes,
    /// All parts, a parent before its children; the first is the letter itself.
    pub parts: Vec<ScannedPart>,
}

impl Structure {
    /// The letter itself.
    pub fn root(&self) -> &ScannedPart {
        &self.parts[0]
    }

    /// The fields of its header, as far as it was kept.
    pub fn fields(&self) -> Fields<'_> {
        fields(&self.header)
    }

    /// The id in its `Message-ID`, with angle brackets; `None` if it has none.
    pub fn message_id(&self) -> Option<String> {
        let field = self.fields().find(|field| field.is("Message-ID"))?;
        message_ids(&field.unfolded(), 1).pop()
    }
}

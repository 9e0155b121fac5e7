//! Eight-bit letters made fit for a server that does not offer 8BITMIME (RFC 6152 section 3): parts
//! with eight-bit content get the transfer encoding `quoted-printable` or `base64`.
//!
//! A letter is read three times, in chunks, and never kept: the [`Scanner`](crate::Scanner) finds its
//! parts, a [`Survey`] those with eight-bit content, and a [`Converter`] writes it anew. What must not
//! be touched is copied: messages inside the letter and what is signed or encrypted
//! (RFC 1847 section 2.1); if that, or a header, has eight-bit octets itself, the letter is
//! [`NotConvertible`].

mod body;
mod converter;
mod header;

pub use converter::Converter;

use std::sync::Arc;

use crate::decode::Encoding;
use crate::{ByteRange, Kind, ScannedPart, Structure};

/// Eight-bit octets are where no transfer encoding can take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotConvertible;

/// Finds the parts of a letter that have eight-bit content.
pub struct Survey {
    parts: Vec<Candidate>,
    /// The first of them whose end was not seen.
    current: usize,
    offset: u64,
}

/// A part that may be touched.
struct Candidate {
    header: ByteRange,
    body: ByteRange,
    role: Role,
    has_eight_bit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A part whose content can be given this encoding.
    Leaf(NewEncoding),
    /// A multipart that says of itself that it has eight-bit content.
    Multipart,
}

/// The encoding that a part gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewEncoding {
    QuotedPrintable,
    Base64,
}

/// How a letter is converted; clones share it.
#[derive(Debug, Clone)]
pub struct Conversion(Arc<[Segment]>);

/// Neighbouring octets of the letter to which the same is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    range: ByteRange,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Copies.
    Copy,
    /// Copies a header but for its `Content-Transfer-Encoding`, which is set if one is given.
    Header(Option<NewEncoding>, Mime),
    /// Encodes.
    Body(NewEncoding),
}

/// Whether a header must have `MIME-Version`: that of the letter must (RFC 2045 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mime {
    Version,
    Part,
}

impl Survey {
    /// A survey of a letter at its first octet.
    pub fn new(structure: &Structure) -> Self {
        let parts = structure.parts.iter();
        Self {
            parts: parts
                .filter_map(|part| candidate(structure, part))
                .collect(),
            current: 0,
            offset: 0,
        }
    }

    /// Takes the next octets of the letter.
    pub fn feed(&mut self, chunk: &[u8]) {
        let (start, end) = (self.offset, self.offset + chunk.len() as u64);
        self.offset = end;
        while let Some(part) = self.parts.get_mut(self.current) {
            let seen = within(part.body, start, chunk);
            part.has_eight_bit |= !seen.is_ascii();
            if part.body.end > end {
                return;
            }
            self.current += 1;
        }
    }

    /// What is to be done, once the whole letter was seen.
    pub fn finish(self) -> Conversion {
        let mut segments = Segments::default();
        for part in &self.parts {
            let mime = match part.header.start {
                0 => Mime::Version,
                _ => Mime::Part,
            };
            match part.role {
                Role::Multipart => segments.push(part.header, Action::Header(None, mime)),
                Role::Leaf(encoding) if part.has_eight_bit => {
                    segments.push(part.header, Action::Header(Some(encoding), mime));
                    segments.push(part.body, Action::Body(encoding));
                }
                Role::Leaf(_) => {}
            }
        }
        segments.push(ByteRange::new(u64::MAX, u64::MAX), Action::Copy);
        Conversion(segments.0.into())
    }
}

/// The segments so far, without gaps.
#[derive(Default)]
struct Segments(Vec<Segment>);

impl Segments {
    fn push(&mut self, range: ByteRange, action: Action) {
        let end = self.0.last().map_or(0, |last| last.range.end);
        if end < range.start {
            let gap = ByteRange::new(end, range.start);
            self.0.push(Segment {
                range: gap,
                action: Action::Copy,
            });
        }
        if !range.is_empty() {
            self.0.push(Segment { range, action });
        }
    }
}

/// The part, if it may be touched.
fn candidate(structure: &Structure, part: &ScannedPart) -> Option<Candidate> {
    let mut ancestors = std::iter::successors(Some(part), |part| {
        part.parent.and_then(|parent| structure.parts.get(parent))
    });
    if ancestors.any(is_sealed) {
        return None;
    }
    let role = match part.kind {
        Kind::Multipart if matches!(part.fields.encoding.as_str(), "8bit" | "binary") => {
            Role::Multipart
        }
        Kind::Leaf if Encoding::of(&part.fields.encoding) == Encoding::Identity => {
            Role::Leaf(match part.fields.content_type.media.as_str() {
                "text" => NewEncoding::QuotedPrintable,
                _ => NewEncoding::Base64,
            })
        }
        _ => return None,
    };
    let body = match role {
        Role::Leaf(_) => part.body,
        // Its content is that of its parts.
        Role::Multipart => ByteRange::at(part.header.end, 0),
    };
    Some(Candidate {
        header: part.header,
        body,
        role,
        has_eight_bit: false,
    })
}

/// Whether neither a part nor what is in it may be touched: what is signed or encrypted, and messages,
/// which have no transfer encoding of their own (RFC 2046 section 5.2.1).
fn is_sealed(part: &ScannedPart) -> bool {
    let content_type = &part.fields.content_type;
    matches!(part.kind, Kind::Message | Kind::Opaque)
        || content_type.media == "message"
        || content_type.is("multipart", "signed")
        || content_type.is("multipart", "encrypted")
}

/// The octets of a chunk, which begins at `start`, that lie in a range.
fn within(range: ByteRange, start: u64, chunk: &[u8]) -> &[u8] {
    let place = |offset: u64| {
        let distance = offset.saturating_sub(start).min(chunk.len() as u64);
        usize::try_from(distance).unwrap_or(chunk.len())
    };
    &chunk[place(range.start)..place(range.end)]
}

impl NewEncoding {
    fn name(self) -> &'static str {
        match self {
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }
}

#[cfg(test)]
mod tests;

//! `FETCH` (RFC 3501 section 6.4.5).

use std::num::NonZeroU32;

use crate::cursor::{Cursor, Empty, Parsed, SyntaxError, is_atom_char};
use crate::sequence::SequenceSet;
use crate::string::{LiteralKind, put_astring};

/// `FETCH`; macros are already spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which messages.
    pub set: SequenceSet,
    /// What of them.
    pub items: Vec<FetchItem>,
}

/// Whether fetching a body leaves `\Seen` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peek {
    /// `BODY[`: sets `\Seen`.
    SetSeen,
    /// `BODY.PEEK[`
    Peek,
}

/// One thing to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `ENVELOPE`
    Envelope,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `RFC822.TEXT`
    Rfc822Text,
    /// `BODY` without a section: the structure without extensions
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `UID`
    Uid,
    /// `MODSEQ` (RFC 7162 section 3.1.5)
    ModSeq,
    /// `BODY[…]` or `BODY.PEEK[…]`
    BodySection {
        /// Which octets.
        section: Section,
        /// Whether `\Seen` is set.
        peek: Peek,
        /// A part of them.
        partial: Option<Partial>,
    },
}

/// `<first.length>`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partial {
    /// The first octet, from 0.
    pub offset: u32,
    /// At most so many octets.
    pub length: NonZeroU32,
}

/// A section: a part's number (empty for the message itself) and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// `1.2` is `[1, 2]`.
    pub part: Vec<NonZeroU32>,
    /// `None`: all of it.
    pub text: Option<SectionText>,
}

/// What of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)`; names as the client wrote them
    HeaderFields(Vec<Box<str>>),
    /// `HEADER.FIELDS.NOT (…)`
    HeaderFieldsNot(Vec<Box<str>>),
    /// `TEXT`
    Text,
    /// `MIME`; only of a part
    Mime,
}

impl FetchItem {
    /// Whether fetching it sets `\Seen`.
    pub fn sets_seen(&self) -> bool {
        match self {
            Self::Rfc822 | Self::Rfc822Text => true,
            Self::BodySection { peek, .. } => *peek == Peek::SetSeen,
            Self::Envelope
            | Self::Flags
            | Self::InternalDate
            | Self::Rfc822Header
            | Self::Rfc822Size
            | Self::Body
            | Self::BodyStructure
            | Self::Uid
            | Self::ModSeq => false,
        }
    }

    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        // `[` is an ATOM-CHAR, so an atom would run into the section.
        let word = cursor.word(|b| is_atom_char(b) && b != b'[', "a fetch item is missing")?;
        let name = String::from_utf8_lossy(word).to_ascii_uppercase();
        if cursor.peek() == Some(b'[') {
            let peek = match name.as_str() {
                "BODY" => Peek::SetSeen,
                "BODY.PEEK" => Peek::Peek,
                _ => return Err(SyntaxError("only BODY has sections")),
            };
            return Ok(Self::BodySection {
                section: Section::parse(cursor)?,
                peek,
                partial: Partial::parse(cursor)?,
            });
        }
        Ok(match name.as_str() {
            "ENVELOPE" => Self::Envelope,
            "FLAGS" => Self::Flags,
            "INTERNALDATE" => Self::InternalDate,
            "RFC822" => Self::Rfc822,
            "RFC822.HEADER" => Self::Rfc822Header,
            "RFC822.SIZE" => Self::Rfc822Size,
            "RFC822.TEXT" => Self::Rfc822Text,
            "BODY" => Self::Body,
            "BODYSTRUCTURE" => Self::BodyStructure,
            "UID" => Self::Uid,
            "MODSEQ" => Self::ModSeq,
            _ => return Err(SyntaxError("unknown fetch item")),
        })
    }

    /// Writes the item as a response names it: without `.PEEK` and without the partial's length.
    pub fn encode_name(&self, out: &mut Vec<u8>) {
        self.encode_with(Naming::Response, LiteralKind::Synchronizing, out);
    }

    fn encode_with(&self, naming: Naming, literals: LiteralKind, out: &mut Vec<u8>) {
        let name = match self {
            Self::Envelope => "ENVELOPE",
            Self::Flags => "FLAGS",
            Self::InternalDate => "INTERNALDATE",
            Self::Rfc822 => "RFC822",
            Self::Rfc822Header => "RFC822.HEADER",
            Self::Rfc822Size => "RFC822.SIZE",
            Self::Rfc822Text => "RFC822.TEXT",
            Self::Body => "BODY",
            Self::BodyStructure => "BODYSTRUCTURE",
            Self::Uid => "UID",
            Self::ModSeq => "MODSEQ",
            Self::BodySection { peek, .. } => match (peek, naming) {
                (Peek::Peek, Naming::Command) => "BODY.PEEK",
                _ => "BODY",
            },
        };
        out.extend_from_slice(name.as_bytes());
        if let Self::BodySection {
            section, partial, ..
        } = self
        {
            section.encode(literals, out);
            let partial = partial.map(|p| match naming {
                Naming::Command => format!("<{}.{}>", p.offset, p.length),
                Naming::Response => format!("<{}>", p.offset),
            });
            out.extend_from_slice(partial.unwrap_or_default().as_bytes());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    Command,
    Response,
}

impl Partial {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Option<Self>> {
        if !cursor.take(b'<') {
            return Ok(None);
        }
        let offset = cursor.number()?;
        cursor.expect(b'.', "a partial has two numbers")?;
        let length = NonZeroU32::new(cursor.number()?)
            .ok_or(SyntaxError("a partial has at least one octet"))?;
        cursor.expect(b'>', "a partial is not closed")?;
        Ok(Some(Self { offset, length }))
    }
}

impl Section {
    /// `[…]`
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.expect(b'[', "a section is missing")?;
        let mut part = Vec::new();
        while cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
            cursor.count()?;
            part.push(NonZeroU32::new(cursor.number()?).ok_or(SyntaxError("parts count from 1"))?);
            if !cursor.take(b'.') {
                cursor.expect(b']', "a section is not closed")?;
                return Ok(Self { part, text: None });
            }
        }
        if part.is_empty() && cursor.take(b']') {
            return Ok(Self::default());
        }
        let text = SectionText::parse(cursor)?;
        if text == SectionText::Mime && part.is_empty() {
            return Err(SyntaxError("MIME is a section of a part"));
        }
        cursor.expect(b']', "a section is not closed")?;
        Ok(Self {
            part,
            text: Some(text),
        })
    }

    fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, number) in self.part.iter().enumerate() {
            let dot = if at > 0 { "." } else { "" };
            out.extend_from_slice(format!("{dot}{number}").as_bytes());
        }
        if let Some(text) = &self.text {
            if !self.part.is_empty() {
                out.push(b'.');
            }
            text.encode(literals, out);
        }
        out.push(b']');
    }
}

impl SectionText {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let word = cursor.word(is_atom_char, "a section is missing")?;
        let fields = |cursor: &mut Cursor<'_>| {
            cursor.space()?;
            cursor.list(Empty::Refused, |cursor| cursor.astring())
        };
        match word.to_ascii_uppercase().as_slice() {
            b"HEADER" => Ok(Self::Header),
            b"HEADER.FIELDS" => fields(cursor).map(Self::HeaderFields),
            b"HEADER.FIELDS.NOT" => fields(cursor).map(Self::HeaderFieldsNot),
            b"TEXT" => Ok(Self::Text),
            b"MIME" => Ok(Self::Mime),
            _ => Err(SyntaxError("unknown section")),
        }
    }

    fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        let (name, fields) = match self {
            Self::Header => ("HEADER", None),
            Self::HeaderFields(fields) => ("HEADER.FIELDS ", Some(fields)),
            Self::HeaderFieldsNot(fields) => ("HEADER.FIELDS.NOT ", Some(fields)),
            Self::Text => ("TEXT", None),
            Self::Mime => ("MIME", None),
        };
        out.extend_from_slice(name.as_bytes());
        for (at, field) in fields.into_iter().flatten().enumerate() {
            out.push(if at == 0 { b'(' } else { b' ' });
            put_astring(out, field, literals);
        }
        if fields.is_some() {
            out.push(b')');
        }
    }
}

impl Fetch {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.space()?;
        let set = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let items = match cursor.peek() {
            Some(b'(') => cursor.list(Empty::Refused, FetchItem::parse)?,
            _ => match parse_macro(cursor) {
                Some(items) => items,
                None => vec![FetchItem::parse(cursor)?],
            },
        };
        Ok(Self { set, items })
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("FETCH {} ", self.set).as_bytes());
        for (at, item) in self.items.iter().enumerate() {
            out.push(if at == 0 { b'(' } else { b' ' });
            item.encode_with(Naming::Command, literals, out);
        }
        out.push(b')');
    }
}

/// `ALL`, `FULL` and `FAST` stand for lists, and only alone.
fn parse_macro(cursor: &mut Cursor<'_>) -> Option<Vec<FetchItem>> {
    let mut items = vec![
        FetchItem::Flags,
        FetchItem::InternalDate,
        FetchItem::Rfc822Size,
    ];
    if cursor.take_word("FAST") {
        return Some(items);
    }
    items.push(FetchItem::Envelope);
    if cursor.take_word("ALL") {
        return Some(items);
    }
    items.push(FetchItem::Body);
    cursor.take_word("FULL").then_some(items)
}

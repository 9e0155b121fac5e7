//! What is stored beside a message's octets, and what the delivered message is made of.

use bytes::Bytes;

use crate::ByteRange;
use crate::body_structure::{self, Form};
use crate::date::parse_date;
use crate::decode::Encoding;
use crate::envelope::EnvelopeFields;
use crate::header::first_field;
use crate::message_id::message_ids;
use crate::scan::{Kind, ScannedPart, Structure};
use crate::subject::base_subject;

/// Ancestors that are kept of a `References` field: the nearest ones.
const MAX_REFERENCES: usize = 100;

/// A piece of a delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Octets of its own.
    Literal(Bytes),
    /// Octets of the accepted message.
    Range(ByteRange),
}

/// What a part is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// Content.
    Leaf,
    /// A multipart; its parts carry its path as prefix.
    Multipart,
    /// A message; its parts carry its path as prefix, and the entry with `0` after the path gives
    /// the message's own header and text.
    Message,
}

/// A MIME part's place in the delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Part numbers as IMAP counts them (RFC 3501 section 6.4.5). A last number 0, which IMAP
    /// does not use, is the message inside the part that the other numbers name.
    pub path: Vec<u32>,
    /// The MIME header, with the empty line that ends it.
    pub header: ByteRange,
    /// The body.
    pub body: ByteRange,
    /// Word of the transfer encoding, lower case; empty is `7bit`.
    pub encoding: String,
    /// Lower-case `type/subtype`.
    pub content_type: String,
    /// Lower case; empty if none is named.
    pub charset: String,
    /// Line ends in the body.
    pub lines: u64,
    /// What it is made of.
    pub kind: PartKind,
}

impl Part {
    /// How to decode the body.
    pub fn transfer_encoding(&self) -> Encoding {
        Encoding::of(&self.encoding)
    }

    /// Whether SEARCH looks for text in it.
    pub fn is_text(&self) -> bool {
        self.kind == PartKind::Leaf && self.content_type.starts_with("text/")
    }
}

/// What never changes about a message, computed once. All offsets count octets of the delivered
/// message. Has the fields of `postino.mail.v1.EmailContent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Octets.
    pub size: u64,
    /// Line ends.
    pub lines: u64,
    /// Octets of the header, with the empty line that ends it.
    pub header_size: u64,
    /// ENVELOPE in wire form.
    pub envelope: Bytes,
    /// BODY in wire form.
    pub body: Bytes,
    /// BODYSTRUCTURE in wire form.
    pub bodystructure: Bytes,
    /// Every part that has a number.
    pub parts: Vec<Part>,
    /// `<id>` of the Message-ID field; empty if there is none.
    pub message_id: String,
    /// The last `<id>` of In-Reply-To; empty if there is none.
    pub in_reply_to: String,
    /// `<id>`s of References, else of In-Reply-To: the thread's ancestors, the nearest last.
    pub references: Vec<String>,
    /// Base subject (RFC 5256 section 2.1).
    pub subject_base: String,
    /// The Date field, Unix seconds, if it can be read.
    pub sent_seconds: Option<i64>,
    /// Whether a part is what people call an attachment.
    pub has_attachment: bool,
}

/// A message as it is filed into mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The pieces that make it up, in order; ranges count octets of the accepted message.
    pub segments: Vec<Segment>,
    /// What is stored beside them.
    pub email: Email,
}

/// Makes the delivered message of one that is kept exactly as it came, `Return-Path` fields
/// included: nothing was delivered here, somebody put it into a mailbox (RFC 3501 section 6.3.11).
pub fn keep(mut structure: Structure) -> Delivery {
    structure.return_paths.clear();
    structure.return_path_lines = 0;
    deliver(&structure, b"", b"")
}

/// Makes the delivered message of an accepted one.
///
/// `structure` is the scan of what the client sent. The accepted message is `prefix` (trace
/// fields, whole lines) and then what was scanned. The delivered message is `return_path` (the
/// field that final delivery adds, a whole line; empty for APPEND and for drafts), then the
/// accepted message without the `Return-Path` fields it came with (RFC 5321 section 4.4).
pub fn deliver(structure: &Structure, prefix: &[u8], return_path: &[u8]) -> Delivery {
    let layout = Layout::new(structure, prefix, return_path);
    let header = [return_path, prefix, &structure.header].concat();
    let mut email = read_header(&header);
    let added_lines = count_lines(return_path) + count_lines(prefix);
    email.size = layout.size;
    email.lines = (structure.lines + added_lines).saturating_sub(layout.removed_lines);
    email.header_size = layout.moved(structure.root().header).end;
    email.body = wire(|out| body_structure::write(structure, Form::Body, out));
    email.bodystructure = wire(|out| body_structure::write(structure, Form::BodyStructure, out));
    email.parts = number_parts(structure, &layout, email.header_size);
    email.has_attachment = structure.parts.iter().any(|part| {
        part.parent.is_some() && (part.kind == Kind::Message || part.fields.is_attachment())
    });
    Delivery {
        segments: layout.segments,
        email,
    }
}

/// How the delivered message is laid out over the accepted one.
struct Layout {
    segments: Vec<Segment>,
    size: u64,
    /// Octets put in front, and octets cut out of the header.
    added: u64,
    removed: u64,
    removed_lines: u64,
}

impl Layout {
    fn new(structure: &Structure, prefix: &[u8], return_path: &[u8]) -> Self {
        let prefix = prefix.len() as u64;
        let mut segments = Vec::new();
        if !return_path.is_empty() {
            segments.push(Segment::Literal(Bytes::copy_from_slice(return_path)));
        }
        let mut at = 0;
        let mut keep_until = |end: u64, next: u64| {
            if end > at {
                segments.push(Segment::Range(ByteRange::new(at, end)));
            }
            at = next;
        };
        for range in &structure.return_paths {
            keep_until(prefix + range.start, prefix + range.end);
        }
        let end = prefix + structure.size;
        keep_until(end, end);
        let removed: u64 = structure.return_paths.iter().map(|range| range.len()).sum();
        let added = return_path.len() as u64 + prefix;
        Self {
            segments,
            size: added + structure.size - removed,
            added,
            removed,
            removed_lines: structure.return_path_lines,
        }
    }

    /// A range after everything that was cut out, or the letter's header from its start, in the
    /// delivered message.
    fn moved(&self, range: ByteRange) -> ByteRange {
        let start = match range.start {
            0 => 0,
            start => self.added + start - self.removed.min(start),
        };
        ByteRange::new(start, self.added + range.end - self.removed.min(range.end))
    }
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

fn wire(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    write(&mut out);
    out.into()
}

/// What the header says; sizes and structure are left empty.
fn read_header(header: &[u8]) -> Email {
    let fields = EnvelopeFields::parse(header);
    let value = |field: &Option<Vec<u8>>| field.clone().unwrap_or_default();
    let mut references = match first_field(header, "References") {
        Some(field) => message_ids(&field.unfolded(), MAX_REFERENCES),
        None => Vec::new(),
    };
    let in_reply_to = message_ids(&value(&fields.in_reply_to), MAX_REFERENCES);
    if references.is_empty() {
        references.clone_from(&in_reply_to);
    }
    Email {
        size: 0,
        lines: 0,
        header_size: 0,
        envelope: wire(|out| fields.write(out)),
        body: Bytes::new(),
        bodystructure: Bytes::new(),
        parts: Vec::new(),
        message_id: message_ids(&value(&fields.message_id), 1)
            .pop()
            .unwrap_or_default(),
        in_reply_to: in_reply_to.last().cloned().unwrap_or_default(),
        references,
        subject_base: base_subject(&value(&fields.subject)),
        sent_seconds: fields
            .date
            .as_deref()
            .and_then(parse_date)
            .map(|date| date.seconds),
        has_attachment: false,
    }
}

/// Gives every part its number (RFC 3501 section 6.4.5): the parts of a multipart are counted from
/// 1; a message that is not multipart has one part, 1.
fn number_parts(structure: &Structure, layout: &Layout, header_size: u64) -> Vec<Part> {
    let mut parts = Vec::with_capacity(structure.parts.len());
    let root = structure.root();
    let header = ByteRange::new(0, header_size);
    match root.kind {
        Kind::Multipart => number_children(structure, layout, root, &[], &mut parts),
        Kind::Message => {
            parts.push(Part {
                header,
                ..part(layout, root, vec![1])
            });
            number_message(structure, layout, root, &[1], &mut parts);
        }
        Kind::Leaf | Kind::Opaque => parts.push(Part {
            header,
            ..part(layout, root, vec![1])
        }),
    }
    parts
}

/// Recursion is bounded by `Limits::depth`.
fn number_children(
    structure: &Structure,
    layout: &Layout,
    multipart: &ScannedPart,
    path: &[u32],
    parts: &mut Vec<Part>,
) {
    for (number, &child) in (1u32..).zip(&multipart.children) {
        let child = &structure.parts[child];
        let path = extended(path, number);
        parts.push(part(layout, child, path.clone()));
        match child.kind {
            Kind::Multipart => number_children(structure, layout, child, &path, parts),
            Kind::Message => number_message(structure, layout, child, &path, parts),
            Kind::Leaf | Kind::Opaque => {}
        }
    }
}

/// The parts of the message inside the part at `path`.
fn number_message(
    structure: &Structure,
    layout: &Layout,
    message: &ScannedPart,
    path: &[u32],
    parts: &mut Vec<Part>,
) {
    let Some(root) = message
        .children
        .first()
        .map(|&child| &structure.parts[child])
    else {
        return;
    };
    parts.push(part(layout, root, extended(path, 0)));
    match root.kind {
        Kind::Multipart => number_children(structure, layout, root, path, parts),
        Kind::Message => {
            let path = extended(path, 1);
            parts.push(part(layout, root, path.clone()));
            number_message(structure, layout, root, &path, parts);
        }
        Kind::Leaf | Kind::Opaque => parts.push(part(layout, root, extended(path, 1))),
    }
}

fn extended(path: &[u32], number: u32) -> Vec<u32> {
    [path, &[number]].concat()
}

fn part(layout: &Layout, scanned: &ScannedPart, path: Vec<u32>) -> Part {
    let fields = &scanned.fields;
    let content_type = match scanned.kind {
        Kind::Opaque => "application/octet-stream".to_owned(),
        _ => format!(
            "{}/{}",
            fields.content_type.media, fields.content_type.subtype
        ),
    };
    Part {
        path,
        header: layout.moved(scanned.header),
        body: layout.moved(scanned.body),
        encoding: if fields.encoding == "7bit" {
            String::new()
        } else {
            fields.encoding.clone()
        },
        content_type,
        charset: fields.content_type.charset().unwrap_or_default(),
        lines: scanned.lines,
        kind: match scanned.kind {
            Kind::Multipart => PartKind::Multipart,
            Kind::Message => PartKind::Message,
            Kind::Leaf | Kind::Opaque => PartKind::Leaf,
        },
    }
}

//! BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2, RFC 9051 section 7.5.2).

use crate::content::{ContentType, Parameter, PartFields};
use crate::scan::{Kind, ScannedPart, Structure};
use crate::wire::{nstring, string};

/// The two forms of one structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `BODY`: without extension data.
    Body,
    /// `BODYSTRUCTURE`: with it.
    BodyStructure,
}

/// A multipart must have a part; this stands for one that has none.
const EMPTY_PART: &[u8] = b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)";

/// Appends the structure of the letter in wire form.
pub(crate) fn write(structure: &Structure, form: Form, out: &mut Vec<u8>) {
    Writer {
        parts: &structure.parts,
        form,
    }
    .part(structure.root(), out);
}

struct Writer<'a> {
    parts: &'a [ScannedPart],
    form: Form,
}

impl Writer<'_> {
    /// Recursion is bounded by `Limits::depth`.
    fn part(&self, part: &ScannedPart, out: &mut Vec<u8>) {
        out.push(b'(');
        match part.kind {
            Kind::Multipart => self.multipart(part, out),
            Kind::Leaf | Kind::Message | Kind::Opaque => self.single(part, out),
        }
        out.push(b')');
    }

    fn multipart(&self, part: &ScannedPart, out: &mut Vec<u8>) {
        for &child in &part.children {
            self.part(&self.parts[child], out);
        }
        if part.children.is_empty() {
            out.extend_from_slice(EMPTY_PART);
        }
        out.push(b' ');
        string(out, part.fields.content_type.subtype.as_bytes());
        if self.form == Form::BodyStructure {
            out.push(b' ');
            parameters(&part.fields.content_type.parameters, out);
            extension_tail(&part.fields, out);
        }
    }

    fn single(&self, part: &ScannedPart, out: &mut Vec<u8>) {
        let fields = &part.fields;
        let opaque = ContentType::plain("application", "octet-stream");
        let content_type = if part.kind == Kind::Opaque {
            &opaque
        } else {
            &fields.content_type
        };
        string(out, content_type.media.as_bytes());
        out.push(b' ');
        string(out, content_type.subtype.as_bytes());
        out.push(b' ');
        if content_type.media == "text" && content_type.parameter("charset").is_none() {
            // What a text without a charset is in (RFC 2045 section 5.2).
            let mut with_default = vec![("charset".to_owned(), b"us-ascii".to_vec())];
            with_default.extend(content_type.parameters.iter().cloned());
            parameters(&with_default, out);
        } else {
            parameters(&content_type.parameters, out);
        }
        for value in [&fields.id, &fields.description] {
            out.push(b' ');
            nstring(out, value.as_deref());
        }
        out.push(b' ');
        string(out, fields.encoding.as_bytes());
        number(part.body.len(), out);
        if part.kind == Kind::Message {
            self.message(part, out);
        }
        if part.kind == Kind::Message || content_type.media == "text" {
            number(part.lines, out);
        }
        if self.form == Form::BodyStructure {
            out.push(b' ');
            nstring(out, fields.md5.as_deref());
            extension_tail(fields, out);
        }
    }

    /// The ENVELOPE and the structure of the message in a `message/rfc822` part.
    fn message(&self, part: &ScannedPart, out: &mut Vec<u8>) {
        let Some(root) = part.children.first().map(|&child| &self.parts[child]) else {
            return;
        };
        out.push(b' ');
        root.envelope
            .as_deref()
            .unwrap_or(&Default::default())
            .write(out);
        out.push(b' ');
        self.part(root, out);
    }
}

/// Disposition, language and location: what both kinds of part end with.
fn extension_tail(fields: &PartFields, out: &mut Vec<u8>) {
    out.push(b' ');
    match &fields.disposition {
        Some(disposition) => {
            out.push(b'(');
            string(out, disposition.kind.as_bytes());
            out.push(b' ');
            parameters(&disposition.parameters, out);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    match fields.languages.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        [one] => string(out, one.as_bytes()),
        more => list(more.iter().map(String::as_bytes), out),
    }
    out.push(b' ');
    nstring(out, fields.location.as_deref());
}

fn parameters(parameters: &[Parameter], out: &mut Vec<u8>) {
    match parameters {
        [] => out.extend_from_slice(b"NIL"),
        some => list(
            some.iter().flat_map(|(n, v)| [n.as_bytes(), v.as_slice()]),
            out,
        ),
    }
}

fn list<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.push(b'(');
    for (place, value) in values.enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        string(out, value);
    }
    out.push(b')');
}

fn number(number: u64, out: &mut Vec<u8>) {
    // The grammar's numbers have 32 bits.
    let number = number.min(u64::from(u32::MAX));
    out.extend_from_slice(format!(" {number}").as_bytes());
}

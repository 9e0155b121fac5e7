//! Sections of a message, as BODY[…] names them (RFC 3501 section 6.4.5).

use crate::ByteRange;
use crate::email::{Email, Part, PartKind};
use crate::filter::FieldSelection;

/// A section: part numbers, and what of that part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Part numbers; empty is the message itself.
    pub path: Vec<u32>,
    /// What of it.
    pub text: SectionText,
}

/// What of a part or message is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// All of the message, or the part's body: no word after the numbers.
    All,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)` or `HEADER.FIELDS.NOT (…)`
    HeaderFields(FieldSelection),
    /// `TEXT`
    Text,
    /// `MIME`
    Mime,
}

/// Where a section's octets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// These octets of the delivered message.
    Octets(ByteRange),
    /// What a [`FieldFilter`](crate::FieldFilter) with this selection leaves of these octets.
    Filtered(ByteRange, FieldSelection),
}

/// Finds a section in a message; `None` if it has no such section, which FETCH answers with NIL.
pub fn locate(email: &Email, section: &Section) -> Option<Located> {
    let whole = ByteRange::new(0, email.size);
    let header_end = email.header_size.min(email.size);
    let (header, text) = match section.path.as_slice() {
        [] if section.text == SectionText::All => return Some(Located::Octets(whole)),
        [] => (
            ByteRange::new(0, header_end),
            ByteRange::new(header_end, email.size),
        ),
        path => {
            let part = find(email, path)?;
            match section.text {
                SectionText::All => return Some(Located::Octets(part.body)),
                SectionText::Mime => return Some(Located::Octets(part.header)),
                _ if part.kind != PartKind::Message => return None,
                _ => {
                    let message = find(email, &[path, &[0]].concat())?;
                    (message.header, message.body)
                }
            }
        }
    };
    match &section.text {
        SectionText::Header => Some(Located::Octets(header)),
        SectionText::HeaderFields(selection) => Some(Located::Filtered(header, selection.clone())),
        SectionText::Text => Some(Located::Octets(text)),
        // MIME needs part numbers.
        SectionText::Mime | SectionText::All => None,
    }
}

fn find<'a>(email: &'a Email, path: &[u32]) -> Option<&'a Part> {
    email.parts.iter().find(|part| part.path == path)
}

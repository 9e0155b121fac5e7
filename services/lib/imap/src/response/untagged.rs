//! Data about server and mailboxes (RFC 3501 sections 7.2 and 7.3).

use postino_types::{FlagSet, SEPARATOR, SpecialUse};

use crate::command::{Identification, StatusItem, put_pairs};
use crate::string::{LiteralKind, put_astring};
use crate::utf7;

const LITERAL: LiteralKind = LiteralKind::Synchronizing;

/// An attribute of a mailbox in LIST and LSUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListAttribute {
    /// `\Noselect`
    NoSelect,
    /// `\NonExistent` (RFC 5258): implies `\Noselect`
    NonExistent,
    /// `\HasChildren` (RFC 3348)
    HasChildren,
    /// `\HasNoChildren` (RFC 3348)
    HasNoChildren,
    /// `\Subscribed` (RFC 5258)
    Subscribed,
    /// A special use (RFC 6154)
    SpecialUse(SpecialUse),
}

impl ListAttribute {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoSelect => "\\Noselect",
            Self::NonExistent => "\\NonExistent",
            Self::HasChildren => "\\HasChildren",
            Self::HasNoChildren => "\\HasNoChildren",
            Self::Subscribed => "\\Subscribed",
            Self::SpecialUse(special_use) => special_use.attribute(),
        }
    }
}

fn put_line(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(format!("* {line}\r\n").as_bytes());
}

/// `* CAPABILITY …`
pub fn put_capability(out: &mut Vec<u8>, capabilities: &[&str]) {
    put_line(out, &format!("CAPABILITY {}", capabilities.join(" ")));
}

/// `* ENABLED …` (RFC 5161)
pub fn put_enabled(out: &mut Vec<u8>, capabilities: &[&str]) {
    let words = ["ENABLED"].iter().chain(capabilities);
    let words: Vec<&str> = words.copied().collect();
    put_line(out, &words.join(" "));
}

/// `* FLAGS (…)`
pub fn put_flags(out: &mut Vec<u8>, flags: &FlagSet) {
    let names: Vec<&str> = flags.iter().map(|flag| flag.as_str()).collect();
    put_line(out, &format!("FLAGS ({})", names.join(" ")));
}

/// `* n EXISTS`
pub fn put_exists(out: &mut Vec<u8>, count: u32) {
    put_line(out, &format!("{count} EXISTS"));
}

/// `* n RECENT`
pub fn put_recent(out: &mut Vec<u8>, count: u32) {
    put_line(out, &format!("{count} RECENT"));
}

/// `* n EXPUNGE`
pub fn put_expunge(out: &mut Vec<u8>, sequence: u32) {
    put_line(out, &format!("{sequence} EXPUNGE"));
}

/// `* LIST …` or `* LSUB …`; an empty name gives the separator alone (RFC 3501 section 6.3.8).
pub fn put_list(
    out: &mut Vec<u8>,
    kind: crate::command::ListKind,
    attributes: &[ListAttribute],
    name: &str,
) {
    let attributes: Vec<&str> = attributes.iter().map(|a| a.as_str()).collect();
    let head = format!(
        "* {} ({}) \"{SEPARATOR}\" ",
        kind.name(),
        attributes.join(" ")
    );
    out.extend_from_slice(head.as_bytes());
    put_astring(out, &utf7::encode(name), LITERAL);
    out.extend_from_slice(b"\r\n");
}

/// `* STATUS name (…)`
pub fn put_mailbox_status(out: &mut Vec<u8>, name: &str, items: &[(StatusItem, u64)]) {
    out.extend_from_slice(b"* STATUS ");
    put_astring(out, &utf7::encode(name), LITERAL);
    let items: Vec<String> = items
        .iter()
        .map(|(item, value)| format!("{} {value}", item.as_str()))
        .collect();
    out.extend_from_slice(format!(" ({})\r\n", items.join(" ")).as_bytes());
}

/// `* SEARCH …`: sequence numbers or UIDs.
pub fn put_search(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    out.extend_from_slice(b"* SEARCH");
    for number in numbers {
        out.extend_from_slice(format!(" {number}").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// `* NAMESPACE …` (RFC 2342): personal mailboxes without a prefix, and nothing else.
pub fn put_namespace(out: &mut Vec<u8>) {
    put_line(out, &format!("NAMESPACE ((\"\" \"{SEPARATOR}\")) NIL NIL"));
}

/// `* ID …` (RFC 2971)
pub fn put_id(out: &mut Vec<u8>, fields: &[(&str, &str)]) {
    let pairs = fields
        .iter()
        .map(|(field, value)| ((*field).into(), Some((*value).into())));
    out.extend_from_slice(b"* ID ");
    put_pairs(&Identification(pairs.collect()), LITERAL, out);
    out.extend_from_slice(b"\r\n");
}

//! `FETCH` responses (RFC 3501 section 7.4.2), item by item.

use postino_types::{FlagSet, ModSeq, Uid};

use crate::command::FetchItem;
use crate::date::DateTime;
use crate::string::{LiteralKind, put_literal_head};

/// Writes one FETCH response. Between [`FetchWriter::literal`] and the next item the caller sends
/// the announced octets itself; [`FetchWriter::finish`] closes the response.
#[derive(Debug)]
pub struct FetchWriter {
    has_items: bool,
}

impl FetchWriter {
    /// Starts the response for a message.
    pub fn start(out: &mut Vec<u8>, sequence: u32) -> Self {
        out.extend_from_slice(format!("* {sequence} FETCH (").as_bytes());
        Self { has_items: false }
    }

    fn put(&mut self, out: &mut Vec<u8>, text: &str) {
        if self.has_items {
            out.push(b' ');
        }
        self.has_items = true;
        out.extend_from_slice(text.as_bytes());
    }

    /// `FLAGS (…)`
    pub fn flags(&mut self, out: &mut Vec<u8>, flags: &FlagSet, recent: Recent) {
        let mut names: Vec<&str> = flags.iter().map(|flag| flag.as_str()).collect();
        if recent == Recent::Yes {
            names.push("\\Recent");
        }
        self.put(out, &format!("FLAGS ({})", names.join(" ")));
    }

    /// `UID n`
    pub fn uid(&mut self, out: &mut Vec<u8>, uid: Uid) {
        self.put(out, &format!("UID {uid}"));
    }

    /// `MODSEQ (n)`
    pub fn mod_seq(&mut self, out: &mut Vec<u8>, value: ModSeq) {
        self.put(out, &format!("MODSEQ ({value})"));
    }

    /// `INTERNALDATE "…"`
    pub fn internal_date(&mut self, out: &mut Vec<u8>, date: DateTime) {
        self.put(out, &format!("INTERNALDATE \"{date}\""));
    }

    /// `RFC822.SIZE n`
    pub fn size(&mut self, out: &mut Vec<u8>, octets: u64) {
        self.put(out, &format!("RFC822.SIZE {octets}"));
    }

    /// An item whose value is already in wire form: ENVELOPE, BODY, BODYSTRUCTURE.
    pub fn wire(&mut self, out: &mut Vec<u8>, item: &FetchItem, value: &[u8]) {
        self.name(out, item);
        out.extend_from_slice(value);
    }

    /// An item that the message does not have: `NIL`.
    pub fn nil(&mut self, out: &mut Vec<u8>, item: &FetchItem) {
        self.name(out, item);
        out.extend_from_slice(b"NIL");
    }

    /// An item with a value of `octets`, which the caller sends next.
    pub fn literal(&mut self, out: &mut Vec<u8>, item: &FetchItem, octets: u64) {
        self.name(out, item);
        put_literal_head(out, octets, LiteralKind::Synchronizing);
    }

    fn name(&mut self, out: &mut Vec<u8>, item: &FetchItem) {
        self.put(out, "");
        item.encode_name(out);
        out.push(b' ');
    }

    /// Ends the response.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b")\r\n");
    }
}

/// Whether a message is `\Recent` in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recent {
    /// This session was the first to see it.
    Yes,
    /// It was not.
    No,
}

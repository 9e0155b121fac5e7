//! ENVELOPE (RFC 3501 section 7.4.2, RFC 9051 section 7.5.2).

use crate::address::{AddressItem, addresses};
use crate::header::{Field, fields};
use crate::wire::{nstring, string};

/// What stands for a part that an address lacks: NIL would say that a group starts.
const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// The header fields that make an ENVELOPE: unfolded, encoded words kept. Where a field comes
/// twice, the first counts; address lists are put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvelopeFields {
    /// `Date`
    pub date: Option<Vec<u8>>,
    /// `Subject`
    pub subject: Option<Vec<u8>>,
    /// `From`
    pub from: Option<Vec<u8>>,
    /// `Sender`
    pub sender: Option<Vec<u8>>,
    /// `Reply-To`
    pub reply_to: Option<Vec<u8>>,
    /// `To`
    pub to: Option<Vec<u8>>,
    /// `Cc`
    pub cc: Option<Vec<u8>>,
    /// `Bcc`
    pub bcc: Option<Vec<u8>>,
    /// `In-Reply-To`
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID`
    pub message_id: Option<Vec<u8>>,
}

impl EnvelopeFields {
    /// Picks the fields out of a header block.
    pub(crate) fn parse(block: &[u8]) -> Self {
        let mut found = Self::default();
        for field in fields(block) {
            match field.name.to_ascii_lowercase().as_slice() {
                b"date" => keep_first(&mut found.date, &field),
                b"subject" => keep_first(&mut found.subject, &field),
                b"from" => append(&mut found.from, &field),
                b"sender" => append(&mut found.sender, &field),
                b"reply-to" => append(&mut found.reply_to, &field),
                b"to" => append(&mut found.to, &field),
                b"cc" => append(&mut found.cc, &field),
                b"bcc" => append(&mut found.bcc, &field),
                b"in-reply-to" => keep_first(&mut found.in_reply_to, &field),
                b"message-id" => keep_first(&mut found.message_id, &field),
                _ => {}
            }
        }
        found
    }

    /// Appends the ENVELOPE in wire form, with its parentheses.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let from = AddressList::of(self.from.as_deref());
        let sender = AddressList::of(self.sender.as_deref());
        let reply_to = AddressList::of(self.reply_to.as_deref());
        out.push(b'(');
        nstring(out, self.date.as_deref());
        out.push(b' ');
        nstring(out, self.subject.as_deref());
        // The server fills in who is missing (RFC 3501 section 7.4.2).
        for list in [&from, sender.or(&from), reply_to.or(&from)] {
            out.push(b' ');
            list.write(out);
        }
        for list in [&self.to, &self.cc, &self.bcc] {
            out.push(b' ');
            AddressList::of(list.as_deref()).write(out);
        }
        for value in [&self.in_reply_to, &self.message_id] {
            out.push(b' ');
            nstring(out, value.as_deref());
        }
        out.push(b')');
    }
}

fn keep_first(slot: &mut Option<Vec<u8>>, field: &Field<'_>) {
    slot.get_or_insert_with(|| field.unfolded().into_owned());
}

fn append(slot: &mut Option<Vec<u8>>, field: &Field<'_>) {
    match slot {
        Some(list) => {
            list.extend_from_slice(b", ");
            list.extend_from_slice(&field.unfolded());
        }
        None => *slot = Some(field.unfolded().into_owned()),
    }
}

struct AddressList(Vec<AddressItem>);

impl AddressList {
    fn of(value: Option<&[u8]>) -> Self {
        Self(value.map(addresses).unwrap_or_default())
    }

    fn or<'a>(&'a self, other: &'a Self) -> &'a Self {
        if self.0.is_empty() { other } else { self }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            out.extend_from_slice(b"NIL");
            return;
        }
        out.push(b'(');
        for item in &self.0 {
            write_item(item, out);
        }
        out.push(b')');
    }
}

fn write_item(item: &AddressItem, out: &mut Vec<u8>) {
    let mailbox = match item {
        AddressItem::GroupStart(name) => {
            out.extend_from_slice(b"(NIL NIL ");
            string(out, name);
            out.extend_from_slice(b" NIL)");
            return;
        }
        AddressItem::GroupEnd => {
            out.extend_from_slice(b"(NIL NIL NIL NIL)");
            return;
        }
        AddressItem::Mailbox(mailbox) => mailbox,
    };
    out.push(b'(');
    nstring(out, mailbox.name.as_deref());
    out.push(b' ');
    nstring(out, mailbox.route.as_deref());
    out.push(b' ');
    string(
        out,
        if mailbox.local.is_empty() {
            MISSING_MAILBOX
        } else {
            &mailbox.local
        },
    );
    out.push(b' ');
    string(out, mailbox.domain.as_deref().unwrap_or(MISSING_DOMAIN));
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(header: &[u8]) -> String {
        let mut out = Vec::new();
        EnvelopeFields::parse(header).write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    /// The example of RFC 3501 section 8.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let header = b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
            From: Terry Gray <gray@cac.washington.edu>\r\n\
            Subject: IMAP4rev1 WG mtg summary and minutes\r\n\
            To: imap@cac.washington.edu\r\n\
            cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
            Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n";
        assert_eq!(
            envelope(header),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \
             \"IMAP4rev1 WG mtg summary and minutes\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((NIL NIL \"imap\" \"cac.washington.edu\")) \
             ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")\
             (\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
             \"<B27397-0100000@cac.washington.edu>\")"
        );
    }

    #[test]
    fn missing_is_nil_and_empty_is_empty() {
        assert_eq!(envelope(b""), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        assert_eq!(
            envelope(b"Subject:\r\nTo:\r\n"),
            "(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)"
        );
    }

    #[test]
    fn groups_raw_octets_and_broken_addresses() {
        assert_eq!(
            envelope("Subject: é\r\nTo: g: a;\r\nTo: <@x:>\r\nReply-To: r@s\r\n".as_bytes()),
            "(NIL {2}\r\né NIL NIL ((NIL NIL \"r\" \"s\")) \
             ((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"MISSING_DOMAIN\")(NIL NIL NIL NIL)\
             (NIL \"@x\" \"MISSING_MAILBOX\" \"MISSING_DOMAIN\")) NIL NIL NIL NIL)"
        );
    }
}

//! `APPEND` up to its message (RFC 3501 section 6.3.11).

use postino_types::FlagSet;

use super::{Mailbox, parse_flags};
use crate::cursor::{Cursor, Parsed, SyntaxError};
use crate::date::DateTime;
use crate::string::{LiteralKind, put_literal_head};
use crate::tag::Tag;

/// What stands before the message of an `APPEND`.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendHead {
    /// Where the message goes.
    pub mailbox: Mailbox,
    /// Its flags.
    pub flags: FlagSet,
    /// Its INTERNALDATE, unless it is the time of arrival.
    pub internal_date: Option<DateTime>,
}

impl AppendHead {
    /// Reads ` mailbox [flags] [date] `, up to the announcement of the literal.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mailbox = Mailbox::parse_argument(cursor)?;
        cursor.space()?;
        let flags = match cursor.peek() {
            Some(b'(') => {
                let flags = parse_flags(cursor)?;
                cursor.space()?;
                flags
            }
            _ => FlagSet::new(),
        };
        let internal_date = match cursor.peek() {
            Some(b'"') => {
                let date = DateTime::parse(cursor)?;
                cursor.space()?;
                Some(date)
            }
            _ => None,
        };
        match cursor.is_at_end() {
            true => Ok(Self {
                mailbox,
                flags,
                internal_date,
            }),
            false => Err(SyntaxError("the message has to be a literal")),
        }
    }

    /// Writes the command up to its message of `octets`, which the caller writes next, and then a
    /// line end.
    pub fn encode(&self, tag: &Tag, octets: u64, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(tag.as_str().as_bytes());
        out.push(b' ');
        self.mailbox.encode_argument("APPEND", literals, out);
        out.push(b' ');
        if !self.flags.is_empty() {
            super::store::encode_flags(&self.flags, out);
            out.push(b' ');
        }
        if let Some(date) = self.internal_date {
            out.extend_from_slice(format!("\"{date}\" ").as_bytes());
        }
        put_literal_head(out, octets, literals);
    }
}

//! The small row of a message: `Mailbox account, 6, mailbox, UID`.

use bytes::Bytes;
use postino_proto::store::v1 as proto;

use super::mailbox::MailboxRow;
use super::{Range, fixed};
use crate::db::{DbError, Key, Space};

pub(crate) const MESSAGE: u8 = 6;

/// `\Seen` in the system flags.
pub(crate) const SEEN: u8 = 1;
/// `\Deleted` in the system flags.
pub(crate) const DELETED: u8 = 8;
/// Every system flag.
pub(crate) const SYSTEM: u8 = 31;

/// A message in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MessageRow {
    pub(crate) email: u64,
    pub(crate) system_flags: u8,
    pub(crate) keywords: u64,
    pub(crate) mod_seq: u64,
    pub(crate) size: u64,
    /// INTERNALDATE, Unix milliseconds, and its zone in minutes.
    pub(crate) date_ms: i64,
    pub(crate) date_offset: i16,
}

impl MessageRow {
    pub(crate) fn encode(&self) -> Bytes {
        fixed(&[
            &self.email.to_be_bytes(),
            &[self.system_flags],
            &self.keywords.to_be_bytes(),
            &self.mod_seq.to_be_bytes(),
            &self.size.to_be_bytes(),
            &self.date_ms.to_be_bytes(),
            &self.date_offset.to_be_bytes(),
        ])
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, DbError> {
        let row: &[u8; 44] = row
            .try_into()
            .map_err(|_| DbError::corrupt("the row of a message"))?;
        let [1, row @ ..] = row else {
            return Err(DbError::corrupt("the format of a message's row"));
        };
        let (email, row) = number(row);
        let (system_flags, row) = (row[0], &row[1..]);
        let (keywords, row) = number(row);
        let (mod_seq, row) = number(row);
        let (size, row) = number(row);
        let (date_ms, row) = number(row);
        Ok(Self {
            email: u64::from_be_bytes(email),
            system_flags,
            keywords: u64::from_be_bytes(keywords),
            mod_seq: u64::from_be_bytes(mod_seq),
            size: u64::from_be_bytes(size),
            date_ms: i64::from_be_bytes(date_ms),
            date_offset: i16::from_be_bytes([row[0], row[1]]),
        })
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.system_flags & SEEN == 0
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.system_flags & DELETED != 0
    }

    /// As the API shows it; keywords are bits of `mailbox`.
    pub(crate) fn shown(&self, uid: u32, mailbox: &MailboxRow) -> proto::MessageRow {
        proto::MessageRow {
            uid,
            email: self.email,
            system_flags: u32::from(self.system_flags),
            keywords: mailbox.keyword_names(self.keywords),
            mod_seq: self.mod_seq,
            size: self.size,
            internal_date_ms: self.date_ms,
            internal_date_offset: i32::from(self.date_offset),
        }
    }
}

/// The next eight bytes of a row whose length is known to suffice.
fn number(row: &[u8]) -> ([u8; 8], &[u8]) {
    let (number, rest) = row
        .split_first_chunk()
        .expect("the row has its fixed length");
    (*number, rest)
}

pub(crate) fn message(space: Space, account: u64, mailbox: u64, uid: u32) -> Key {
    prefix(space, account, mailbox).u32(uid)
}

fn prefix(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(MESSAGE).u64(mailbox)
}

pub(crate) fn all(space: Space, account: u64, mailbox: u64) -> Range {
    Range::prefix(prefix(space, account, mailbox))
}

/// Messages with UIDs from `first` to `last`, both included.
pub(crate) fn between(space: Space, account: u64, mailbox: u64, first: u32, last: u32) -> Range {
    let range = all(space, account, mailbox).from(message(space, account, mailbox, first));
    match last.checked_add(1) {
        Some(end) => range.below(message(space, account, mailbox, end)),
        None => range,
    }
}

//! Immutable emails, and who still refers to their octets.
//!
//! | key                           | value                                                |
//! |-------------------------------|------------------------------------------------------|
//! | Email 1, email                | [`EmailRow`]                                         |
//! | Email 2, email                | how many messages show it; absent: one               |
//! | Email 3, index, number, offset| how many rows hold the body that starts there; absent: one |
//! | Email 4                       | was: garbage, before pieces were counted             |
//! | Email 5, index, number        | how many pieces of that body have an owner; absent: one |
//! | Email 6, account, email       | nothing: the email came ahead of an account that moves here, which counts as a message |
//!
//! Bodies lie in their own family, under the log index that brought them; state only ever holds
//! [`BodyPart`]s, and purging the log leaves them alone. A command may bring one body with several
//! pieces, each owned by another letter; its octets go when the last piece has lost its owner.

use bytes::Bytes;

use super::{Range, Rows, last_u64};
use crate::db::{DbError, Family, Key, Space};

pub(crate) const EMAIL: u8 = 1;
const EMAIL_REFS: u8 = 2;
const BODY_REFS: u8 = 3;
const BODY_PIECES: u8 = 5;
const AHEAD: u8 = 6;

/// A stored email: its content, and where its octets are.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EmailRow {
    /// `EmailContent`.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) content: Bytes,
    /// The accepted message.
    #[prost(message, repeated, tag = "2")]
    pub(crate) body: Vec<BodyPart>,
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
}

/// A range of one row of the bodies: `length` octets from `offset` of the body that came with
/// command `number` of the entry at `index`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub(crate) struct BodyPart {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) number: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) length: u64,
}

impl BodyPart {
    fn tail(&self, key: Key) -> Key {
        key.u64(self.index).u32(self.number).u64(self.offset)
    }
}

pub(crate) fn email(space: Space, email: u64) -> Key {
    space.key().u8(EMAIL).u64(email)
}

pub(crate) fn email_refs(space: Space, email: u64) -> Key {
    space.key().u8(EMAIL_REFS).u64(email)
}

/// Under this, a body's references are counted: by its first part.
pub(crate) fn body_refs(space: Space, first: &BodyPart) -> Key {
    first.tail(space.key().u8(BODY_REFS))
}

/// Under this, the pieces of one body are counted that have an owner.
pub(crate) fn body_pieces(space: Space, index: u64, number: u32) -> Key {
    space.key().u8(BODY_PIECES).u64(index).u32(number)
}

/// That an email came ahead of the account that it belongs to.
pub(crate) fn ahead(space: Space, account: u64, email: u64) -> Key {
    space.key().u8(AHEAD).u64(account).u64(email)
}

/// All emails that came ahead of an account.
pub(crate) fn ahead_all(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u8(AHEAD).u64(account))
}

#[cfg(test)]
pub(crate) fn emails_all(space: Space) -> Range {
    Range::prefix(space.key().u8(EMAIL))
}

/// The email with this id.
pub(crate) fn find(rows: &impl Rows, space: Space, id: u64) -> Result<Option<EmailRow>, DbError> {
    rows.row(Family::Email, email(space, id))
}

/// A count of references, where none is written for one.
pub(crate) fn count(rows: &impl Rows, key: Key) -> Result<u64, DbError> {
    let row = rows.get(Family::Email, key)?;
    row.map_or(Ok(1), |row| last_u64(&row))
}

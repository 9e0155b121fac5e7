//! Rows of accounts on their mail shard.
//!
//! | key                 | value                |
//! |---------------------|----------------------|
//! | Mailbox account, 1  | [`AccountRow`]       |
//! | Mailbox account, 2  | `Credential`         |

use postino_proto::store::v1::Credential;

use super::Rows;
use crate::db::{DbError, Family, Key, Space};

pub(crate) const ACCOUNT: u8 = 1;
const CREDENTIAL: u8 = 2;

/// An account: what it uses, what it may use, and its counters.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AccountRow {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    /// Removed. The row stays, so that a late command cannot bring the account back.
    #[prost(bool, tag = "2")]
    pub(crate) gone: bool,
    /// The highest mod-sequence of any of its mailboxes.
    #[prost(uint64, tag = "3")]
    pub(crate) highest_mod_seq: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) last_mailbox: u64,
    #[prost(uint32, tag = "5")]
    pub(crate) last_uid_validity: u32,
    #[prost(uint64, tag = "6")]
    pub(crate) octets: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) messages: u64,
    /// 0: no limit.
    #[prost(uint64, tag = "8")]
    pub(crate) quota_octets: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) quota_messages: u64,
    #[prost(uint32, tag = "10")]
    pub(crate) mailboxes: u32,
}

impl AccountRow {
    /// Whether so much more fits.
    pub(crate) fn has_room(&self, octets: u64, messages: u64) -> bool {
        let fits = |used: u64, more: u64, quota: u64| {
            quota == 0 || used.checked_add(more).is_some_and(|sum| sum <= quota)
        };
        fits(self.octets, octets, self.quota_octets)
            && fits(self.messages, messages, self.quota_messages)
    }
}

pub(crate) fn account(space: Space, account: u64) -> Key {
    space.key().u64(account).u8(ACCOUNT)
}

pub(crate) fn credential(space: Space, account: u64) -> Key {
    space.key().u64(account).u8(CREDENTIAL)
}

/// The account, unless it is gone or never was.
pub(crate) fn find(rows: &impl Rows, space: Space, id: u64) -> Result<Option<AccountRow>, DbError> {
    let row: Option<AccountRow> = rows.row(Family::Mailbox, account(space, id))?;
    Ok(row.filter(|row| !row.gone))
}

/// Its credential.
pub(crate) fn find_credential(
    rows: &impl Rows,
    space: Space,
    id: u64,
) -> Result<Option<Credential>, DbError> {
    rows.row(Family::Mailbox, credential(space, id))
}

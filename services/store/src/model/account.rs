//! Rows of accounts on their mail shard.
//!
//! | key                 | value                |
//! |---------------------|----------------------|
//! | Mailbox account, 1  | [`AccountRow`]       |
//! | Mailbox account, 2  | `Credential`         |

use postino_proto::store::v1::Credential;
use postino_types::ShardId;

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
    /// The move that takes it away: it can be neither changed nor read.
    #[prost(uint64, tag = "11")]
    pub(crate) leaving: u64,
    /// The move that brings it: it is not here yet.
    #[prost(uint64, tag = "12")]
    pub(crate) coming: u64,
    /// The last move that brought it here or took it away. What belongs to an earlier one is late.
    #[prost(uint64, tag = "13")]
    pub(crate) last_move: u64,
    /// With `gone`: the shard that it moved to; 0: it was removed.
    #[prost(uint32, tag = "14")]
    pub(crate) moved_to: u32,
}

/// How an account stands with a shard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    Here(AccountRow),
    /// It is being moved to another shard, and belongs to neither for the moment.
    Moving,
    /// It lives on another shard.
    Moved(ShardId),
    /// It was removed, never was, or is not here yet.
    Absent,
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

/// The account's row, whatever it says.
pub(crate) fn row(rows: &impl Rows, space: Space, id: u64) -> Result<Option<AccountRow>, DbError> {
    rows.row(Family::Mailbox, account(space, id))
}

/// How an account stands.
pub(crate) fn standing(rows: &impl Rows, space: Space, id: u64) -> Result<Standing, DbError> {
    Ok(match row(rows, space, id)? {
        Some(row) if row.gone && row.moved_to != 0 => Standing::Moved(ShardId::new(row.moved_to)),
        Some(row) if row.gone || row.coming != 0 => Standing::Absent,
        Some(row) if row.leaving != 0 => Standing::Moving,
        Some(row) => Standing::Here(row),
        None => Standing::Absent,
    })
}

/// Its credential.
pub(crate) fn find_credential(
    rows: &impl Rows,
    space: Space,
    id: u64,
) -> Result<Option<Credential>, DbError> {
    rows.row(Family::Mailbox, credential(space, id))
}

//! What changes about the rows of a backup when a new cluster begins with them.
//!
//! | rows                         | in the new cluster                                             |
//! |------------------------------|----------------------------------------------------------------|
//! | nodes, replicas, moves       | left out: the new cluster has its own                          |
//! | leases                       | nobody holds them; the epochs go on                            |
//! | uploads and their chunks     | left out, bodies included: whoever sent them is gone           |
//! | marks of appends             | left out: they name UIDVALIDITYs of before                     |
//! | mailboxes                    | new UIDVALIDITYs, since UIDs were given since that are not here|
//! | the shard                    | no hold; nothing leaves for other servers until released       |
//!
//! All else stays as it is: marks of accepted and of filed letters above all, so that what comes a
//! second time is known.

use std::collections::HashSet;

use bytes::Bytes;
use postino_types::ShardId;

use super::references::place;
use crate::db::{DbError, Family};
use crate::levels;
use crate::model::account::{self, AccountRow};
use crate::model::mailbox::{self, MailboxRow};
use crate::model::spool::{self, BodyPart, LeaseRow, ShardRow};
use crate::model::{decode, directory, encode, last_u64};

/// UIDVALIDITYs are times in seconds, and one account that makes many mailboxes at once runs ahead
/// of the clock. The old cluster may have done so since the backup: this far ahead, it has not.
const AHEAD: u32 = 3600;

/// Changes the rows of one shard, as they come in their order.
pub(crate) struct Renewal {
    shard: ShardId,
    now_s: u32,
    /// Bodies of uploads.
    dropped: HashSet<(u64, u32)>,
    /// The account whose rows come, and the next UIDVALIDITY in it.
    account: (u64, u32),
}

impl Renewal {
    /// For a shard that is restored at this time.
    pub(crate) fn new(shard: ShardId, now_ms: u64) -> Self {
        Self {
            shard,
            now_s: u32::try_from(now_ms / 1000).unwrap_or(u32::MAX),
            dropped: HashSet::new(),
            account: (0, 0),
        }
    }

    /// What becomes of a row; `None` leaves it out.
    pub(crate) fn row(
        &mut self,
        family: Family,
        key: &[u8],
        value: Bytes,
    ) -> Result<Option<Bytes>, DbError> {
        let tag = key.first();
        match (family, tag) {
            (
                Family::Directory,
                Some(&directory::NODE | &directory::REPLICAS | &directory::MOVE),
            )
            | (Family::Dedupe, Some(&spool::APPENDED | &spool::APPENDED_AT))
            | (Family::Spool, Some(&spool::UPLOAD)) => Ok(None),
            (Family::Spool, Some(&spool::CHUNK)) => {
                let part: BodyPart = decode(value)?;
                self.dropped.insert((part.index, part.number));
                Ok(None)
            }
            (Family::Spool, Some(&spool::LEASE)) => {
                let lease = LeaseRow {
                    holder: String::new(),
                    ..decode(value)?
                };
                Ok(Some(encode(&lease)))
            }
            (Family::Spool, Some(&spool::SHARD)) => Ok(Some(encode(&self.renewed(decode(value)?)))),
            (Family::Mailbox, _) => self.mailbox(key, value).map(Some),
            (Family::Bodies, _) if self.dropped.contains(&place(key)?) => Ok(None),
            _ => Ok(Some(value)),
        }
    }

    /// The row of the shard as a whole, which every mail shard has: the hold for the cut is in it.
    fn renewed(&self, row: ShardRow) -> ShardRow {
        ShardRow {
            hold: None,
            // What the row says is not to be read by an older build.
            feature_level: row.feature_level.max(levels::BACKUPS),
            remote_held: !self.shard.is_control(),
            ..row
        }
    }

    /// An account's own row comes before those of its mailboxes.
    fn mailbox(&mut self, key: &[u8], value: Bytes) -> Result<Bytes, DbError> {
        let (id, tag) = key
            .split_at_checked(8)
            .ok_or_else(|| DbError::corrupt("the key of an account"))?;
        let id = last_u64(id)?;
        match tag.first() {
            Some(&account::ACCOUNT) => {
                let mut row: AccountRow = decode(value)?;
                let first = self.now_s.saturating_add(AHEAD);
                let first = first.max(row.last_uid_validity.saturating_add(1));
                self.account = (id, first);
                row.last_uid_validity = first.saturating_add(row.mailboxes);
                Ok(encode(&row))
            }
            Some(&mailbox::MAILBOX) => {
                let mut row: MailboxRow = decode(value)?;
                if self.account.0 != id {
                    return Err(DbError::corrupt("a mailbox without an account"));
                }
                row.uid_validity = self.account.1;
                self.account.1 = self.account.1.saturating_add(1);
                Ok(encode(&row))
            }
            _ => Ok(value),
        }
    }
}

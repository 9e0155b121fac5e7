//! Rows of mailboxes.
//!
//! | key                                       | value                                   |
//! |-------------------------------------------|-----------------------------------------|
//! | Mailbox account, 3, mailbox               | [`MailboxRow`]                          |
//! | Mailbox account, 4, name                  | mailbox id                              |
//! | Mailbox account, 5, name                  | nothing: subscribed                     |
//! | Mailbox account, 7, mailbox, UID          | nothing: has \Deleted                   |
//! | Mailbox account, 8, mailbox, first UID    | last UID: a run of UIDs that is closed  |
//! | Change account, 1, mailbox, modseq, UID   | nothing: last changed then              |
//! | Change account, 2, mailbox, modseq, first | last UID: expunged then                 |
//!
//! SELECT and STATUS read the mailbox row alone. The UIDs of a mailbox are the closed runs and the
//! open one, from `run_first` to the last UID; appending touches no run.

use postino_proto::store::v1::UidRange;

use super::{Range, Rows, decode, last_u32, last_u64};
use crate::db::{DbError, Family, Key, Space};

pub(crate) const MAILBOX: u8 = 3;
const NAME: u8 = 4;
const SUBSCRIBED: u8 = 5;
const DELETED: u8 = 7;
const RUN: u8 = 8;
const CHANGED: u8 = 1;
const EXPUNGED: u8 = 2;

/// The id of every account's INBOX, which is never renamed away.
pub(crate) const INBOX: u64 = 1;

/// How many keywords a mailbox has room for: the bits of a message's row.
pub(crate) const MAX_KEYWORDS: usize = 64;

/// A mailbox: its counters and counts.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MailboxRow {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) uid_validity: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) uid_next: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) highest_mod_seq: u64,
    #[prost(uint32, tag = "5")]
    pub(crate) exists: u32,
    #[prost(uint32, tag = "6")]
    pub(crate) unseen: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) deleted: u32,
    #[prost(uint64, tag = "8")]
    pub(crate) size: u64,
    /// The first UID that no session has claimed as \Recent.
    #[prost(uint32, tag = "9")]
    pub(crate) recent_floor: u32,
    /// No message below this UID is unseen.
    #[prost(uint32, tag = "10")]
    pub(crate) unseen_floor: u32,
    /// Where the open run of UIDs starts.
    #[prost(uint32, tag = "11")]
    pub(crate) run_first: u32,
    /// `SpecialUse` of the store's API.
    #[prost(int32, tag = "12")]
    pub(crate) special_use: i32,
    /// The keyword of each bit; a bit with count 0 is free.
    #[prost(message, repeated, tag = "13")]
    pub(crate) keywords: Vec<KeywordRow>,
    /// Tombstones of this mod-sequence and older may be missing.
    #[prost(uint64, tag = "14")]
    pub(crate) tombstone_floor: u64,
}

/// A keyword and how many messages have it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeywordRow {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) count: u32,
}

impl MailboxRow {
    /// A new, empty one.
    pub(crate) fn new(name: &str, uid_validity: u32, special_use: i32) -> Self {
        Self {
            name: name.to_owned(),
            uid_validity,
            uid_next: 1,
            recent_floor: 1,
            unseen_floor: 1,
            run_first: 1,
            special_use,
            ..Self::default()
        }
    }

    /// The keywords of a set of bits.
    pub(crate) fn keyword_names(&self, bits: u64) -> Vec<String> {
        let has = |(bit, _): &(usize, _)| bits & (1 << bit) != 0;
        let bits = self.keywords.iter().enumerate().take(MAX_KEYWORDS);
        bits.filter(has)
            .map(|(_, keyword)| keyword.name.clone())
            .collect()
    }

    /// The keywords that some message has.
    pub(crate) fn keywords_in_use(&self) -> Vec<String> {
        let used = self.keywords.iter().filter(|keyword| keyword.count > 0);
        used.map(|keyword| keyword.name.clone()).collect()
    }

    /// The bits of those keywords that are known here; others no message has.
    pub(crate) fn known_bits(&self, names: &[String]) -> u64 {
        let known = |name: &String| self.keywords.iter().position(|known| known.name == *name);
        names
            .iter()
            .filter_map(known)
            .fold(0, |bits, bit| bits | 1 << bit)
    }

    /// The bits of these keywords, making room for new ones; `None` if there is none.
    pub(crate) fn bits(&mut self, names: &[String]) -> Option<u64> {
        let mut bits = 0;
        for name in names {
            let known = self.keywords.iter().position(|known| known.name == *name);
            let bit = match known {
                Some(bit) => bit,
                None => self.new_bit(name, bits)?,
            };
            bits |= 1 << bit;
        }
        Some(bits)
    }

    /// A bit that is free and not among `taken`.
    fn new_bit(&mut self, name: &str, taken: u64) -> Option<usize> {
        let new = KeywordRow {
            name: name.to_owned(),
            count: 0,
        };
        let mut bits = self.keywords.iter().enumerate();
        let free = bits.find(|(bit, old)| old.count == 0 && taken & (1 << bit) == 0);
        match free.map(|(bit, _)| bit) {
            Some(bit) => {
                self.keywords[bit] = new;
                Some(bit)
            }
            None if self.keywords.len() < MAX_KEYWORDS => {
                self.keywords.push(new);
                Some(self.keywords.len() - 1)
            }
            None => None,
        }
    }
}

pub(crate) fn mailbox(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(MAILBOX).u64(mailbox)
}

pub(crate) fn mailboxes(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u64(account).u8(MAILBOX))
}

/// Every mailbox of an account, by its id.
pub(crate) fn all(
    rows: &impl Rows,
    space: Space,
    account: u64,
) -> Result<Vec<(u64, MailboxRow)>, DbError> {
    let found = rows.page(Family::Mailbox, &mailboxes(space, account), usize::MAX)?;
    let found = found.into_iter();
    found
        .map(|(key, row)| Ok((last_u64(&key)?, decode(row)?)))
        .collect()
}

pub(crate) fn name(space: Space, account: u64, name: &str) -> Key {
    space.key().u64(account).u8(NAME).text(name)
}

pub(crate) fn names(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u64(account).u8(NAME))
}

pub(crate) fn subscribed(space: Space, account: u64, name: &str) -> Key {
    space.key().u64(account).u8(SUBSCRIBED).text(name)
}

pub(crate) fn subscriptions(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u64(account).u8(SUBSCRIBED))
}

/// The name at the end of a key of names or subscriptions.
pub(crate) fn parse_name(space: Space, key: &[u8]) -> Result<String, DbError> {
    let start = space.key().u64(0).u8(NAME).as_slice().len();
    let text = key.get(start..key.len().saturating_sub(1));
    let text = text.and_then(|name| std::str::from_utf8(name).ok());
    text.map(str::to_owned)
        .ok_or_else(|| DbError::corrupt("a mailbox name in a key"))
}

pub(crate) fn deleted(space: Space, account: u64, mailbox: u64, uid: u32) -> Key {
    deleted_prefix(space, account, mailbox).u32(uid)
}

fn deleted_prefix(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(DELETED).u64(mailbox)
}

pub(crate) fn deleted_all(space: Space, account: u64, mailbox: u64) -> Range {
    Range::prefix(deleted_prefix(space, account, mailbox))
}

fn run_prefix(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(RUN).u64(mailbox)
}

pub(crate) fn run(space: Space, account: u64, mailbox: u64, first: u32) -> Key {
    run_prefix(space, account, mailbox).u32(first)
}

pub(crate) fn runs(space: Space, account: u64, mailbox: u64) -> Range {
    Range::prefix(run_prefix(space, account, mailbox))
}

pub(crate) fn changed(space: Space, account: u64, mailbox: u64, mod_seq: u64, uid: u32) -> Key {
    changed_since(space, account, mailbox, mod_seq).u32(uid)
}

fn changed_since(space: Space, account: u64, mailbox: u64, mod_seq: u64) -> Key {
    changed_prefix(space, account, mailbox).u64(mod_seq)
}

fn changed_prefix(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(CHANGED).u64(mailbox)
}

pub(crate) fn changed_all(space: Space, account: u64, mailbox: u64) -> Range {
    Range::prefix(changed_prefix(space, account, mailbox))
}

/// The changes after a mod-sequence.
pub(crate) fn changes(space: Space, account: u64, mailbox: u64, since: u64) -> Range {
    changed_all(space, account, mailbox).from(changed_since(
        space,
        account,
        mailbox,
        since.saturating_add(1),
    ))
}

/// Mod-sequence and UID of a key of changes.
pub(crate) fn parse_change(key: &[u8]) -> Result<(u64, u32), DbError> {
    let uid = last_u32(key)?;
    Ok((last_u64(&key[..key.len() - 4])?, uid))
}

fn expunged_prefix(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u64(account).u8(EXPUNGED).u64(mailbox)
}

pub(crate) fn expunged(space: Space, account: u64, mailbox: u64, mod_seq: u64, first: u32) -> Key {
    expunged_prefix(space, account, mailbox)
        .u64(mod_seq)
        .u32(first)
}

pub(crate) fn expunged_all(space: Space, account: u64, mailbox: u64) -> Range {
    Range::prefix(expunged_prefix(space, account, mailbox))
}

/// The tombstones after a mod-sequence.
pub(crate) fn tombstones(space: Space, account: u64, mailbox: u64, since: u64) -> Range {
    let from = expunged_prefix(space, account, mailbox).u64(since.saturating_add(1));
    expunged_all(space, account, mailbox).from(from)
}

/// The mailbox with this id.
pub(crate) fn find(
    rows: &impl Rows,
    space: Space,
    account: u64,
    id: u64,
) -> Result<Option<MailboxRow>, DbError> {
    rows.row(Family::Mailbox, mailbox(space, account, id))
}

/// The id of the mailbox with this name.
pub(crate) fn find_named(
    rows: &impl Rows,
    space: Space,
    account: u64,
    text: &str,
) -> Result<Option<u64>, DbError> {
    let row = rows.get(Family::Mailbox, name(space, account, text))?;
    row.map(|row| last_u64(&row)).transpose()
}

/// All UIDs of a mailbox.
pub(crate) fn uid_runs(
    rows: &impl Rows,
    space: Space,
    account: u64,
    id: u64,
    row: &MailboxRow,
) -> Result<Vec<UidRange>, DbError> {
    let mut found = Vec::new();
    rows.visit(
        Family::Mailbox,
        &runs(space, account, id),
        &mut |key, value| {
            found.push(UidRange {
                first: last_u32(key)?,
                last: last_u32(value)?,
            });
            Ok(super::Flow::Continue(()))
        },
    )?;
    if row.run_first < row.uid_next {
        found.push(UidRange {
            first: row.run_first,
            last: row.uid_next - 1,
        });
    }
    Ok(found)
}

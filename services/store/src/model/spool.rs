//! Rows of the delivery queue.
//!
//! | key                                    | value                                     |
//! |----------------------------------------|-------------------------------------------|
//! | Spool 1, queue-id                      | [`LetterRow`]                             |
//! | Spool 2, queue-id, recipient           | `RecipientState`                          |
//! | Spool 3, due ms, queue-id              | nothing                                   |
//! | Spool 4, queue-id                      | [`MarkRow`]: accepted, and how, or never  |
//! | Spool 5, queue-id                      | [`ProgressRow`]                           |
//! | Spool 6                                | [`LeaseRow`]                              |
//! | Spool 7, upload-id                     | [`UploadRow`]                             |
//! | Spool 8, upload-id, number             | [`BodyPart`]                              |
//! | Spool 9                                | [`ShardRow`]                              |
//! | Spool 10, account, mailbox             | nothing: a removed mailbox to be emptied  |
//! | Dedupe 1, queue-id turned, recipient   | filed, and for which account (level 3)    |
//! | Dedupe 2, account, upload-id           | [`AppendMarkRow`]                         |
//! | Dedupe 3, ms, account, upload-id       | nothing: when that was                    |
//!
//! A queue-id is its text of 24 digits: shard first, then time. *Turned*, its shard comes last,
//! so that marks of letters from any shard sort by time and go by age.

use bytes::Bytes;
use postino_proto::store::v1::RecipientState;
use postino_types::QueueId;

use super::{Range, Rows, decode};
use crate::db::{DbError, Family, Key, Space};

pub(crate) use super::email::BodyPart;

pub(crate) const LETTER: u8 = 1;
const RECIPIENT: u8 = 2;
const DUE: u8 = 3;
const MARK: u8 = 4;
const PROGRESS: u8 = 5;
pub(crate) const LEASE: u8 = 6;
pub(crate) const UPLOAD: u8 = 7;
pub(crate) const CHUNK: u8 = 8;
pub(crate) const SHARD: u8 = 9;
const DOOMED: u8 = 10;
const FILED: u8 = 1;
pub(crate) const APPENDED: u8 = 2;
pub(crate) const APPENDED_AT: u8 = 3;

/// A letter that has recipients to be settled.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LetterRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) envelope: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) email: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) trace: Bytes,
    #[prost(uint64, tag = "4")]
    pub(crate) size: u64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) body: Vec<BodyPart>,
    #[prost(uint32, tag = "6")]
    pub(crate) recipients: u32,
}

/// What changes about a letter.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProgressRow {
    /// Its place in the due index.
    #[prost(uint64, tag = "1")]
    pub(crate) due_ms: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) pending: u32,
}

/// That a letter was accepted, or never will be, for whoever asks again.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MarkRow {
    #[prost(bool, tag = "1")]
    pub(crate) filed: bool,
    #[prost(uint64, tag = "2")]
    pub(crate) log_index: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
    /// It was not accepted when somebody asked, and cannot be any more.
    #[prost(bool, tag = "4")]
    pub(crate) given_up: bool,
}

/// Who works the shard.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseRow {
    /// Empty: released.
    #[prost(string, tag = "1")]
    pub(crate) holder: String,
    /// Rises with each acquisition, and only ever rises.
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) ttl_ms: u64,
}

/// An upload under way.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UploadRow {
    #[prost(uint64, tag = "1")]
    pub(crate) last_ms: u64,
}

/// The shard as a whole.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ShardRow {
    /// The latest time of an entry, Unix milliseconds.
    #[prost(uint64, tag = "1")]
    pub(crate) now_ms: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) last_email: u64,
    /// Where reaping goes on, so that it does not read over what it removed.
    #[prost(uint64, tag = "3")]
    pub(crate) accepted_floor_ms: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) filed_floor_ms: u64,
    /// Raised by a command once all replicas support more.
    #[prost(uint32, tag = "5")]
    pub(crate) feature_level: u32,
    /// Marks of filed letters that were minted before this time may be gone.
    #[prost(uint64, tag = "6")]
    pub(crate) filed_forgotten_ms: u64,
    /// Bodies that came at this log index or later go with their last reference; those before
    /// came to a version that did not count them.
    #[prost(uint64, tag = "7")]
    pub(crate) bodies_counted_from: u64,
    /// The last hold for the cut of a backup.
    #[prost(message, optional, tag = "8")]
    pub(crate) hold: Option<HoldRow>,
    /// Restored from a backup: nothing leaves for other servers until somebody says so.
    #[prost(bool, tag = "9")]
    pub(crate) remote_held: bool,
}

/// A hold for the cut of a backup.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct HoldRow {
    #[prost(string, tag = "1")]
    pub(crate) cut: String,
    /// By the time of the shard.
    #[prost(uint64, tag = "2")]
    pub(crate) until_ms: u64,
    #[prost(bool, tag = "3")]
    pub(crate) ended: bool,
}

impl HoldRow {
    /// Whether it is in force at this time.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        !self.ended && now_ms < self.until_ms
    }
}

impl ShardRow {
    /// The shard's feature level.
    pub(crate) fn level(&self) -> u32 {
        // Where none is written, the first one is meant.
        self.feature_level.max(1)
    }
}

/// What an append with an upload-id has done.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendMarkRow {
    #[prost(uint64, tag = "1")]
    pub(crate) mailbox: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) uid_validity: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) uid: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) at_ms: u64,
}

pub(crate) fn letter(space: Space, id: &QueueId) -> Key {
    space.key().u8(LETTER).bytes(id.to_string().as_bytes())
}

pub(crate) fn letters(space: Space) -> Range {
    Range::prefix(space.key().u8(LETTER))
}

pub(crate) fn recipient(space: Space, id: &QueueId, recipient: u32) -> Key {
    recipients_key(space, id).u32(recipient)
}

fn recipients_key(space: Space, id: &QueueId) -> Key {
    space.key().u8(RECIPIENT).bytes(id.to_string().as_bytes())
}

pub(crate) fn due(space: Space, due_ms: u64, id: &QueueId) -> Key {
    due_at(space, due_ms).bytes(id.to_string().as_bytes())
}

/// Where letters due at this time start in the due index.
pub(crate) fn due_at(space: Space, due_ms: u64) -> Key {
    space.key().u8(DUE).u64(due_ms)
}

pub(crate) fn dues(space: Space) -> Range {
    Range::prefix(space.key().u8(DUE))
}

/// Due time and queue-id of a key of the due index.
pub(crate) fn parse_due(key: &[u8]) -> Result<(u64, QueueId), DbError> {
    let split = key.len().checked_sub(24).ok_or_else(cut)?;
    let (head, id) = key.split_at(split);
    Ok((super::last_u64(head)?, parse_id(id)?))
}

/// The queue-id at the end of a key.
pub(crate) fn parse_id(id: &[u8]) -> Result<QueueId, DbError> {
    let text = id.len().checked_sub(24).map(|start| &id[start..]);
    let text = text.and_then(|id| std::str::from_utf8(id).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(cut)
}

fn cut() -> DbError {
    DbError::corrupt("a queue-id in a key")
}

pub(crate) fn mark(space: Space, id: &QueueId) -> Key {
    space.key().u8(MARK).bytes(id.to_string().as_bytes())
}

pub(crate) fn marks(space: Space) -> Range {
    Range::prefix(space.key().u8(MARK))
}

pub(crate) fn progress(space: Space, id: &QueueId) -> Key {
    space.key().u8(PROGRESS).bytes(id.to_string().as_bytes())
}

pub(crate) fn lease(space: Space) -> Key {
    space.key().u8(LEASE)
}

pub(crate) fn upload(space: Space, id: &str) -> Key {
    space.key().u8(UPLOAD).text(id)
}

pub(crate) fn uploads(space: Space) -> Range {
    Range::prefix(space.key().u8(UPLOAD))
}

/// The upload-id of a key that [`upload`] made.
pub(crate) fn parse_upload(space: Space, key: &[u8]) -> Result<String, DbError> {
    let start = space.key().u8(UPLOAD).as_slice().len();
    let text = key.get(start..key.len().saturating_sub(1));
    let text = text.and_then(|id| std::str::from_utf8(id).ok());
    text.map(str::to_owned)
        .ok_or_else(|| DbError::corrupt("an upload-id in a key"))
}

pub(crate) fn chunk(space: Space, upload: &str, number: u32) -> Key {
    space.key().u8(CHUNK).text(upload).u32(number)
}

pub(crate) fn chunks(space: Space, upload: &str) -> Range {
    Range::prefix(space.key().u8(CHUNK).text(upload))
}

pub(crate) fn shard(space: Space) -> Key {
    space.key().u8(SHARD)
}

/// Whether letters for other servers must not leave.
pub(crate) fn is_remote_held(rows: &impl Rows, space: Space) -> Result<bool, DbError> {
    let row: Option<ShardRow> = rows.row(Family::Spool, shard(space))?;
    Ok(row.is_some_and(|row| row.remote_held))
}

pub(crate) fn doomed(space: Space, account: u64, mailbox: u64) -> Key {
    space.key().u8(DOOMED).u64(account).u64(mailbox)
}

/// Removed mailboxes of one account.
pub(crate) fn doomed_of(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u8(DOOMED).u64(account))
}

pub(crate) fn doomed_all(space: Space) -> Range {
    Range::prefix(space.key().u8(DOOMED))
}

fn turned(id: &QueueId) -> String {
    let text = id.to_string();
    let (shard, unique) = text.split_at(4);
    format!("{unique}{shard}")
}

pub(crate) fn filed(space: Space, id: &QueueId, recipient: u32) -> Key {
    let id = turned(id);
    space.key().u8(FILED).bytes(id.as_bytes()).u32(recipient)
}

/// Every mark of a filed letter.
pub(crate) fn filed_all(space: Space) -> Range {
    Range::prefix(space.key().u8(FILED))
}

/// The account that the mark of a filed letter names; `None` in marks of before level 3.
pub(crate) fn filed_account(row: &[u8]) -> Option<u64> {
    let account = row.get(1..9)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*account))
}

/// When the letter was minted whose mark has this key, without shard and generation; `None` if it
/// is no such key.
pub(crate) fn filed_minted_ms(tail: &[u8]) -> Option<u64> {
    let (tag, rest) = tail.split_first()?;
    let (turned, recipient) = rest.split_at_checked(24)?;
    let (unique, shard) = std::str::from_utf8(turned).ok()?.split_at_checked(20)?;
    let id: QueueId = format!("{shard}{unique}").parse().ok()?;
    (*tag == FILED && recipient.len() == 4).then(|| id.unix_millis())
}

/// Whether a mark is, or may be, of an account.
pub(crate) fn may_be_of(
    space: Space,
    key: &[u8],
    row: &[u8],
    account: u64,
) -> Result<bool, DbError> {
    let tag = key.get(space.key().as_slice().len());
    Ok(match tag {
        Some(&FILED) => filed_account(row).is_none_or(|named| named == account),
        Some(&APPENDED_AT) => parse_appended_at(space, key)?.0 == account,
        _ => true,
    })
}

/// Marks of letters that were minted at `from_ms` or later and before `to_ms`.
pub(crate) fn filed_between(space: Space, from_ms: u64, to_ms: u64) -> Range {
    let bound = |ms| {
        let id = QueueId::mint(postino_types::ShardId::CONTROL, ms, 0);
        let id = id.map(|id| turned(&id)).unwrap_or_default();
        space.key().u8(FILED).bytes(id.as_bytes())
    };
    Range::prefix(space.key().u8(FILED))
        .from(bound(from_ms))
        .below(bound(to_ms))
}

/// Marks of letters of this shard that were minted in that time.
pub(crate) fn marks_between(space: Space, from_ms: u64, to_ms: u64) -> Range {
    let bound = |ms| {
        let id = QueueId::mint(space.shard(), ms, 0).map(|id| id.to_string());
        space
            .key()
            .u8(MARK)
            .bytes(id.unwrap_or_default().as_bytes())
    };
    marks(space).from(bound(from_ms)).below(bound(to_ms))
}

pub(crate) fn appended(space: Space, account: u64, upload: &str) -> Key {
    space.key().u8(APPENDED).u64(account).text(upload)
}

/// The marks of an account's appends.
pub(crate) fn appended_of(space: Space, account: u64) -> Range {
    Range::prefix(space.key().u8(APPENDED).u64(account))
}

pub(crate) fn appended_at(space: Space, ms: u64, account: u64, upload: &str) -> Key {
    space
        .key()
        .u8(APPENDED_AT)
        .u64(ms)
        .u64(account)
        .text(upload)
}

/// When appends were, of all accounts.
pub(crate) fn appended_at_all(space: Space) -> Range {
    Range::prefix(space.key().u8(APPENDED_AT))
}

pub(crate) fn appended_before(space: Space, ms: u64) -> Range {
    Range::prefix(space.key().u8(APPENDED_AT)).below(space.key().u8(APPENDED_AT).u64(ms))
}

/// Account and upload-id of a key that [`appended_at`] made.
pub(crate) fn parse_appended_at(space: Space, key: &[u8]) -> Result<(u64, String), DbError> {
    let start = space.key().u8(APPENDED_AT).u64(0).as_slice().len();
    let cut = || DbError::corrupt("the mark of an append");
    let account = super::last_u64(key.get(..start + 8).ok_or_else(cut)?)?;
    let text = key.get(start + 8..key.len().saturating_sub(1));
    let text = text.and_then(|id| std::str::from_utf8(id).ok());
    Ok((account, text.ok_or_else(cut)?.to_owned()))
}

/// The states of a letter's recipients, in order.
pub(crate) fn recipient_states(
    rows: &impl Rows,
    space: Space,
    id: &QueueId,
) -> Result<Vec<RecipientState>, DbError> {
    let range = Range::prefix(recipients_key(space, id));
    let rows = rows.page(Family::Spool, &range, usize::MAX)?;
    rows.into_iter().map(|(_, row)| decode(row)).collect()
}

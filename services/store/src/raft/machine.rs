//! What a committed command changes: the boundary to the rest of the store.

use bytes::Bytes;
use postino_types::ShardId;

use super::rows;
use crate::db::{Family, Key, Space, WriteBatch};

/// The state of all shards of a node.
pub trait Machine: Send + Sync + 'static {
    /// Applies committed entries of one shard, in order, exactly once each.
    ///
    /// Writes all that they change *and* `progress` (see [`Progress::put`]) in one
    /// [`WriteBatch`], so that after a crash the shard knows how far it came.
    /// `entries` may be empty: then only the progress has moved, and must be
    /// written. Returns, for each entry, the answer to each of its commands.
    ///
    /// Must be deterministic: replicas that apply the same entries hold the same
    /// state. It runs on a thread that may block, one call at a time for a shard,
    /// several shards at once.
    fn apply(
        &self,
        shard: ShardId,
        entries: Vec<CommittedEntry>,
        progress: Progress,
    ) -> Result<Vec<Vec<Bytes>>, ApplyHalt>;

    /// Whether a call of [`Machine::apply`] must end with this entry, because something is to be
    /// seen exactly behind it.
    fn is_last(&self, _shard: ShardId, _entry: &CommittedEntry) -> bool {
        false
    }

    /// Whether the state that lies there is one that this machine can go on from: asked before a
    /// shard starts, and before a snapshot becomes its state.
    fn accepts(&self, _space: Space) -> Result<(), ApplyHalt> {
        Ok(())
    }
}

/// An entry that a majority of replicas has on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its place in the shard's log.
    pub index: u64,
    /// The term of the leader that proposed it.
    pub term: u64,
    /// When, by that leader's clock: Unix time in milliseconds. Clocks differ, so
    /// apply uses the maximum of this and the time of the entry before.
    pub time_ms: u64,
    /// What to do, in order.
    pub commands: Vec<CommittedCommand>,
}

/// A command of a committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedCommand {
    /// The command as it was proposed.
    pub command: Bytes,
    /// The length of its body in bytes; 0 for none.
    pub body_len: u64,
    /// Where the body lies, if there is one.
    pub body: BodyRef,
}

/// The place of a body: it was written there when its entry was appended, and
/// stays until apply's own bookkeeping deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyRef {
    /// The shard.
    pub shard: ShardId,
    /// The log index that brought it.
    pub index: u64,
    /// Which command of that entry, counted from zero.
    pub number: u32,
}

impl BodyRef {
    /// Its key in [`Family::Bodies`], in the shard's current space.
    pub fn key(self, space: Space) -> Key {
        debug_assert_eq!(space.shard(), self.shard);
        rows::body_key(space, self.index, self.number)
    }
}

/// How far a shard will have come once the entries handed over with it are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    key: Key,
    value: Vec<u8>,
}

impl Progress {
    pub(crate) fn new(space: Space, value: Vec<u8>) -> Self {
        Self {
            key: rows::applied_key(space),
            value,
        }
    }

    /// Writes it into the batch that holds what the entries change.
    pub fn put(&self, batch: &mut WriteBatch) {
        batch.put(Family::Raft, &self.key, &self.value);
    }
}

/// Why a replica cannot apply an entry: a command that it does not know, a state
/// that cannot be. It stops there, loudly; to skip would make it differ from the
/// others for good.
#[derive(Debug, thiserror::Error)]
#[error("apply halted: {0}")]
pub struct ApplyHalt(String);

impl ApplyHalt {
    /// Halts for this reason.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl From<crate::db::DbError> for ApplyHalt {
    fn from(error: crate::db::DbError) -> Self {
        Self::new(error)
    }
}

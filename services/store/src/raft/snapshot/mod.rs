//! Snapshots: a shard's state at one moment, carried to a replica that the log no longer reaches.
//!
//! State on disk *is* the snapshot, so building one writes nothing. To send one is to read a
//! consistent view of the shard's rows, bodies included (`outgoing`), a part at a time. To
//! receive one is to write those rows to sorted files under a generation of the shard that is
//! new (`incoming`). Installing takes the files into the database, where nobody looks yet, and
//! then flips the generation in one batch that is synced: before it the replica is what it was,
//! after it the replica is what the snapshot says. Whatever a crash leaves is swept.

mod incoming;
mod outgoing;
mod seed;
mod tally;

use openraft::{BasicNode, SnapshotMeta};
use postino_proto::raft::v1 as proto;
use tokio::sync::mpsc;

pub(crate) use incoming::{Incoming, is_sent, write};
pub(crate) use outgoing::{Cut, cut, describe_state, read};
pub(crate) use seed::{Seed, seed};
pub(crate) use tally::{Tally, hash_row};

use super::codec::CodecError;
use super::types::CommittedLeaderId;
use crate::db::{Db, DbError, Family, Snapshot, Space};

pub(crate) type Meta = SnapshotMeta<CommittedLeaderId, u64, BasicNode>;

/// What becomes of a row: its family, its key without the space, its value; the value to keep, or
/// `None` to leave the row out.
pub(crate) type Renew<'a> =
    dyn FnMut(Family, &[u8], bytes::Bytes) -> Result<Option<bytes::Bytes>, DbError> + 'a;

/// Parts between whoever reads them and whoever writes them: few, since each may be large.
const AT_ONCE: usize = 2;

/// The parts of a snapshot, as they are read.
pub(crate) type Parts = mpsc::Receiver<proto::SnapshotPart>;

/// What openraft hands around as a snapshot.
pub(crate) enum ShardSnapshot {
    /// The state itself, in the database: it is read when it is sent.
    State(Db),
    /// Received whole, and not yet installed.
    Incoming(Incoming),
}

/// Why a snapshot cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the snapshot broke off")]
    BrokeOff,
    #[error("the snapshot is not what was sent")]
    Damaged,
    #[error("the snapshot has rows of a family {0:?} that is unknown here")]
    UnknownFamily(String),
    #[error("the snapshot has a part where none belongs")]
    Misplaced,
    /// This build cannot go on from it.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<SnapshotError> for std::io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::other(error)
    }
}

/// The index of the last entry that the state of a view includes; 0 before the first.
pub(crate) fn applied_index(view: &Snapshot<'_>, space: Space) -> Result<u64, DbError> {
    let described = describe_state(view, space).map_err(DbError::corrupt)?;
    let last = described.and_then(|meta| meta.last_log_id);
    Ok(last.map_or(0, |id| id.index))
}

/// Where parts wait for whoever takes them.
pub(crate) fn pipe() -> (mpsc::Sender<proto::SnapshotPart>, Parts) {
    mpsc::channel(AT_ONCE)
}

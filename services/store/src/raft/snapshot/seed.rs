//! The state of a shard that begins with rows from elsewhere: of a new cluster that is restored.

use std::collections::{BTreeMap, BTreeSet};

use openraft::BasicNode;
use postino_proto::raft::v1 as proto;
use postino_types::ShardId;
use tokio::sync::mpsc;

use super::{Meta, Renew, SnapshotError, incoming};
use crate::db::{Db, Family};
use crate::raft::address::NodeAddress;
use crate::raft::machine::Machine;
use crate::raft::types::{CommittedLeaderId, LogId, Membership, StoredMembership, Vote};
use crate::raft::{codec, rows};

/// Where a shard begins.
pub(crate) struct Seed {
    /// The shard.
    pub(crate) shard: ShardId,
    /// Term and index of the last log entry that the rows include. The log goes on behind it, so
    /// that bodies, which lie under the index that brought them, stay where they are.
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// Its only member: this node.
    pub(crate) member: NodeAddress,
}

/// Makes rows the state of a shard of which no group runs yet; `renew` says what becomes of each.
/// Durable when this returns; before, the shard is what it was. Blocks.
pub(crate) fn seed(
    db: &Db,
    machine: &dyn Machine,
    seed: &Seed,
    parts: mpsc::Receiver<proto::SnapshotPart>,
    renew: &mut Renew<'_>,
) -> Result<(), SnapshotError> {
    let incoming = incoming::write_renewed(db, seed.shard, parts, renew)?;
    // The new generation is written down as one to sweep before the first row is in it.
    db.sync_wal()?;
    let ingested = incoming.ingest()?;
    let accepted = machine.accepts(ingested.space());
    accepted.map_err(|halt| SnapshotError::Refused(halt.to_string()))?;
    let mut batch = db.batch();
    // So the first term of the new cluster is a later one than any that the rows have seen.
    let vote = codec::vote_out(&Vote::new(seed.term, seed.member.id.get()));
    batch.put(
        Family::Raft,
        rows::vote_key(seed.shard),
        rows::encode(&vote),
    );
    db.write(batch)?;
    ingested.flip(&meta(seed)?)?;
    Ok(db.sync_wal()?)
}

fn meta(seed: &Seed) -> Result<Meta, SnapshotError> {
    let last = LogId::new(CommittedLeaderId::new(seed.term), seed.index);
    let id = seed.member.id.get();
    let voters = vec![BTreeSet::from([id])];
    let nodes = BTreeMap::from([(id, BasicNode::new(&seed.member.endpoint))]);
    let membership =
        Membership::new(voters, nodes).map_err(|_| codec::CodecError::Invalid("the membership"))?;
    Ok(Meta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    })
}

//! What both ends of a snapshot count, so that the receiver knows that it has all of it.

use bytes::Bytes;
use postino_proto::raft::v1 as proto;

use crate::db::Family;

/// The rows so far.
#[derive(Default)]
pub(crate) struct Tally {
    rows: u64,
    hasher: blake3::Hasher,
}

/// Adds a row to a hash; its key is without the shard and the generation.
pub(crate) fn hash_row(hasher: &mut blake3::Hasher, family: Family, key: &[u8], value: &[u8]) {
    for part in [family.name().as_bytes(), key, value] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
}

impl Tally {
    /// Counts a row; its key is without the shard and the generation.
    pub(crate) fn count(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.rows += 1;
        hash_row(&mut self.hasher, family, key, value);
    }

    /// What the last part of the snapshot says.
    pub(crate) fn end(&self) -> proto::SnapshotEnd {
        proto::SnapshotEnd {
            rows: self.rows,
            digest: Bytes::copy_from_slice(self.hasher.finalize().as_bytes()),
        }
    }
}

//! What goes into a checksum.

use bytes::Bytes;
use postino_proto::store::v1 as proto;

use crate::db::{DbError, Family, KeyRange, Snapshot, Space};
use crate::raft::hash_row;

/// A change of what goes into a checksum raises it.
const FORMAT: u32 = 1;

/// Rows between two looks at whether anybody still wants to know.
const LOOK: u64 = 1024;

/// The checksum of a shard's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    rows: Sum,
    bodies: Sum,
}

/// Things that were counted and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    count: u64,
    hash: blake3::Hash,
}

impl From<Checksum> for proto::Checksum {
    fn from(checksum: Checksum) -> Self {
        let octets = |hash: blake3::Hash| Bytes::copy_from_slice(hash.as_bytes());
        let Checksum { rows, bodies } = checksum;
        let mut both = blake3::Hasher::new();
        for sum in [&rows, &bodies] {
            both.update(&sum.count.to_be_bytes());
            both.update(sum.hash.as_bytes());
        }
        Self {
            format: FORMAT,
            digest: octets(both.finalize()),
            rows: octets(rows.hash),
            bodies: octets(bodies.hash),
            row_count: rows.count,
            body_count: bodies.count,
        }
    }
}

/// The checksum of the state that a view holds, which has come to `applied`; `None` once it is not
/// `wanted` any more.
pub(super) fn digest(
    view: &Snapshot<'_>,
    space: Space,
    applied: u64,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<Checksum>, DbError> {
    let Some(rows) = sum_up(view, space, &state(space), wanted)? else {
        return Ok(None);
    };
    // Bodies of later entries belong to the log.
    let bodies = KeyRange::prefix(space.key()).below(space.key().u64(applied.saturating_add(1)));
    let bodies = sum_up(view, space, &[(Family::Bodies, bodies)], wanted)?;
    Ok(bodies.map(|bodies| Checksum { rows, bodies }))
}

/// Over the rows alone, as the database holds them now.
#[cfg(test)]
pub(crate) fn rows(
    db: &crate::db::Db,
    shard: postino_types::ShardId,
) -> Result<blake3::Hash, DbError> {
    let (view, space) = db.view(shard)?;
    let rows = sum_up(&view, space, &state(space), &|| true)?;
    Ok(rows.expect("it is wanted").hash)
}

fn state(space: Space) -> [(Family, KeyRange); Family::STATE.len()] {
    Family::STATE.map(|family| (family, KeyRange::prefix(space.key())))
}

fn sum_up(
    view: &Snapshot<'_>,
    space: Space,
    ranges: &[(Family, KeyRange)],
    wanted: &dyn Fn() -> bool,
) -> Result<Option<Sum>, DbError> {
    let skip = space.key().as_slice().len();
    let (mut count, mut hasher) = (0, blake3::Hasher::new());
    for (family, range) in ranges {
        let mut rows = view.scan_once(*family, range.clone());
        while let Some((key, value)) = rows.advance()? {
            hash_row(&mut hasher, *family, &key[skip..], value);
            count += 1;
            if u64::is_multiple_of(count, LOOK) && !wanted() {
                return Ok(None);
            }
        }
    }
    let hash = hasher.finalize();
    Ok(Some(Sum { count, hash }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, DbSettings};

    #[test]
    fn what_is_hashed_is_golden() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let shard = postino_types::ShardId::new(3);
        let space = db.space(shard).unwrap();
        let mut batch = db.batch();
        batch.put(Family::Spool, space.key().u8(1), b"row");
        db.write(batch).unwrap();
        let golden = b"\0\0\0\0\0\0\0\x05spool\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x03row";
        assert_eq!(rows(&db, shard).unwrap(), blake3::hash(golden));
    }
}

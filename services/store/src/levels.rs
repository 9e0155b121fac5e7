//! Feature levels: which commands the replicas of a shard may be given.
//!
//! | level | what it brings                                                   |
//! |-------|------------------------------------------------------------------|
//! | 1     | everything that there was before levels                          |
//! | 2     | `Checksum`: replicas are compared at a mark in the log; `RaiseLevel`; backups: `Hold`, `EndHold`, `ReleaseRemote` |
//! | 3     | accounts move: all commands of a move; marks of filed letters name the account |
//!
//! A build supports some levels and reports which. Each shard stores its level, which only rises:
//! by a command, once every node supports more (`placement/levels`). A command that needs more than
//! the shard's level is not proposed, so that a rolling upgrade never gives a replica what its
//! build does not know. A replica whose shard is beyond its build does not start, or halts.

use postino_proto::store::v1::command::Kind;
use postino_types::ShardId;

use crate::db::{Db, DbError, Family, Space};
use crate::model::Rows;
use crate::model::spool::{self, ShardRow};

/// The lowest level of a shard that this build can go on from.
const LOWEST: u32 = 1;
/// The highest level that this build knows.
const HIGHEST: u32 = 3;
/// The level that brings marks for checksums.
pub(crate) const MARKS: u32 = 2;
/// The level that brings backups.
pub(crate) const BACKUPS: u32 = 2;
/// The level at which accounts move.
pub(crate) const ACCOUNT_MOVES: u32 = 3;

/// Lowers the highest level of a process; only in builds for tests, which run two builds side by
/// side with it.
const CAP: &str = "POSTINO_FEATURE_LEVEL";

/// The levels that a process supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// The lowest.
    pub lowest: u32,
    /// The highest.
    pub highest: u32,
}

impl Levels {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let cap = std::env::var(CAP).ok().filter(|_| cfg!(debug_assertions));
        let cap = cap.and_then(|cap| cap.parse().ok());
        Self::up_to(cap.unwrap_or(HIGHEST))
    }

    /// Those of this build, up to one.
    pub(crate) fn up_to(cap: u32) -> Self {
        Self {
            lowest: LOWEST,
            highest: cap.clamp(LOWEST, HIGHEST),
        }
    }

    /// Why a replica of this process cannot hold a shard of a level; `None` if it can.
    pub(crate) fn refusal(self, shard: ShardId, level: u32) -> Option<String> {
        let Self { lowest, highest } = self;
        if level > highest {
            return Some(format!(
                "shard {shard} is at feature level {level}, and this build knows levels up to \
                 {highest} only: run a newer build on this node"
            ));
        }
        (level < lowest).then(|| {
            format!(
                "shard {shard} is at feature level {level}, and this build needs {lowest} at \
                 least: run a build in between on all nodes first"
            )
        })
    }
}

/// The level that a command needs.
pub(crate) fn needed(kind: &Kind) -> u32 {
    match kind {
        Kind::Checksum(_) | Kind::RaiseLevel(_) => MARKS,
        Kind::Hold(_) | Kind::EndHold(_) | Kind::ReleaseRemote(_) => BACKUPS,
        Kind::OpenImport(_)
        | Kind::ImportEmail(_)
        | Kind::ImportRows(_)
        | Kind::FinishImport(_)
        | Kind::CloseForMove(_)
        | Kind::LeaveAccount(_)
        | Kind::BeginAccountMove(_)
        | Kind::SwitchAccount(_)
        | Kind::EndAccountMove(_)
        | Kind::AbandonImport(_)
        | Kind::ReopenAccount(_)
        | Kind::CallOffAccountMove(_) => ACCOUNT_MOVES,
        _ => LOWEST,
    }
}

/// The level of the shard whose state lies there; `None` if nothing was ever applied.
pub(crate) fn of_space(rows: &impl Rows, space: Space) -> Result<Option<u32>, DbError> {
    let row: Option<ShardRow> = rows.row(Family::Spool, spool::shard(space))?;
    Ok(row.as_ref().map(ShardRow::level))
}

/// The level of a shard, as far as this node has applied its log; 0 if it has applied nothing.
pub(crate) fn of_shard(db: &Db, shard: ShardId) -> Result<u32, DbError> {
    Ok(of_space(db, db.space(shard)?)?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_refuses_levels_that_it_does_not_know() {
        let shard = ShardId::new(7);
        let old = Levels::up_to(1);
        assert_eq!((old.lowest, old.highest), (1, 1));
        assert_eq!(old.refusal(shard, 1), None);
        let refusal = old.refusal(shard, 2).unwrap();
        assert!(refusal.starts_with("shard 7 is at feature level 2, and"));
        let new = Levels {
            lowest: 2,
            highest: 3,
        };
        assert_eq!(new.refusal(shard, 2), None);
        assert!(new.refusal(shard, 1).unwrap().contains("in between"));
        // Nobody supports more than the build does.
        assert_eq!(Levels::up_to(99), Levels::up_to(HIGHEST));
    }
}

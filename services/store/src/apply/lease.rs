//! Who works a shard. The row holds the holder and the epoch of record; when a lease has expired
//! is for the shard's leader to say, by its monotonic clock.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    AcquireLeaseCommand, Done, LeaseAnswer, RefusalKind, ReleaseLeaseCommand,
};

use super::commit::{Commit, Outcome, refuse};
use crate::db::{DbError, Family};
use crate::model::Rows;
use crate::model::spool::{self, LeaseRow};

fn current(commit: &Commit<'_>) -> Result<LeaseRow, DbError> {
    let row = commit
        .rows
        .row(Family::Spool, spool::lease(commit.space()))?;
    Ok(row.unwrap_or_default())
}

/// Grants the lease under a new epoch, unless someone was faster.
pub(super) fn acquire(commit: &mut Commit<'_>, command: AcquireLeaseCommand) -> Outcome {
    let old = current(commit)?;
    if old.epoch != command.expected_epoch {
        return Ok(Answer::Lease(LeaseAnswer {
            granted: false,
            lease_epoch: old.epoch,
            holder: old.holder,
        }));
    }
    let new = LeaseRow {
        holder: command.holder,
        epoch: old.epoch + 1,
        ttl_ms: command.ttl_ms,
    };
    commit.put(Family::Spool, spool::lease(commit.space()), &new);
    Ok(Answer::Lease(LeaseAnswer {
        granted: true,
        lease_epoch: new.epoch,
        holder: new.holder,
    }))
}

/// Gives the lease up. The epoch stays, so that the next one is higher.
pub(super) fn release(commit: &mut Commit<'_>, command: &ReleaseLeaseCommand) -> Outcome {
    let old = current(commit)?;
    if old.epoch == command.lease_epoch && old.holder == command.holder {
        let new = LeaseRow {
            holder: String::new(),
            ..old
        };
        commit.put(Family::Spool, spool::lease(commit.space()), &new);
    }
    Ok(Answer::Done(Done {}))
}

/// Refuses a write under a lease that is not the current one.
pub(super) fn check(commit: &Commit<'_>, holder: &str, epoch: u64) -> Outcome<()> {
    let lease = current(commit)?;
    match lease.epoch == epoch && lease.holder == holder {
        true => Ok(()),
        false => Err(refuse(
            RefusalKind::LeaseLost,
            format!("the lease of the shard has epoch {}", lease.epoch),
        )),
    }
}

//! What a backup holds back while it takes its cut, and what a restore holds back until it is told.
//!
//! A backup cuts one shard after another. A letter whose delivery to another shard is settled here
//! before the cut of this shard, and was filed there after the cut of that one, would be in neither;
//! so would an account be half there. So, from before the first cut until after the last, outcomes of
//! local deliveries and the steps of accounts are refused for the moment. Since this stands in the
//! log, it holds whoever leads, and the end of it tells whether it was in force all the time.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{Done, EndHoldCommand, HoldCommand, RefusalKind};

use super::commit::{Commit, Outcome, refuse};
use crate::model::spool::HoldRow;

/// Starts a hold. Asked again, changes nothing.
pub(super) fn hold(commit: &mut Commit<'_>, command: HoldCommand) -> Outcome {
    let now_ms = commit.now_ms();
    match &commit.shard.hold {
        Some(known) if known.cut == command.cut => {
            if known.holds(now_ms) {
                return Ok(Answer::Done(Done {}));
            }
            return Err(ended());
        }
        Some(known) if known.holds(now_ms) => {
            let why = "another backup takes its cut just now; try again in a moment";
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
        _ => {}
    }
    commit.shard.hold = Some(HoldRow {
        cut: command.cut,
        until_ms: now_ms.saturating_add(command.for_ms),
        ended: false,
    });
    Ok(Answer::Done(Done {}))
}

/// Ends a hold that was in force until now. Asked again, answers as it did first.
pub(super) fn end(commit: &mut Commit<'_>, command: &EndHoldCommand) -> Outcome {
    let now_ms = commit.now_ms();
    match &mut commit.shard.hold {
        Some(known) if known.cut == command.cut && (known.ended || known.holds(now_ms)) => {
            known.ended = true;
            Ok(Answer::Done(Done {}))
        }
        _ => Err(ended()),
    }
}

fn ended() -> super::Rejection {
    let why = "the hold ended before all shards were cut; see store.backup.hold";
    refuse(RefusalKind::FailedPrecondition, why)
}

/// Refuses what must wait for the end of a hold.
pub(super) fn check(commit: &Commit<'_>) -> Outcome<()> {
    let held = commit.shard.hold.as_ref();
    match held.is_some_and(|hold| hold.holds(commit.now_ms())) {
        true => {
            let why = "a backup takes its cut; ask again";
            Err(refuse(RefusalKind::Held, why))
        }
        false => Ok(()),
    }
}

/// Lets letters leave for other servers. There may be nothing to let go.
pub(super) fn release_remote(commit: &mut Commit<'_>) -> Outcome {
    commit.shard.remote_held = false;
    Ok(Answer::Done(Done {}))
}

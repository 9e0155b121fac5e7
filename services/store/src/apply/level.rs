//! The feature level of the shard: what it allows, and how it rises.

use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{ChecksumAnswer, Done, RaiseLevelCommand, RefusalKind};

use super::commit::{Commit, Outcome, Rejection, refuse};
use crate::levels::{self, Levels};
use crate::raft::ApplyHalt;

/// Whether a command can be done by this process, and in a shard of this level. What this process
/// does not know halts it; what the shard's level does not allow is refused, by all replicas alike.
pub(super) fn check(commit: &Commit<'_>, known: Levels, kind: &Kind) -> Result<(), Rejection> {
    let shard = commit.space().shard();
    let needed = match kind {
        Kind::RaiseLevel(command) => command.level.max(levels::needed(kind)),
        kind => levels::needed(kind),
    };
    if needed > known.highest {
        let reason = known.refusal(shard, needed).unwrap_or_default();
        return Err(Rejection::Halt(ApplyHalt::new(reason)));
    }
    let level = commit.shard.level();
    if needed > level && !matches!(kind, Kind::RaiseLevel(_)) {
        let message = format!("shard {shard} is at feature level {level}; that needs {needed}");
        return Err(refuse(RefusalKind::FailedPrecondition, message));
    }
    Ok(())
}

/// Raising it to what it is, or was before, changes nothing.
pub(super) fn raise(commit: &mut Commit<'_>, command: &RaiseLevelCommand) -> Outcome {
    if command.level > commit.shard.level() {
        commit.shard.feature_level = command.level;
    }
    Ok(Answer::Done(Done {}))
}

/// Changes nothing: the replicas are compared right behind its entry.
pub(super) fn mark(commit: &Commit<'_>) -> Outcome {
    Ok(Answer::Marked(ChecksumAnswer {
        index: commit.index,
    }))
}

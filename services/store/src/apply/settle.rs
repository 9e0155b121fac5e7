//! Outcomes of attempts. The legal moves are the table in `spool`.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::recipient_outcome::Outcome as Attempt;
use postino_proto::store::v1::{
    Done, RecipientOutcome, RecipientState, RecipientStatus, SettleCommand, SettledLetter,
};
use postino_types::QueueId;

use super::commit::{Commit, Outcome};
use super::spool::{accept_letter, put_progress, queue_id};
use super::{hold, lease};
use crate::db::Family;
use crate::model::Rows;
use crate::model::spool::{self, LetterRow, ProgressRow};

/// Records outcomes, if the lease is still the one they were made under.
pub(super) fn settle(commit: &mut Commit<'_>, command: SettleCommand) -> Outcome {
    lease::check(commit, &command.holder, command.lease_epoch)?;
    if command.letters.iter().any(files_locally) {
        hold::check(commit)?;
    }
    for letter in command.letters {
        settle_letter(commit, letter)?;
    }
    Ok(Answer::Done(Done {}))
}

/// Whether a recipient is settled because another shard may hold the letter by now. A local delivery
/// names no remote host.
fn files_locally(letter: &SettledLetter) -> bool {
    letter.recipients.iter().any(|recipient| {
        matches!(&recipient.outcome, Some(Attempt::Delivered(done)) if done.remote.is_empty())
    })
}

fn settle_letter(commit: &mut Commit<'_>, settled: SettledLetter) -> Outcome<()> {
    let id = queue_id(&settled.queue_id)?;
    let key = spool::progress(commit.space(), &id);
    let Some(old) = commit.rows.row::<ProgressRow>(Family::Spool, key)? else {
        // Settled before, with its notifications; this is a repetition.
        return Ok(());
    };
    let mut moved = false;
    for outcome in &settled.recipients {
        moved |= settle_recipient(commit, &id, outcome)?;
    }
    // A repetition must not notify twice. Notifications have their own queue-ids, but a repeated
    // settle may come with new ones.
    if !moved {
        return Ok(());
    }
    for notification in settled.notifications {
        accept_letter(commit, notification)?;
    }
    close_or_plan(commit, &id, &old)
}

/// Moves one recipient; false if its state is final already, or the outcome is recorded already.
fn settle_recipient(
    commit: &mut Commit<'_>,
    id: &QueueId,
    outcome: &RecipientOutcome,
) -> Outcome<bool> {
    let key = spool::recipient(commit.space(), id, outcome.recipient);
    let state = commit.rows.row::<RecipientState>(Family::Spool, key)?;
    let Some(mut state) = state.filter(|state| state.status() == RecipientStatus::Pending) else {
        return Ok(false);
    };
    if is_repetition(&state, outcome) {
        return Ok(false);
    }
    state.attempts = state.attempts.saturating_add(1);
    state.last_attempt_ms = commit.now_ms();
    let (status, reply, remote) = match &outcome.outcome {
        Some(Attempt::Delivered(done)) => (RecipientStatus::Delivered, &done.reply, &done.remote),
        Some(Attempt::Bounced(done)) => (RecipientStatus::Bounced, &done.reply, &done.remote),
        Some(Attempt::Deferred(later)) => {
            state.next_attempt_ms = later.next_attempt_ms;
            state.delay_notified |= later.delay_notified;
            (RecipientStatus::Pending, &later.reply, &later.remote)
        }
        None => return Ok(false),
    };
    state.set_status(status);
    state.last_reply.clone_from(reply);
    state.last_remote.clone_from(remote);
    let key = spool::recipient(commit.space(), id, outcome.recipient);
    commit.put(Family::Spool, key, &state);
    Ok(true)
}

/// Whether a deferral is recorded: its answer was lost, and the queue settles again. A final outcome
/// needs no such look, since it leaves PENDING; and it counts even if its attempt is an old one,
/// since what was delivered must not be tried again.
fn is_repetition(state: &RecipientState, outcome: &RecipientOutcome) -> bool {
    match &outcome.outcome {
        // By the number, since a Retry may have changed the time in between.
        Some(Attempt::Deferred(_)) if outcome.attempt > 0 => outcome.attempt <= state.attempts,
        Some(Attempt::Deferred(later)) => {
            state.attempts > 0 && later.next_attempt_ms == state.next_attempt_ms
        }
        _ => false,
    }
}

/// Removes a letter whose recipients are all settled, or gives it its next due time.
fn close_or_plan(commit: &mut Commit<'_>, id: &QueueId, old: &ProgressRow) -> Outcome<()> {
    let states = spool::recipient_states(&commit.rows, commit.space(), id)?;
    let pending = states
        .iter()
        .filter(|state| state.status() == RecipientStatus::Pending);
    let due_ms = pending.clone().map(|state| state.next_attempt_ms).min();
    match due_ms {
        Some(due_ms) => {
            let pending = u32::try_from(pending.count()).unwrap_or(u32::MAX);
            put_progress(commit, id, Some(old), ProgressRow { due_ms, pending });
        }
        None => remove(commit, id, old, &states)?,
    }
    Ok(())
}

fn remove(
    commit: &mut Commit<'_>,
    id: &QueueId,
    old: &ProgressRow,
    states: &[RecipientState],
) -> Outcome<()> {
    let space = commit.space();
    let key = || spool::letter(space, id);
    if let Some(letter) = commit.rows.row::<LetterRow>(Family::Spool, key())? {
        commit.drop_body(&letter.body)?;
    }
    commit.rows.delete(Family::Spool, key());
    for state in states {
        let key = spool::recipient(space, id, state.recipient);
        commit.rows.delete(Family::Spool, key);
    }
    commit
        .rows
        .delete(Family::Spool, spool::progress(space, id));
    commit
        .rows
        .delete(Family::Spool, spool::due(space, old.due_ms, id));
    Ok(())
}

//! Accepting letters into the spool, or at once into the mailboxes.
//!
//! The states of a recipient, and the one command that moves between them:
//!
//! | from      | to        | by                                                              |
//! |-----------|-----------|-----------------------------------------------------------------|
//! | (none)    | PENDING   | Accept: remote, on another shard, or its account is gone        |
//! | (none)    | DELIVERED | Accept: filed into a mailbox of this shard in the same commit   |
//! | PENDING   | PENDING   | Settle deferred; Retry                                          |
//! | PENDING   | DELIVERED | Settle delivered                                                |
//! | PENDING   | BOUNCED   | Settle bounced                                                  |
//!
//! A letter without PENDING recipients has no rows but its mark. A letter that was filed for all
//! recipients never had others. DELIVERED and BOUNCED are final: later outcomes change nothing.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    AcceptCommand, Accepted, Done, RecipientState, RecipientStatus, RefusalKind,
    ResolveAcceptCommand, RetryAnswer, RetryCommand,
};
use postino_types::QueueId;

use super::commit::{Commit, Outcome, refuse};
use crate::db::Family;
use crate::model::email::BodyPart;
use crate::model::spool::{self, LetterRow, MarkRow, ProgressRow};
use crate::model::{Rows, fixed};

/// Accepts a letter; asked again, answers as it did first.
pub(super) fn accept(commit: &mut Commit<'_>, command: AcceptCommand) -> Outcome {
    accept_letter(commit, command).map(accepted)
}

fn accepted(mark: MarkRow) -> Answer {
    Answer::Accepted(Accepted {
        filed: mark.filed,
        log_index: mark.log_index,
        term: mark.term,
    })
}

/// Tells whether a letter was accepted. One that was not is given up: an Accept that is still on
/// its way is refused when it comes, so that the letter may be handed over under another id.
pub(super) fn resolve_accept(commit: &mut Commit<'_>, command: &ResolveAcceptCommand) -> Outcome {
    let space = commit.space();
    let id = queue_id(&command.queue_id)?;
    match mark_of(commit, &id)? {
        Some(mark) if !mark.given_up => Ok(accepted(mark)),
        Some(_) => Ok(Answer::Done(Done {})),
        None => {
            let mark = MarkRow {
                given_up: true,
                ..mark_now(commit, false)
            };
            commit.put(Family::Spool, spool::mark(space, &id), &mark);
            Ok(Answer::Done(Done {}))
        }
    }
}

/// The mark of a letter, which may have gone by age while the letter is still here.
fn mark_of(commit: &Commit<'_>, id: &QueueId) -> Outcome<Option<MarkRow>> {
    let space = commit.space();
    let mark: Option<MarkRow> = commit.rows.row(Family::Spool, spool::mark(space, id))?;
    if mark.is_some() {
        return Ok(mark);
    }
    let letter = commit.rows.get(Family::Spool, spool::letter(space, id))?;
    Ok(letter.map(|_| mark_now(commit, false)))
}

pub(super) fn accept_letter(commit: &mut Commit<'_>, command: AcceptCommand) -> Outcome<MarkRow> {
    let space = commit.space();
    let id = queue_id(&command.queue_id)?;
    if let Some(mark) = mark_of(commit, &id)? {
        if mark.given_up {
            let why = "the letter was given up under this id";
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
        commit.drop_source(command.body.as_ref())?;
        return Ok(mark);
    }
    let body = commit.take_source(command.body.clone())?;
    let filed = file_local(commit, &id, &command, &body)?;
    let all = filed.len() as u64 == u64::from(command.recipients);
    if !all {
        if !filed.is_empty() {
            commit.share_body(&body, 1)?;
        }
        spool_letter(commit, &id, command, body, &filed)?;
    }
    let mark = mark_now(commit, all);
    commit.put(Family::Spool, spool::mark(space, &id), &mark);
    Ok(mark)
}

fn mark_now(commit: &Commit<'_>, filed: bool) -> MarkRow {
    MarkRow {
        filed,
        log_index: commit.index,
        term: commit.term,
        given_up: false,
    }
}

pub(super) fn queue_id(text: &str) -> Outcome<QueueId> {
    let id = text.parse();
    id.map_err(|_| refuse(RefusalKind::Invalid, "that is no queue-id"))
}

/// Files the letter for the recipients of this shard; returns their indexes.
fn file_local(
    commit: &mut Commit<'_>,
    id: &QueueId,
    command: &AcceptCommand,
    body: &[BodyPart],
) -> Outcome<Vec<u32>> {
    if command.local.is_empty() || command.email.is_empty() {
        return Ok(Vec::new());
    }
    let content = command.email.clone();
    let trace = command.trace.clone();
    let mut letter = super::deliver::Filing::new(content, command.email_size, body, trace);
    for target in &command.local {
        // Whose account is moving, or has moved, gets it from the spool.
        letter.file(commit, id, target)?;
    }
    Ok(letter.finish(commit))
}

/// Writes the rows of a letter that has recipients to be settled.
fn spool_letter(
    commit: &mut Commit<'_>,
    id: &QueueId,
    command: AcceptCommand,
    body: Vec<BodyPart>,
    filed: &[u32],
) -> Outcome<()> {
    let space = commit.space();
    let due_ms = commit.stamp_ms();
    for recipient in 0..command.recipients {
        let done = filed.contains(&recipient);
        let status = match done {
            true => RecipientStatus::Delivered,
            false => RecipientStatus::Pending,
        };
        let state = RecipientState {
            recipient,
            status: status.into(),
            next_attempt_ms: if done { 0 } else { due_ms },
            ..RecipientState::default()
        };
        commit.put(
            Family::Spool,
            spool::recipient(space, id, recipient),
            &state,
        );
    }
    let letter = LetterRow {
        envelope: command.envelope,
        email: command.email,
        trace: command.trace,
        size: command.size,
        body,
        recipients: command.recipients,
    };
    commit.put(Family::Spool, spool::letter(space, id), &letter);
    let pending = command
        .recipients
        .saturating_sub(u32::try_from(filed.len()).unwrap_or(0));
    put_progress(commit, id, None, ProgressRow { due_ms, pending });
    Ok(())
}

/// Writes a letter's progress and its place in the due index, and tells the queue.
pub(super) fn put_progress(
    commit: &mut Commit<'_>,
    id: &QueueId,
    old: Option<&ProgressRow>,
    new: ProgressRow,
) {
    let space = commit.space();
    if let Some(old) = old.filter(|old| old.due_ms != new.due_ms) {
        commit
            .rows
            .delete(Family::Spool, spool::due(space, old.due_ms, id));
    }
    if old.is_none_or(|old| old.due_ms != new.due_ms) {
        commit
            .rows
            .put(Family::Spool, spool::due(space, new.due_ms, id), fixed(&[]));
        commit.tell_due(new.due_ms, &id.to_string());
    }
    commit.put(Family::Spool, spool::progress(space, id), &new);
}

/// Makes deferred recipients due now, for one letter or for all, a page at a time.
pub(super) fn retry(commit: &mut Commit<'_>, command: &RetryCommand) -> Outcome {
    let (ids, next_after) = match command.queue_id.is_empty() {
        true => letters_after(commit, command)?,
        false => (vec![queue_id(&command.queue_id)?], String::new()),
    };
    let mut letters = 0;
    for id in ids {
        letters += u64::from(retry_letter(commit, &id)?);
    }
    if letters == 0 && !command.queue_id.is_empty() {
        return Err(refuse(
            RefusalKind::NotFound,
            "there is no such letter in the queue",
        ));
    }
    Ok(Answer::Retried(RetryAnswer {
        letters,
        next_after,
    }))
}

fn letters_after(commit: &Commit<'_>, command: &RetryCommand) -> Outcome<(Vec<QueueId>, String)> {
    let mut range = spool::letters(commit.space());
    if !command.after_queue_id.is_empty() {
        let after = queue_id(&command.after_queue_id)?;
        range = range.after(spool::letter(commit.space(), &after));
    }
    let mut ids = Vec::new();
    let limit = usize::try_from(command.limit).unwrap_or(usize::MAX).max(1);
    commit.rows.visit(Family::Spool, &range, &mut |key, _| {
        ids.push(spool::parse_id(key)?);
        Ok(match ids.len() < limit {
            true => crate::model::Flow::Continue(()),
            false => crate::model::Flow::Break(()),
        })
    })?;
    let next = match ids.last() {
        Some(last) if ids.len() == limit => last.to_string(),
        _ => String::new(),
    };
    Ok((ids, next))
}

fn retry_letter(commit: &mut Commit<'_>, id: &QueueId) -> Outcome<bool> {
    let space = commit.space();
    let now = commit.stamp_ms();
    let key = spool::progress(space, id);
    let Some(old) = commit.rows.row::<ProgressRow>(Family::Spool, key)? else {
        return Ok(false);
    };
    for mut state in spool::recipient_states(&commit.rows, space, id)? {
        if state.status() == RecipientStatus::Pending && state.next_attempt_ms > now {
            state.next_attempt_ms = now;
            let key = spool::recipient(space, id, state.recipient);
            commit.put(Family::Spool, key, &state);
        }
    }
    // Told even if it was due already: the holder may have planned otherwise.
    let due_ms = old.due_ms.min(now);
    let new = ProgressRow { due_ms, ..old };
    put_progress(commit, id, Some(&old), new);
    commit.tell_due(due_ms, &id.to_string());
    Ok(true)
}

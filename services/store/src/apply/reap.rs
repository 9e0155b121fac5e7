//! What is old goes: uploads nobody finished, marks nobody will ask for, messages of mailboxes
//! that were removed. The leader proposes it with the times; each command does a page.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{ReapAnswer, ReapCommand};

use super::commit::{Commit, Outcome};
use super::upload;
use crate::db::{DbError, Family};
use crate::model::message::{self, MessageRow};
use crate::model::spool::{self, UploadRow};
use crate::model::{Range, Rows, decode, last_u64, mailbox};

/// One page of reaping.
pub(super) fn reap(commit: &mut Commit<'_>, command: &ReapCommand) -> Outcome {
    let limit = usize::try_from(command.limit).unwrap_or(usize::MAX).max(1);
    let more = [
        uploads(commit, command.uploads_before_ms)?,
        accepted(commit, command.accepted_before_ms, limit)?,
        filed(commit, command.filed_before_ms, limit)?,
        appended(commit, command.appended_before_ms, limit)?,
        doomed(commit, limit)?,
    ];
    Ok(Answer::Reaped(ReapAnswer {
        more: more.contains(&true),
    }))
}

fn uploads(commit: &mut Commit<'_>, before_ms: u64) -> Result<bool, DbError> {
    let space = commit.space();
    let range = spool::uploads(space);
    // Uploads under way are few.
    for (key, row) in commit.rows.page(Family::Spool, &range, usize::MAX)? {
        let row: UploadRow = decode(row)?;
        if row.last_ms < before_ms {
            let id = spool::parse_upload(space, &key)?;
            upload::discard(commit, &id)?;
        }
    }
    Ok(false)
}

/// Removes the rows of a range, up to `limit`; true if there may be more.
fn clear(
    commit: &mut Commit<'_>,
    family: Family,
    range: &Range,
    limit: usize,
) -> Result<bool, DbError> {
    let rows = commit.rows.page(family, range, limit)?;
    let more = rows.len() == limit;
    for (key, _) in rows {
        commit.rows.delete_raw(family, key);
    }
    Ok(more)
}

fn accepted(commit: &mut Commit<'_>, before_ms: u64, limit: usize) -> Result<bool, DbError> {
    let range = spool::marks_between(commit.space(), commit.shard.accepted_floor_ms, before_ms);
    let more = clear(commit, Family::Spool, &range, limit)?;
    if !more {
        commit.shard.accepted_floor_ms = commit.shard.accepted_floor_ms.max(before_ms);
    }
    Ok(more)
}

fn filed(commit: &mut Commit<'_>, before_ms: u64, limit: usize) -> Result<bool, DbError> {
    commit.shard.filed_forgotten_ms = commit.shard.filed_forgotten_ms.max(before_ms);
    let range = spool::filed_between(commit.space(), commit.shard.filed_floor_ms, before_ms);
    let more = clear(commit, Family::Dedupe, &range, limit)?;
    if !more {
        commit.shard.filed_floor_ms = commit.shard.filed_floor_ms.max(before_ms);
    }
    Ok(more)
}

fn appended(commit: &mut Commit<'_>, before_ms: u64, limit: usize) -> Result<bool, DbError> {
    let space = commit.space();
    let range = spool::appended_before(space, before_ms);
    let rows = commit.rows.page(Family::Dedupe, &range, limit)?;
    let more = rows.len() == limit;
    for (key, _) in rows {
        let (account, upload) = spool::parse_appended_at(space, &key)?;
        commit
            .rows
            .delete(Family::Dedupe, spool::appended(space, account, &upload));
        commit.rows.delete_raw(Family::Dedupe, key);
    }
    Ok(more)
}

/// Empties one mailbox that was removed, up to `limit` messages.
fn doomed(commit: &mut Commit<'_>, limit: usize) -> Result<bool, DbError> {
    let space = commit.space();
    let Some((key, _)) = commit.rows.head(Family::Spool, &spool::doomed_all(space))? else {
        return Ok(false);
    };
    let (account, id) = (last_u64(&key[..key.len() - 8])?, last_u64(&key)?);
    let messages = message::all(space, account, id);
    let rows = commit.rows.page(Family::Mailbox, &messages, limit)?;
    let mut more = rows.len() == limit;
    for (key, row) in rows {
        commit.drop_email(MessageRow::decode(&row)?.email)?;
        commit.rows.delete_raw(Family::Mailbox, key);
    }
    let rest = [
        (Family::Mailbox, mailbox::deleted_all(space, account, id)),
        (Family::Mailbox, mailbox::runs(space, account, id)),
        (Family::Change, mailbox::changed_all(space, account, id)),
        (Family::Change, mailbox::expunged_all(space, account, id)),
    ];
    for (family, range) in rest {
        more |= clear(commit, family, &range, limit)?;
    }
    if !more {
        commit.rows.delete_raw(Family::Spool, key);
        // Another one may wait.
        more = commit
            .rows
            .head(Family::Spool, &spool::doomed_all(space))?
            .is_some();
    }
    Ok(more)
}

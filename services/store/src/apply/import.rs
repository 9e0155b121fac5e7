//! An account comes from another shard: the side that takes it in. What comes has the ids that it
//! had, so that nobody who uses the account sees a difference.
//!
//! | the account here | to                  | by                                                 |
//! |------------------|---------------------|----------------------------------------------------|
//! | (none), moved    | coming              | OpenImport                                         |
//! | coming           | coming              | ImportEmail; ImportRows, once it is closed there   |
//! | coming           | here                | FinishImport, the first one                        |
//! | (none), coming   | moved               | AbandonImport                                      |
//!
//! Each command can be repeated, and one of an earlier move is refused. Emails come ahead, while
//! the account is in use where it is; each is kept for the move as if a message showed it. When the
//! account is here they are let go, a page at a time, and with that the ones go which were expunged
//! meanwhile.

use bytes::Bytes;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    AbandonImportCommand, Done, FinishImportCommand, ImportAnswer, ImportEmailCommand,
    ImportRowsCommand, ImportedRow, OpenImportCommand, RefusalKind,
};

use super::commit::{Commit, Outcome, Rejection, refuse};
use super::{account as accounts, hold};
use crate::db::{DbError, Family};
use crate::model::account::{self, AccountRow};
use crate::model::email::{self, EmailRow};
use crate::model::mailbox;
use crate::model::message::{self, MessageRow};
use crate::model::spool;
use crate::model::{Rows, decode, fixed, last_u64};

fn late() -> Rejection {
    let why = "the account does not come here by this move";
    refuse(RefusalKind::FailedPrecondition, why)
}

/// The account, which must be coming by this move.
fn coming(commit: &Commit<'_>, id: u64, by: u64) -> Outcome<AccountRow> {
    let row = account::row(&commit.rows, commit.space(), id)?;
    row.filter(|row| row.coming == by).ok_or_else(late)
}

/// Whether the move has brought the account already.
fn has_come(row: &AccountRow, by: u64) -> bool {
    row.coming == 0 && row.leaving == 0 && !row.gone && row.last_move == by
}

/// Lets an account come.
pub(super) fn open(commit: &mut Commit<'_>, command: &OpenImportCommand) -> Outcome {
    hold::check(commit)?;
    let (id, by) = (command.account, command.r#move);
    let finished = |finished| {
        Answer::Imported(ImportAnswer {
            finished,
            more: false,
        })
    };
    match account::row(&commit.rows, commit.space(), id)? {
        Some(row) if row.coming == by => return Ok(finished(false)),
        Some(row) if has_come(&row, by) => return Ok(finished(true)),
        // It was here once, and left.
        Some(row) if row.gone && row.moved_to != 0 && row.last_move < by => {}
        Some(_) => return Err(late()),
        None => {}
    }
    let doomed = spool::doomed_of(commit.space(), id);
    if commit.rows.head(Family::Spool, &doomed)?.is_some() {
        let why = "what the account left here the last time is still being cleared away";
        return Err(refuse(RefusalKind::Held, why));
    }
    let row = AccountRow {
        coming: by,
        last_move: by,
        ..AccountRow::default()
    };
    commit.put_account(id, &row);
    Ok(finished(false))
}

/// Keeps an email under its id. One that is here already gets one more reference.
pub(super) fn email(commit: &mut Commit<'_>, command: ImportEmailCommand) -> Outcome {
    coming(commit, command.account, command.r#move)?;
    let (space, id) = (commit.space(), command.email);
    let ahead = email::ahead(space, command.account, id);
    if commit.rows.get(Family::Email, ahead)?.is_some() {
        commit.drop_source(command.body.as_ref())?;
        return Ok(Answer::Done(Done {}));
    }
    match email::find(&commit.rows, space, id)? {
        // Another account that has come from there shows it.
        Some(_) => {
            commit.drop_source(command.body.as_ref())?;
            commit.share_email(id, 1)?;
        }
        None => {
            let row = EmailRow {
                content: command.content,
                body: commit.take_source(command.body)?,
                size: command.size,
            };
            commit.put(Family::Email, email::email(space, id), &row);
        }
    }
    let ahead = email::ahead(space, command.account, id);
    commit.rows.put(Family::Email, ahead, fixed(&[]));
    Ok(Answer::Done(Done {}))
}

/// Keeps rows as they were. A message's row, the first time, takes a reference to its email.
pub(super) fn rows(commit: &mut Commit<'_>, command: ImportRowsCommand) -> Outcome {
    hold::check(commit)?;
    let id = command.account;
    coming(commit, id, command.r#move)?;
    let family = Family::by_name(&command.family);
    for row in command.rows {
        match family {
            Some(Family::Mailbox | Family::Change) => account_row(commit, id, family, row)?,
            Some(Family::Dedupe) => mark(commit, row),
            _ => return Err(refuse(RefusalKind::Invalid, "no family that moves")),
        }
    }
    Ok(Answer::Done(Done {}))
}

/// A row of the account.
fn account_row(
    commit: &mut Commit<'_>,
    id: u64,
    family: Option<Family>,
    row: ImportedRow,
) -> Outcome<()> {
    let family = family.unwrap_or(Family::Mailbox);
    let tail = row.key.strip_prefix(id.to_be_bytes().as_slice());
    let tag = tail.and_then(|tail| tail.first().copied());
    // The account's own row comes last, with the end.
    if tag.is_none() || (family, tag) == (Family::Mailbox, Some(account::ACCOUNT)) {
        return Err(refuse(RefusalKind::Invalid, "a row that does not belong"));
    }
    let key = commit.space().key().bytes(&row.key);
    if (family, tag) == (Family::Mailbox, Some(message::MESSAGE)) {
        let email = MessageRow::decode(&row.value)?.email;
        let known = commit.rows.get(family, key.clone())?.is_some();
        if !known {
            refer(commit, email)?;
        }
    }
    commit.rows.put(family, key, row.value);
    Ok(())
}

/// One more message shows an email, which must have come.
fn refer(commit: &mut Commit<'_>, id: u64) -> Outcome<()> {
    if email::find(&commit.rows, commit.space(), id)?.is_none() {
        let why = "the email of a message has not come";
        return Err(refuse(RefusalKind::FailedPrecondition, why));
    }
    Ok(commit.share_email(id, 1)?)
}

/// A mark of what was filed or appended. Those that would be forgotten here are not taken: nobody
/// would forget them.
fn mark(commit: &mut Commit<'_>, row: ImportedRow) {
    let minted = spool::filed_minted_ms(&row.key);
    if minted.is_some_and(|minted| minted < commit.shard.filed_floor_ms) {
        return;
    }
    let key = commit.space().key().bytes(&row.key);
    commit.rows.put(Family::Dedupe, key, row.value);
}

/// The account is here from now on. Then, a page at a time, lets go of what came ahead.
pub(super) fn finish(commit: &mut Commit<'_>, command: &FinishImportCommand) -> Outcome {
    hold::check(commit)?;
    let (space, id) = (commit.space(), command.account);
    let known = account::row(&commit.rows, space, id)?;
    if !known.is_some_and(|row| has_come(&row, command.r#move)) {
        coming(commit, id, command.r#move)?;
        if command.row.is_empty() {
            return Err(late());
        }
        let row = AccountRow {
            coming: 0,
            leaving: 0,
            last_move: command.r#move,
            ..parse(command.row.clone())?
        };
        commit.put_account(id, &row);
    }
    let more = let_go(commit, id, command.limit)?;
    Ok(Answer::Imported(ImportAnswer {
        finished: true,
        more,
    }))
}

/// Lets go of everything that has come by a move that was called off, and lets nothing more come.
pub(super) fn abandon(commit: &mut Commit<'_>, command: &AbandonImportCommand) -> Outcome {
    hold::check(commit)?;
    let (space, id, by) = (commit.space(), command.account, command.r#move);
    let answer = |finished: bool, more: bool| Ok(Answer::Imported(ImportAnswer { finished, more }));
    let row = account::row(&commit.rows, space, id)?.unwrap_or_default();
    if has_come(&row, by) {
        return answer(true, false);
    }
    if row.coming != by && row.last_move >= by {
        // It was done before, or a later move has come.
        return answer(false, false);
    }
    if let_go(commit, id, command.limit)? {
        return answer(false, true);
    }
    let names = mailbox::names(space, id);
    let mark = AccountRow {
        gone: true,
        moved_to: command.home,
        last_move: by,
        ..AccountRow::default()
    };
    accounts::clear(commit, id, row, &mark)?;
    for (key, _) in commit.rows.page(Family::Mailbox, &names, usize::MAX)? {
        commit.rows.delete_raw(Family::Mailbox, key);
    }
    answer(false, false)
}

/// Lets go of a page of what came ahead of an account. True if there may be more.
fn let_go(commit: &mut Commit<'_>, id: u64, limit: u32) -> Outcome<bool> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
    let ahead = email::ahead_all(commit.space(), id);
    let ahead = commit.rows.page(Family::Email, &ahead, limit)?;
    let more = ahead.len() == limit;
    for (key, _) in ahead {
        commit.drop_email(last_u64(&key)?)?;
        commit.rows.delete_raw(Family::Email, key);
    }
    Ok(more)
}

fn parse(row: Bytes) -> Result<AccountRow, DbError> {
    decode(row)
}

//! EXPUNGE: messages go for good.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{ExpungeAnswer, ExpungeCommand};

use super::commit::{Commit, Outcome};
use super::copy::take_out;
use super::filing::{Opened, read_ranges, runs_of};
use crate::db::{DbError, Family};
use crate::model::message::{self, MessageRow};
use crate::model::{Rows, last_u32, mailbox};

/// Removes the messages asked for that are \Deleted, or whatever their flags if asked so.
pub(super) fn expunge(commit: &mut Commit<'_>, command: &ExpungeCommand) -> Outcome {
    let mut opened = commit.open(command.account, command.mailbox)?;
    let (messages, next_uid) = match command.ignore_deleted_flag {
        true => commit.messages(&opened, &command.uids, command.limit)?,
        false => deleted(commit, &opened, command)?,
    };
    take_out(commit, &mut opened, &messages)?;
    for (_, row) in &messages {
        commit.drop_email(row.email)?;
    }
    Ok(Answer::Expunged(ExpungeAnswer {
        expunged: runs_of(messages.iter().map(|(uid, _)| *uid)),
        highest_mod_seq: opened.mailbox.highest_mod_seq,
        next_uid,
    }))
}

/// The \Deleted messages among those asked for, found by their index.
fn deleted(
    commit: &Commit<'_>,
    opened: &Opened,
    command: &ExpungeCommand,
) -> Result<(Vec<(u32, MessageRow)>, u32), DbError> {
    let (space, account, id) = (commit.space(), opened.account_id, opened.id);
    let all = || mailbox::deleted_all(space, account, id);
    let ranges = command.uids.iter().map(|uids| {
        let range = all().from(mailbox::deleted(space, account, id, uids.first));
        match uids.last.checked_add(1) {
            Some(end) => range.below(mailbox::deleted(space, account, id, end)),
            None => range,
        }
    });
    let mut ranges: Vec<_> = ranges.collect();
    if ranges.is_empty() {
        ranges.push(all());
    }
    let read = |key: &[u8], _: &[u8]| last_u32(key);
    let limit = command.limit;
    let (uids, next) = read_ranges(
        &commit.rows,
        Family::Mailbox,
        ranges.into_iter(),
        limit,
        read,
    )?;
    let mut messages = Vec::with_capacity(uids.len());
    for uid in uids {
        let key = message::message(space, account, id, uid);
        if let Some(row) = commit.rows.get(Family::Mailbox, key)? {
            messages.push((uid, MessageRow::decode(&row)?));
        }
    }
    Ok((messages, next))
}

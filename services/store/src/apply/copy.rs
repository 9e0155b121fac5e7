//! COPY and MOVE (RFC 6851): new messages that show the same emails.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    RefusalKind, TransferAnswer, TransferCommand, TransferMode, UidPair,
};

use super::append::too_many_keywords;
use super::commit::{Commit, Outcome, refuse};
use super::filing::{Opened, runs_of};
use crate::model::message::MessageRow;

/// Copies or moves messages into another mailbox of the account, or the same one.
pub(super) fn transfer(commit: &mut Commit<'_>, command: &TransferCommand) -> Outcome {
    let (target_id, _) = commit.mailbox_named(command.account, &command.target)?;
    let mut source = commit.open(command.account, command.mailbox)?;
    let (messages, next_uid) = commit.messages(&source, &command.uids, command.limit)?;
    let moves = match command.mode() {
        TransferMode::Copy => false,
        TransferMode::Move => true,
        TransferMode::Unspecified => {
            return Err(refuse(RefusalKind::Invalid, "neither COPY nor MOVE"));
        }
    };
    let octets = messages
        .iter()
        .fold(0_u64, |sum, (_, row)| sum.saturating_add(row.size));
    if !moves && !source.account.has_room(octets, messages.len() as u64) {
        return Err(refuse(
            RefusalKind::OverQuota,
            "the account's quota is used up",
        ));
    }
    if moves {
        take_out(commit, &mut source, &messages)?;
    }
    let mut target = commit.open(command.account, target_id)?;
    let uids = put_in(commit, &source, &mut target, &messages)?;
    if !moves {
        for (_, row) in &messages {
            commit.share_email(row.email, 1)?;
        }
    }
    let pair = |((source, _), target): (&(u32, MessageRow), u32)| UidPair {
        source: *source,
        target,
    };
    let highest_mod_seq = match target_id == command.mailbox {
        true => target.mailbox.highest_mod_seq,
        false => source.mailbox.highest_mod_seq,
    };
    Ok(Answer::Transferred(TransferAnswer {
        target_uid_validity: target.mailbox.uid_validity,
        pairs: messages.iter().zip(uids).map(pair).collect(),
        highest_mod_seq,
        next_uid,
    }))
}

/// Takes messages out of a mailbox and leaves tombstones; their emails stay.
pub(super) fn take_out(
    commit: &mut Commit<'_>,
    source: &mut Opened,
    messages: &[(u32, MessageRow)],
) -> Outcome<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let mod_seq = source.next_mod_seq();
    for (uid, row) in messages {
        commit.remove(source, *uid, row)?;
    }
    let runs = runs_of(messages.iter().map(|(uid, _)| *uid));
    commit.bury(source, mod_seq, &runs);
    commit.close(source);
    Ok(())
}

/// Puts messages into a mailbox with the flags and dates they have; keywords get its own bits.
pub(super) fn put_in(
    commit: &mut Commit<'_>,
    source: &Opened,
    target: &mut Opened,
    messages: &[(u32, MessageRow)],
) -> Outcome<Vec<u32>> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let mod_seq = target.next_mod_seq();
    let mut uids = Vec::with_capacity(messages.len());
    for (_, old) in messages {
        let names = source.mailbox.keyword_names(old.keywords);
        let keywords = target.mailbox.bits(&names).ok_or_else(too_many_keywords)?;
        let row = MessageRow {
            keywords,
            mod_seq,
            ..*old
        };
        uids.push(commit.insert(target, &row)?);
    }
    commit.close(target);
    Ok(uids)
}

//! APPEND: a message straight into a mailbox, once per upload-id.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{AppendCommand, AppendResponse, RefusalKind};

use super::commit::{Commit, Outcome, refuse};
use crate::db::Family;
use crate::model::message::{self, MessageRow};
use crate::model::spool::{self, AppendMarkRow};
use crate::model::{Rows, fixed};

/// Files the message; refused over quota.
pub(super) fn append(commit: &mut Commit<'_>, command: AppendCommand) -> Outcome {
    let key = spool::appended(commit.space(), command.account, &command.upload_id);
    if let Some(mark) = commit.rows.row::<AppendMarkRow>(Family::Dedupe, key)? {
        commit.drop_source(command.body.as_ref())?;
        return Ok(answer(&mark));
    }
    let (id, _) = commit.mailbox_named(command.account, &command.mailbox)?;
    let mut opened = commit.open(command.account, id)?;
    if !opened.account.has_room(command.email_size, 1) {
        return Err(refuse(
            RefusalKind::OverQuota,
            "the account's quota is used up",
        ));
    }
    let keywords = opened.mailbox.bits(&command.keywords);
    let keywords = keywords.ok_or_else(too_many_keywords)?;
    let body = commit.take_source(command.body)?;
    let email = commit.put_email(command.email, command.email_size, body);
    let row = MessageRow {
        email,
        system_flags: system_flags(command.system_flags),
        keywords,
        mod_seq: opened.next_mod_seq(),
        size: command.email_size,
        date_ms: command.internal_date_ms,
        date_offset: i16::try_from(command.internal_date_offset).unwrap_or(0),
    };
    let uid = commit.insert(&mut opened, &row)?;
    commit.close(&opened);
    let mark = AppendMarkRow {
        mailbox: id,
        uid_validity: opened.mailbox.uid_validity,
        uid,
        at_ms: commit.now_ms(),
    };
    put_mark(commit, command.account, &command.upload_id, &mark);
    Ok(answer(&mark))
}

fn put_mark(commit: &mut Commit<'_>, account: u64, upload: &str, mark: &AppendMarkRow) {
    let space = commit.space();
    commit.put(
        Family::Dedupe,
        spool::appended(space, account, upload),
        mark,
    );
    let key = spool::appended_at(space, mark.at_ms, account, upload);
    commit.rows.put(Family::Dedupe, key, fixed(&[]));
}

fn answer(mark: &AppendMarkRow) -> Answer {
    Answer::Appended(AppendResponse {
        mailbox: mark.mailbox,
        uid_validity: mark.uid_validity,
        uid: mark.uid,
    })
}

pub(super) fn too_many_keywords() -> super::Rejection {
    refuse(
        RefusalKind::TooBig,
        "the mailbox has no room for another keyword",
    )
}

/// The bits that stand for system flags.
pub(super) fn system_flags(bits: u32) -> u8 {
    u8::try_from(bits & u32::from(message::SYSTEM)).unwrap_or(0)
}

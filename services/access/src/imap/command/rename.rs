//! `RENAME` (RFC 3501 section 6.3.5).

use postino_imap::command::Mailbox;
use postino_imap::response::ResponseCode;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::{Session, Stage};

pub(in crate::imap) async fn run(session: &mut Session, from: Mailbox, to: Mailbox) -> Outcome {
    let (from, to) = (from.name()?, to.name_to_create()?);
    if to.is_inbox() {
        return Err(Failure::no(
            ResponseCode::AlreadyExists,
            "INBOX is always there",
        ));
    }
    if to.renamed(&from, &to).is_some() {
        return Err(Failure::no(
            ResponseCode::Cannot,
            "a mailbox cannot go below itself",
        ));
    }
    session.store()?.rename_mailbox(&from, &to).await?;
    // The messages of INBOX move, the mailbox stays: its view is brought up to date as always.
    if !from.is_inbox()
        && let Stage::Selected(_, selected) = &mut session.stage
        && let Some(Ok(renamed)) = selected.name.renamed(&from, &to)
    {
        selected.name = renamed;
    }
    Ok(Done::new("renamed"))
}

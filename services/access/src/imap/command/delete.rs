//! `DELETE` (RFC 3501 section 6.3.4).

use postino_imap::command::Mailbox;
use postino_imap::response::ResponseCode;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::{Session, Stage};

pub(in crate::imap) async fn run(session: &mut Session, mailbox: Mailbox) -> Outcome {
    let name = mailbox.name()?;
    if name.is_inbox() {
        return Err(Failure::no(ResponseCode::Cannot, "INBOX cannot be deleted"));
    }
    session.store()?.delete_mailbox(&name).await?;
    // Who deletes the mailbox that is selected goes on without one.
    if matches!(&session.stage, Stage::Selected(_, selected) if selected.name == name) {
        session.unselect();
    }
    Ok(Done::new("deleted"))
}

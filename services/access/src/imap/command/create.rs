//! `CREATE` (RFC 3501 section 6.3.3, RFC 6154 section 3).

use postino_imap::command::Mailbox;
use postino_imap::response::ResponseCode;
use postino_types::SpecialUse;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) async fn run(
    session: &mut Session,
    mailbox: Mailbox,
    special_use: Option<SpecialUse>,
) -> Outcome {
    let name = mailbox.name_to_create()?;
    if name.is_inbox() {
        return Err(Failure::no(
            ResponseCode::AlreadyExists,
            "INBOX is always there",
        ));
    }
    session.store()?.create_mailbox(&name, special_use).await?;
    Ok(Done::new("created"))
}

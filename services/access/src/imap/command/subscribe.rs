//! `SUBSCRIBE` and `UNSUBSCRIBE` (RFC 3501 sections 6.3.6 and 6.3.7).

use postino_imap::command::Mailbox;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

/// What is done with the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imap) enum Change {
    Subscribe,
    Unsubscribe,
}

pub(in crate::imap) async fn run(
    session: &mut Session,
    mailbox: Mailbox,
    change: Change,
) -> Outcome {
    let name = mailbox.name_to_create()?;
    let subscribed = change == Change::Subscribe;
    session.store()?.set_subscription(&name, subscribed).await?;
    Ok(Done::new("done"))
}

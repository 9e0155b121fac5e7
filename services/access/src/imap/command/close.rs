//! `CLOSE` (RFC 3501 section 6.4.2) and `UNSELECT` (RFC 3691).

use postino_imap::state::Access;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

/// What becomes of messages with `\Deleted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::imap) enum Deleted {
    Expunge,
    Keep,
}

pub(in crate::imap) async fn run(session: &mut Session, deleted: Deleted) -> Outcome {
    let store = session.store()?;
    let selected = session.selected()?;
    // Nothing is said of what CLOSE removes, and read-only it removes nothing.
    if deleted == Deleted::Expunge && selected.access == Access::ReadWrite {
        store.expunge(selected.mailbox, Vec::new()).await?;
    }
    session.unselect();
    Ok(Done::new("closed"))
}

//! `EXPUNGE` (RFC 3501 section 6.4.3) and `UID EXPUNGE` (RFC 4315 section 2.1).

use postino_imap::command::Numbering;
use postino_imap::{Changes, Expunges, SequenceSet};

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::notify;
use crate::imap::session::Session;
use crate::imap::sets;

pub(in crate::imap) async fn run(session: &mut Session, uids: Option<SequenceSet>) -> Outcome {
    let store = session.store()?;
    let selected = session.selected()?;
    let only = match uids {
        None => Vec::new(),
        Some(set) => {
            let chosen = selected
                .view
                .select(Numbering::Uid, &set)
                .map_err(|error| Failure::Bad(error.to_string().into()))?;
            if chosen.uids.is_empty() {
                // An empty list would mean all of them.
                return Ok(Done::new("nothing to expunge"));
            }
            sets::to_ranges(&chosen.uids)
        }
    };
    let expunged = store.expunge(selected.mailbox, only).await?;
    let changes = Changes {
        expunged: sets::from_ranges(&expunged.expunged),
        ..Changes::default()
    };
    let updates = selected.view.apply(changes, Expunges::Tell);
    notify::put_updates(session, updates);
    Ok(Done::new("expunged"))
}

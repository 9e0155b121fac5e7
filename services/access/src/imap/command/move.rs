//! `MOVE` (RFC 6851).

use postino_imap::command::{Mailbox, Numbering};
use postino_imap::response::{self, Condition};
use postino_imap::{Changes, Expunges, SequenceSet};

use super::copy::{chosen, code, read_back, try_create};
use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;
use crate::imap::{notify, sets};

pub(in crate::imap) async fn run(
    session: &mut Session,
    numbering: Numbering,
    set: SequenceSet,
    target: Mailbox,
) -> Outcome {
    let target = target.name()?;
    let uids = chosen(session, numbering, &set)?;
    if uids.is_empty() {
        return Ok(Done::new("nothing to move"));
    }
    let mailbox = session.selected()?.mailbox;
    let moved = session
        .store()?
        .move_messages(mailbox, sets::to_ranges(&uids), &target)
        .await
        .map_err(try_create)?;
    // COPYUID comes before the expunges (section 4.3).
    if let Some(code) = code(moved.target_uid_validity, &moved.moved) {
        response::put_untagged(session.link.out(), Condition::Ok, Some(&code), "moved");
    }
    let changes = Changes {
        expunged: moved
            .moved
            .iter()
            .map(|pair| pair.source..=pair.source)
            .collect(),
        ..Changes::default()
    };
    let updates = session.selected()?.view.apply(changes, Expunges::Tell);
    notify::put_updates(session, updates);
    read_back(session, &target).await?;
    Ok(Done::new("moved"))
}

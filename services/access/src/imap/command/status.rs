//! `STATUS` (RFC 3501 section 6.3.10).

use postino_imap::UidRuns;
use postino_imap::command::{Status, StatusItem};
use postino_imap::response;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::Session;
use crate::imap::sets;

pub(in crate::imap) async fn run(session: &mut Session, status: Status) -> Outcome {
    let name = status.mailbox.name()?;
    let store = session.store()?;
    let state = store.open_mailbox(&name, false).await?;
    let mut items = Vec::with_capacity(status.items.len());
    for item in status.items {
        let value = match item {
            StatusItem::Messages => state.exists.into(),
            StatusItem::UidNext => state.uid_next.into(),
            StatusItem::UidValidity => state.uid_validity.into(),
            StatusItem::Unseen => state.unseen.into(),
            StatusItem::HighestModSeq => state.highest_mod_seq,
            StatusItem::Recent if recent_may_exist(state.first_recent, state.uid_next) => {
                let uids = store
                    .list_uids(state.mailbox)
                    .await
                    .map_err(Failure::from)?;
                let runs = UidRuns::from_ranges(sets::from_ranges(&uids.uids));
                runs.count_from(state.first_recent).into()
            }
            StatusItem::Recent => 0,
        };
        items.push((item, value));
    }
    response::put_mailbox_status(session.link.out(), name.as_str(), &items);
    Ok(Done::new("done"))
}

fn recent_may_exist(first_recent: u32, uid_next: u32) -> bool {
    first_recent != 0 && first_recent < uid_next
}

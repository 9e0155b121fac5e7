//! `SELECT` and `EXAMINE` (RFC 3501 sections 6.3.1 and 6.3.2).

use std::collections::HashMap;

use postino_imap::command::{Mailbox, Numbering};
use postino_imap::response::{self, Condition, ResponseCode};
use postino_imap::state::Access;
use postino_imap::{SequenceSet, UidRuns, View};
use postino_proto::store::v1::MailboxState;
use postino_types::{Flag, FlagSet, ModSeq, Uid, UidValidity};

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::{Selected, Session, Stage};
use crate::imap::sets;
use crate::store_error::StoreError;

pub(in crate::imap) async fn run(
    session: &mut Session,
    mailbox: Mailbox,
    access: Access,
) -> Outcome {
    // A failed SELECT leaves no mailbox selected (section 6.3.1).
    session.unselect();
    let name = mailbox.name()?;
    let user = session.user()?;
    let (store, heard) = (user.store.clone(), user.watch.heard());
    let claim = access == Access::ReadWrite;
    let state = store.open_mailbox(&name, claim).await?;
    let uids = store.list_uids(state.mailbox).await?;
    let mod_seq = ModSeq::new(uids.highest_mod_seq.max(1)).unwrap_or(ModSeq::MIN);
    let runs = UidRuns::from_ranges(sets::from_ranges(&uids.uids));
    let first_recent = match state.first_recent {
        0 => state.uid_next,
        first => first,
    };
    let selected = Selected {
        mailbox: state.mailbox,
        name,
        access,
        view: View::new(runs, first_recent, mod_seq),
        own: HashMap::new(),
        heard,
        flags: announced_flags(&state),
    };
    put_state(session.link.out(), &state, &selected)?;
    let done = match access {
        Access::ReadWrite => Done::with(ResponseCode::ReadWrite, "selected"),
        Access::ReadOnly => Done::with(ResponseCode::ReadOnly, "selected"),
    };
    if let Stage::Authenticated(user) =
        std::mem::replace(&mut session.stage, Stage::NotAuthenticated)
    {
        session.stage = Stage::Selected(user, Box::new(selected));
    }
    Ok(done)
}

/// The system flags, and the keywords in use that can be written.
fn announced_flags(state: &MailboxState) -> FlagSet {
    let keywords = state.keywords.iter().filter_map(|k| k.parse().ok());
    Flag::SYSTEM.into_iter().chain(keywords).collect()
}

fn put_state(
    out: &mut Vec<u8>,
    state: &MailboxState,
    selected: &Selected,
) -> Result<(), StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("a mailbox has no valid {what}"));
    let validity = UidValidity::new(state.uid_validity).map_err(|_| broken("UIDVALIDITY"))?;
    // A message may have come between the two reads.
    let last = selected.view.uid_at(selected.view.exists());
    let after_last = last.and_then(Uid::next).map_or(1, Uid::get);
    let uid_next = Uid::new(state.uid_next.max(after_last)).map_err(|_| broken("UIDNEXT"))?;
    let writable = selected.access == Access::ReadWrite;
    let permanent = ResponseCode::PermanentFlags {
        flags: match writable {
            true => selected.flags.clone(),
            false => FlagSet::new(),
        },
        new_keywords: writable,
    };
    response::put_flags(out, &selected.flags);
    response::put_exists(out, selected.view.exists());
    response::put_recent(out, selected.view.recent());
    let mut remark = |code: ResponseCode, text: &str| {
        response::put_untagged(out, Condition::Ok, Some(&code), text);
    };
    if let Some(sequence) = first_unseen(state, selected) {
        remark(ResponseCode::Unseen(sequence), "first unseen message");
    }
    remark(permanent, "flags that last");
    remark(ResponseCode::UidValidity(validity), "UIDs are valid");
    remark(ResponseCode::UidNext(uid_next), "predicted next UID");
    remark(
        ResponseCode::HighestModSeq(selected.view.mod_seq()),
        "highest",
    );
    Ok(())
}

/// The sequence number of the first message without `\Seen`.
fn first_unseen(state: &MailboxState, selected: &Selected) -> Option<u32> {
    if state.first_unseen == 0 {
        return None;
    }
    let set = SequenceSet::range(state.first_unseen, state.first_unseen);
    let found = selected.view.select(Numbering::Uid, &set).ok()?;
    selected
        .view
        .members(&found)
        .next()
        .map(|(sequence, _)| sequence)
}

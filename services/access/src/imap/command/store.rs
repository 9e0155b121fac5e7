//! `STORE` (RFC 3501 section 6.4.6).

use postino_imap::SequenceSet;
use postino_imap::command::{FlagOperation, Numbering, Reporting, Store};
use postino_imap::response::FetchWriter;
use postino_proto::store::v1::{self, MessageRow};
use postino_types::Uid;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::notify::{parse_row, put_new_keywords};
use crate::imap::session::{CondStore, Session, Stage};
use crate::imap::sets;

/// Messages of one call: its answer holds a row for each.
const BATCH: usize = 5_000;

pub(in crate::imap) async fn run(
    session: &mut Session,
    numbering: Numbering,
    store: Store,
) -> Outcome {
    let members = members(session, numbering, &store.set)?;
    let mailbox = session.selected()?.mailbox;
    let account = session.store()?;
    let operation = match store.operation {
        FlagOperation::Replace => v1::FlagOperation::Replace,
        FlagOperation::Add => v1::FlagOperation::Add,
        FlagOperation::Remove => v1::FlagOperation::Remove,
    };
    for batch in members.chunks(BATCH) {
        let uids = sets::uids_to_ranges(batch.iter().map(|(_, uid)| *uid));
        let stored = account
            .store_flags(mailbox, uids, operation, &store.flags)
            .await?;
        for row in &stored.messages {
            put_row(session, row, numbering, store.reporting)?;
            session.link.pace().await?;
        }
    }
    Ok(Done::new("stored"))
}

/// The messages of a set, as sequence number and UID.
pub(super) fn members(
    session: &mut Session,
    numbering: Numbering,
    set: &SequenceSet,
) -> Result<Vec<(u32, Uid)>, Failure> {
    let view = &session.selected()?.view;
    let selection = view
        .select(numbering, set)
        .map_err(|error| Failure::Bad(error.to_string().into()))?;
    Ok(view.members(&selection).collect())
}

fn put_row(
    session: &mut Session,
    row: &MessageRow,
    numbering: Numbering,
    reporting: Reporting,
) -> Result<(), Failure> {
    let (uid, flags, mod_seq) = parse_row(row)?;
    let cond_store = session.cond_store;
    let Stage::Selected(_, selected) = &mut session.stage else {
        return Ok(());
    };
    if mod_seq > selected.view.mod_seq() {
        selected.own.insert(uid, mod_seq);
    }
    let Some(sequence) = selected.view.sequence_of(uid) else {
        return Ok(());
    };
    let out = session.link.out();
    put_new_keywords(out, selected, &flags);
    if reporting == Reporting::Silent && cond_store == CondStore::Off {
        return Ok(());
    }
    let mut fetch = FetchWriter::start(out, sequence);
    if numbering == Numbering::Uid {
        fetch.uid(out, uid);
    }
    if reporting == Reporting::Full {
        fetch.flags(out, &flags, selected.view.is_recent(uid));
    }
    if cond_store == CondStore::On {
        fetch.mod_seq(out, mod_seq);
    }
    fetch.finish(out);
    Ok(())
}

//! Telling a session what others did to its mailbox (RFC 3501 sections 5.2 and 7).

use postino_imap::response::{self, FetchWriter};
use postino_imap::{Changes, Expunges, Update};
use postino_proto::convert;
use postino_proto::store::v1::MessageRow;
use postino_types::{FlagSet, ModSeq, Uid};

use super::failure::Failure;
use super::session::{CondStore, Selected, Session, Stage};
use super::sets;
use crate::store_error::StoreError;

/// A row's UID, flags and mod-sequence.
pub(super) fn parse_row(row: &MessageRow) -> Result<(Uid, FlagSet, ModSeq), StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("a message row has no valid {what}"));
    let uid = Uid::new(row.uid).map_err(|_| broken("UID"))?;
    let flags = convert::flag_set(row.system_flags, &row.keywords).map_err(|_| broken("flag"))?;
    let mod_seq = ModSeq::new(row.mod_seq).map_err(|_| broken("mod-sequence"))?;
    Ok((uid, flags, mod_seq))
}

/// At the end of a command: reads the changes only if the account's change stream says that there
/// are some, or if an expunge is waiting to be told.
pub(super) async fn at_command_end(
    session: &mut Session,
    expunges: Expunges,
) -> Result<(), Failure> {
    let Stage::Selected(user, selected) = &mut session.stage else {
        return Ok(());
    };
    if user.watch.heard() != selected.heard {
        return synchronise(session, expunges).await;
    }
    if expunges == Expunges::Tell && selected.view.holds_expunges() {
        let updates = selected.view.apply(Changes::default(), expunges);
        put_updates(session, updates);
    }
    Ok(())
}

/// Reads all changes since the view's mod-sequence from the store, and tells them.
pub(super) async fn synchronise(session: &mut Session, expunges: Expunges) -> Result<(), Failure> {
    let user = session.user()?;
    let (store, heard) = (user.store.clone(), user.watch.heard());
    let selected = session.selected()?;
    let since = selected.view.mod_seq();
    let mut pages = store.list_changes(selected.mailbox, since).await?;
    let mut changes = Changes::default();
    let mut gone = false;
    while let Some(page) = pages.message().await? {
        for row in &page.changed {
            changes.changed.push(parse_row(row)?);
        }
        changes.expunged.extend(sets::from_ranges(&page.expunged));
        gone |= page.mailbox_gone;
        changes.highest = page
            .highest_mod_seq
            .and_then(|value| ModSeq::new(value).ok())
            .or(changes.highest);
    }
    if gone {
        return Err(Failure::Bye(None, "the selected mailbox is gone"));
    }
    changes.changed.sort_by_key(|(uid, ..)| *uid);
    selected.heard = heard;
    let updates = selected.view.apply(changes, expunges);
    put_updates(session, updates);
    Ok(())
}

/// Writes updates; what the session did itself is left out.
pub(super) fn put_updates(session: &mut Session, updates: Vec<Update>) {
    let cond_store = session.cond_store;
    let Stage::Selected(_, selected) = &mut session.stage else {
        return;
    };
    let out = session.link.out();
    for update in updates {
        match update {
            Update::Expunge(sequence) => response::put_expunge(out, sequence),
            Update::Exists(count) => response::put_exists(out, count),
            Update::Recent(count) => response::put_recent(out, count),
            Update::Flags {
                sequence,
                uid,
                flags,
                recent,
                mod_seq,
            } => {
                if selected.own.remove(&uid).is_some_and(|own| own >= mod_seq) {
                    continue;
                }
                put_new_keywords(out, selected, &flags);
                let mut fetch = FetchWriter::start(out, sequence);
                fetch.uid(out, uid);
                fetch.flags(out, &flags, recent);
                if cond_store == CondStore::On {
                    fetch.mod_seq(out, mod_seq);
                }
                fetch.finish(out);
            }
        }
    }
    // The view has passed them all.
    let passed = selected.view.mod_seq();
    selected.own.retain(|_, mod_seq| *mod_seq > passed);
}

/// A flag that FLAGS has not announced is announced before it is used (RFC 3501 section 7.2.6).
pub(super) fn put_new_keywords(out: &mut Vec<u8>, selected: &mut Selected, flags: &FlagSet) {
    if !flags.is_subset(&selected.flags) {
        selected.flags.extend(flags.iter().cloned());
        response::put_flags(out, &selected.flags);
    }
}

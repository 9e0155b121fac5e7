//! `FETCH` (RFC 3501 section 6.4.5).
//!
//! Messages are fetched in batches: their rows, then what never changes about them, then, one
//! after the other, the octets of their bodies, which pass from the store to the socket without
//! being collected: a slow client slows the store's stream down.

mod body;

use postino_imap::DateTime;
use postino_imap::command::{Fetch, FetchItem, Numbering};
use postino_imap::response::FetchWriter;
use postino_imap::state::Access;
use postino_message::Email;
use postino_proto::store::v1::{FlagOperation, MessageRow};
use postino_types::{Flag, Uid};

use super::store::members;
use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::notify::{parse_row, put_new_keywords};
use crate::imap::session::{CondStore, Session, Stage};
use crate::imap::sets;

/// What has to be read for the items.
struct Plan {
    items: Vec<FetchItem>,
    rows: bool,
    emails: bool,
    sets_seen: bool,
}

impl Plan {
    fn new(mut items: Vec<FetchItem>, numbering: Numbering, access: Access) -> Self {
        // UID FETCH always tells UIDs (section 6.4.8).
        if numbering == Numbering::Uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        let sets_seen = access == Access::ReadWrite && items.iter().any(FetchItem::sets_seen);
        // Of a whole message only the size has to be known, which its row tells.
        let needs_row = |item: &FetchItem| {
            use FetchItem::{Flags, InternalDate, ModSeq, Rfc822Size};
            matches!(item, Flags | InternalDate | Rfc822Size | ModSeq) || body::is_whole(item)
        };
        let needs_email = |item: &FetchItem| !needs_row(item) && *item != FetchItem::Uid;
        Self {
            rows: sets_seen || items.iter().any(needs_row),
            emails: items.iter().any(needs_email),
            sets_seen,
            items,
        }
    }
}

/// One message to tell about.
struct Message {
    sequence: u32,
    uid: Uid,
    row: Option<MessageRow>,
    email: Option<Email>,
    /// Its flags were changed by this command, so they are told, asked for or not.
    now_seen: bool,
}

pub(in crate::imap) async fn run(
    session: &mut Session,
    numbering: Numbering,
    fetch: Fetch,
) -> Outcome {
    let members = members(session, numbering, &fetch.set)?;
    let access = session.selected()?.access;
    if fetch.items.contains(&FetchItem::ModSeq) {
        // Asking for it switches it on (RFC 7162 section 3.1).
        session.cond_store = CondStore::On;
    }
    let plan = Plan::new(fetch.items, numbering, access);
    let mut worst = None;
    for batch in members.chunks(session.server.config.batch.max(1)) {
        for message in read(session, &plan, batch).await? {
            match put(session, &plan.items, &message).await {
                // The response was completed without these octets; the others can be told.
                Err(Failure::Store(error)) => worst = Some(error),
                other => other?,
            }
            session.link.pace().await?;
        }
    }
    match worst {
        None => Ok(Done::new("fetched")),
        Some(error) => Err(Failure::Store(error)),
    }
}

/// Reads what the plan needs of a batch; messages that are gone are left out.
async fn read(
    session: &mut Session,
    plan: &Plan,
    batch: &[(u32, Uid)],
) -> Result<Vec<Message>, Failure> {
    let mailbox = session.selected()?.mailbox;
    let store = session.store()?;
    let ranges = sets::uids_to_ranges(batch.iter().map(|(_, uid)| *uid));
    let message = |(sequence, uid): &(u32, Uid)| Message {
        sequence: *sequence,
        uid: *uid,
        row: None,
        email: None,
        now_seen: false,
    };
    let mut messages: Vec<Message> = batch.iter().map(message).collect();
    let rows = async {
        match plan.rows {
            true => store.list_messages(mailbox, ranges.clone()).await,
            false => Ok(Vec::new()),
        }
    };
    let emails = async {
        match plan.emails {
            true => store.get_emails(mailbox, ranges.clone()).await,
            false => Ok(Vec::new()),
        }
    };
    let (rows, emails) = tokio::try_join!(rows, emails)?;
    for row in rows {
        if let Some(message) = find(&mut messages, row.uid) {
            message.row = Some(row);
        }
    }
    for email in emails {
        if let (Some(message), Some(content)) = (find(&mut messages, email.uid), email.content) {
            message.email = Some(content.into());
        }
    }
    messages.retain(|message| {
        (message.row.is_some() || !plan.rows) && (message.email.is_some() || !plan.emails)
    });
    if plan.sets_seen {
        set_seen(session, mailbox, &mut messages).await?;
    }
    Ok(messages)
}

fn find(messages: &mut [Message], uid: u32) -> Option<&mut Message> {
    let at = messages.binary_search_by_key(&uid, |message| message.uid.get());
    messages.get_mut(at.ok()?)
}

/// Bit of `\Seen` in a row: its place in [`Flag::SYSTEM`].
const SEEN: u32 = 1;

/// Sets `\Seen` where it is missing.
async fn set_seen(
    session: &mut Session,
    mailbox: u64,
    messages: &mut [Message],
) -> Result<(), Failure> {
    let is_unseen = |message: &&Message| {
        message
            .row
            .as_ref()
            .is_some_and(|r| r.system_flags & SEEN == 0)
    };
    let unseen = sets::uids_to_ranges(messages.iter().filter(is_unseen).map(|m| m.uid));
    if unseen.is_empty() {
        return Ok(());
    }
    let stored = session
        .store()?
        .store_flags(mailbox, unseen, FlagOperation::Add, &[Flag::Seen].into())
        .await?;
    let selected = session.selected()?;
    for row in stored.messages {
        let (uid, _, mod_seq) = parse_row(&row)?;
        selected.own.insert(uid, mod_seq);
        if let Some(message) = find(messages, row.uid) {
            message.row = Some(row);
            message.now_seen = true;
        }
    }
    Ok(())
}

/// Writes the response of one message.
async fn put(session: &mut Session, items: &[FetchItem], message: &Message) -> Result<(), Failure> {
    let cond_store = session.cond_store;
    let row = message.row.as_ref().map(parse_row).transpose()?;
    let Stage::Selected(_, selected) = &mut session.stage else {
        return Ok(());
    };
    let recent = selected.view.is_recent(message.uid);
    let out = session.link.out();
    let tells_flags = items.contains(&FetchItem::Flags) || message.now_seen;
    if let Some((_, flags, _)) = row.as_ref().filter(|_| tells_flags) {
        put_new_keywords(out, selected, flags);
    }
    let mut fetch = FetchWriter::start(out, message.sequence);
    if message.now_seen
        && !items.contains(&FetchItem::Flags)
        && let Some((_, flags, mod_seq)) = &row
    {
        fetch.flags(out, flags, recent);
        if cond_store == CondStore::On && !items.contains(&FetchItem::ModSeq) {
            fetch.mod_seq(out, *mod_seq);
        }
    }
    let mut failed = None;
    for item in items {
        let out = session.link.out();
        match (item, &message.row, &row, &message.email) {
            (FetchItem::Uid, ..) => fetch.uid(out, message.uid),
            (FetchItem::Flags, _, Some((_, flags, _)), _) => fetch.flags(out, flags, recent),
            (FetchItem::ModSeq, _, Some((_, _, mod_seq)), _) => fetch.mod_seq(out, *mod_seq),
            (FetchItem::InternalDate, Some(row), ..) => {
                fetch.internal_date(out, internal_date(row));
            }
            (FetchItem::Rfc822Size, Some(row), ..) => fetch.size(out, row.size),
            (FetchItem::Envelope, .., Some(email)) => fetch.wire(out, item, &email.envelope),
            (FetchItem::Body, .., Some(email)) => fetch.wire(out, item, &email.body),
            (FetchItem::BodyStructure, .., Some(email)) => {
                fetch.wire(out, item, &email.bodystructure);
            }
            (item, Some(row), ..) if body::is_whole(item) => {
                match body::put_whole(session, &mut fetch, item, message.uid, row.size).await {
                    Err(Failure::Store(error)) => failed = Some(error),
                    other => other?,
                }
            }
            (.., Some(email)) => {
                match body::put(session, &mut fetch, item, message.uid, email).await {
                    Err(Failure::Store(error)) => failed = Some(error),
                    other => other?,
                }
            }
            // The plan has read what each item needs.
            (.., None) => {}
        }
    }
    fetch.finish(session.link.out());
    match failed {
        None => Ok(()),
        Some(error) => Err(Failure::Store(error)),
    }
}

/// A row's INTERNALDATE.
pub(super) fn internal_date(row: &MessageRow) -> DateTime {
    let seconds = row.internal_date_ms.div_euclid(1000);
    DateTime::with_offset(seconds, row.internal_date_offset)
}

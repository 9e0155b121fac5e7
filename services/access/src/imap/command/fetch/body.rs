//! Sections of bodies, streamed from the store.

use std::num::NonZeroU32;

use postino_imap::command::{self, FetchItem, Partial};
use postino_imap::response::FetchWriter;
use postino_message::FieldSelection;
use postino_message::{ByteRange, Email, FieldFilter, Located, Section, SectionText, locate};
use postino_types::Uid;

use crate::account::MailAccount;
use crate::imap::failure::Failure;
use crate::imap::link::Closed;
use crate::imap::session::Session;
use crate::store_error::StoreError;

/// How often a broken stream is taken up again in the midst of a literal.
const RESUMES: u32 = 5;

/// Whether the item is the whole message, or octets of it counted from its start.
pub(super) fn is_whole(item: &FetchItem) -> bool {
    match item {
        FetchItem::Rfc822 => true,
        FetchItem::BodySection { section, .. } => section.part.is_empty() && section.text.is_none(),
        _ => false,
    }
}

/// Writes an item for which [`is_whole`] holds, of a message of `size` octets; fails as [`put`].
pub(super) async fn put_whole(
    session: &mut Session,
    fetch: &mut FetchWriter,
    item: &FetchItem,
    uid: Uid,
    size: u64,
) -> Result<(), Failure> {
    let store = session.store()?;
    let mailbox = session.selected()?.mailbox;
    let range = cut(ByteRange::new(0, size), section_of(item).1);
    stream(session, fetch, item, &store, (mailbox, uid), range).await
}

/// What a partial leaves of a range.
fn cut(range: ByteRange, partial: Option<Partial>) -> ByteRange {
    match partial {
        Some(partial) => range.partial(partial.offset.into(), partial.length.get().into()),
        None => range,
    }
}

/// Writes an item whose value is a part of the message. If its first octets cannot be read, it is
/// told as NIL, and the error is returned; the response can go on.
pub(super) async fn put(
    session: &mut Session,
    fetch: &mut FetchWriter,
    item: &FetchItem,
    uid: Uid,
    email: &Email,
) -> Result<(), Failure> {
    let (section, partial) = section_of(item);
    let store = session.store()?;
    let mailbox = session.selected()?.mailbox;
    match locate(email, &section) {
        None => {
            fetch.nil(session.link.out(), item);
            Ok(())
        }
        Some(Located::Filtered(header, selection)) => {
            let limit = session.server.config.max_header.get();
            let header = header.partial(0, limit);
            match filtered(&store, mailbox, uid, header, selection).await {
                Ok(fields) => put_filtered(session, fetch, item, partial, &fields).await,
                Err(error) => {
                    fetch.nil(session.link.out(), item);
                    Err(Failure::Store(error))
                }
            }
        }
        Some(Located::Octets(range)) => {
            let range = cut(range, partial);
            stream(session, fetch, item, &store, (mailbox, uid), range).await
        }
    }
}

/// The section that an item asks for (RFC 3501 section 6.4.5).
fn section_of(item: &FetchItem) -> (Section, Option<Partial>) {
    let whole = |text| Section {
        path: Vec::new(),
        text,
    };
    match item {
        FetchItem::Rfc822Header => (whole(SectionText::Header), None),
        FetchItem::Rfc822Text => (whole(SectionText::Text), None),
        FetchItem::BodySection {
            section, partial, ..
        } => {
            let names =
                |names: &[Box<str>]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
            let text = match &section.text {
                None => SectionText::All,
                Some(command::SectionText::Header) => SectionText::Header,
                Some(command::SectionText::HeaderFields(fields)) => {
                    SectionText::HeaderFields(FieldSelection::Only(names(fields)))
                }
                Some(command::SectionText::HeaderFieldsNot(fields)) => {
                    SectionText::HeaderFields(FieldSelection::Except(names(fields)))
                }
                Some(command::SectionText::Text) => SectionText::Text,
                Some(command::SectionText::Mime) => SectionText::Mime,
            };
            let path = section.part.iter().copied().map(NonZeroU32::get).collect();
            (Section { path, text }, *partial)
        }
        _ => (whole(SectionText::All), None),
    }
}

async fn filtered(
    store: &MailAccount,
    mailbox: u64,
    uid: Uid,
    header: ByteRange,
    selection: FieldSelection,
) -> Result<Vec<u8>, StoreError> {
    let mut filter = FieldFilter::new(selection);
    let mut out = Vec::new();
    if !header.is_empty() {
        let mut chunks = store.read_message(mailbox, uid, header).await?;
        while let Some(chunk) = chunks.message().await? {
            filter.feed(&chunk.data, &mut out);
        }
    }
    filter.finish(&mut out);
    Ok(out)
}

async fn put_filtered(
    session: &mut Session,
    fetch: &mut FetchWriter,
    item: &FetchItem,
    partial: Option<Partial>,
    fields: &[u8],
) -> Result<(), Failure> {
    let whole = ByteRange::at(0, fields.len() as u64);
    let range = cut(whole, partial);
    fetch.literal(session.link.out(), item, range.len());
    // The range lies within the slice, so both ends fit a usize.
    let (start, end) = (range.start as usize, range.end as usize);
    Ok(session.link.put_content(&fields[start..end]).await?)
}

/// Announces a range and passes it on as it is read. A stream that breaks is taken up where it
/// broke; if that does not help, nothing but closing the connection tells the client.
async fn stream(
    session: &mut Session,
    fetch: &mut FetchWriter,
    item: &FetchItem,
    store: &MailAccount,
    (mailbox, uid): (u64, Uid),
    range: ByteRange,
) -> Result<(), Failure> {
    if range.is_empty() {
        fetch.literal(session.link.out(), item, 0);
        return Ok(());
    }
    let first = async {
        let mut chunks = store.read_message(mailbox, uid, range).await?;
        let first = chunks.message().await?.ok_or(StoreError::NotFound)?;
        Ok::<_, StoreError>((chunks, first))
    };
    let (mut chunks, first) = match first.await {
        Ok(opened) => opened,
        Err(error) => {
            fetch.nil(session.link.out(), item);
            return Err(Failure::Store(error));
        }
    };
    fetch.literal(session.link.out(), item, range.len());
    let mut at = range.start;
    let mut next = Some(first);
    let mut resumes = 0;
    loop {
        if let Some(chunk) = next.take() {
            at += chunk.data.len() as u64;
            if at > range.end {
                return Err(Failure::Closed(Closed::CutOff));
            }
            session.link.put_content(&chunk.data).await?;
        }
        if at == range.end {
            return Ok(());
        }
        match chunks.message().await {
            Ok(Some(chunk)) => next = Some(chunk),
            Ok(None) | Err(_) if resumes == RESUMES => {
                tracing::warn!(%uid, "a message could not be read to its end");
                return Err(Failure::Closed(Closed::CutOff));
            }
            Ok(None) | Err(_) => {
                resumes += 1;
                let rest = ByteRange::new(at, range.end);
                match store.read_message(mailbox, uid, rest).await {
                    Ok(again) => chunks = again,
                    Err(error) => {
                        tracing::warn!(%uid, %error, "a message could not be read to its end");
                        return Err(Failure::Closed(Closed::CutOff));
                    }
                }
            }
        }
    }
}

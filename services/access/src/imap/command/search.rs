//! `SEARCH` (RFC 3501 section 6.4.4).
//!
//! The small rows of all messages that can match pass by; only where they do not decide, the
//! header is read, and only where that does not decide either, the text.

mod subject;

use std::ops::RangeInclusive;

use postino_imap::SequenceSet;
use postino_imap::View;
use postino_imap::command::{Charset, Numbering, Search};
use postino_imap::response::{self, ResponseCode};
use postino_imap::search::{Candidates, Largest, Matcher};
use postino_proto::store::v1::MessageRow;
use postino_types::Uid;

use crate::account::MailAccount;
use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::Session;
use crate::imap::sets;
use crate::store_error::StoreError;
use subject::Letter;

pub(in crate::imap) async fn run(
    session: &mut Session,
    numbering: Numbering,
    search: Search,
) -> Outcome {
    if search.charset == Charset::Unsupported {
        return Err(Failure::no(
            ResponseCode::BadCharset,
            "only UTF-8 and US-ASCII",
        ));
    }
    let store = session.store()?;
    let max_header = session.server.config.max_header.get();
    let selected = session.selected()?;
    let (mailbox, view) = (selected.mailbox, &selected.view);
    let last = view.uid_at(view.exists()).map_or(0, Uid::get);
    let largest = Largest {
        sequence: view.exists(),
        uid: last,
    };
    let matcher = Matcher::new(&search.program, largest);
    let reader = Reader {
        store: &store,
        mailbox,
        max_header,
        texts: matcher
            .body_texts()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    };
    let mut found = Vec::new();
    let candidates = candidates(view, &matcher);
    if !candidates.is_empty() {
        let mut pages = store
            .stream_messages(mailbox, sets::to_ranges(&candidates))
            .await?;
        while let Some(page) = pages.message().await? {
            for row in page.messages {
                if let Some(number) = examine(view, &matcher, &reader, row, numbering).await? {
                    found.push(number);
                }
            }
        }
    }
    response::put_search(session.link.out(), found);
    Ok(Done::new("searched"))
}

/// The number to tell of a message that matches.
async fn examine(
    view: &View,
    matcher: &Matcher,
    reader: &Reader<'_>,
    row: MessageRow,
    numbering: Numbering,
) -> Result<Option<u32>, Failure> {
    let uid = row.uid;
    let Some(sequence) = Uid::new(uid).ok().and_then(|uid| view.sequence_of(uid)) else {
        // It came since the client was told how many there are.
        return Ok(None);
    };
    let mut letter = Letter::new(sequence, &row, view)?;
    let mut verdict = matcher.matches(&letter);
    if verdict.is_none() {
        verdict = match reader.load(matcher, &mut letter).await {
            Ok(verdict) => verdict,
            // It was expunged meanwhile.
            Err(StoreError::NotFound) => Some(false),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(verdict.unwrap_or(false).then_some(match numbering {
        Numbering::Sequence => sequence,
        Numbering::Uid => uid,
    }))
}

/// The UIDs that have to be looked at: all that the view has, cut by the first set that the search
/// names at its top level.
fn candidates(view: &View, matcher: &Matcher) -> Vec<RangeInclusive<u32>> {
    let last = view.uid_at(view.exists()).map_or(0, Uid::get);
    if last == 0 {
        return Vec::new();
    }
    let narrowed = matcher
        .candidates()
        .next()
        .map(|candidates| match candidates {
            Candidates::Uids(ranges) => ranges.to_vec(),
            Candidates::Sequences(ranges) => {
                let uid = |sequence: u32| view.uid_at(sequence.min(view.exists())).map(Uid::get);
                let to_uids = |range: &RangeInclusive<u32>| {
                    (*range.start() <= view.exists())
                        .then(|| Some(uid(*range.start())?..=uid(*range.end())?))
                        .flatten()
                };
                ranges.iter().filter_map(to_uids).collect()
            }
        });
    let ranges = narrowed.unwrap_or_else(|| SequenceSet::all().resolve(last));
    let cut = |range: RangeInclusive<u32>| *range.start()..=last.min(*range.end());
    ranges
        .into_iter()
        .map(cut)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Loads what a search needs beyond rows.
struct Reader<'a> {
    store: &'a MailAccount,
    mailbox: u64,
    max_header: u64,
    /// What bodies are searched for.
    texts: Vec<String>,
}

impl Reader<'_> {
    /// Loads the header, then, if that does not decide, the text.
    async fn load(
        &self,
        matcher: &Matcher,
        letter: &mut Letter,
    ) -> Result<Option<bool>, StoreError> {
        let uid = letter.uid;
        let ranges = sets::uids_to_ranges([uid]);
        let emails = self.store.get_emails(self.mailbox, ranges).await?;
        let content = emails.into_iter().find_map(|email| email.content);
        let email = postino_message::Email::from(content.ok_or(StoreError::NotFound)?);
        let header = postino_message::ByteRange::at(0, email.header_size.min(self.max_header));
        letter.header = Some(self.store.read_all(self.mailbox, uid, header).await?);
        if let Some(verdict) = matcher.matches(letter) {
            return Ok(Some(verdict));
        }
        letter.found = Some(self.search_text(uid, &email).await?);
        Ok(matcher.matches(letter))
    }

    /// Which of the texts occur in the message's text parts.
    async fn search_text(
        &self,
        uid: Uid,
        email: &postino_message::Email,
    ) -> Result<Vec<String>, StoreError> {
        let mut search = subject::TextSearch::new(&self.texts);
        for part in email.parts.iter().filter(|part| part.is_text()) {
            if search.is_complete() || part.body.is_empty() {
                continue;
            }
            search.start_part(part);
            let mut chunks = self
                .store
                .read_message(self.mailbox, uid, part.body)
                .await?;
            while let Some(chunk) = chunks.message().await? {
                search.feed(&chunk.data);
            }
            search.end_part();
        }
        Ok(search.found())
    }
}

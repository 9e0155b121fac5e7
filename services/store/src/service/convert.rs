//! Rows of the store as its API shows them, and requests checked.

use bytes::Bytes;
use postino_proto::mail::v1::{EmailContent, Envelope, TraceContext};
use postino_proto::store::v1::{Letter, UidRange};
use postino_types::{Flag, MailboxName, QueueId};
use prost::Message;
use tonic::Status;

use crate::db::{DbError, Family, Space};
use crate::model::Rows;
use crate::model::spool::{self, LetterRow};

/// A queue-id of a request.
pub(super) fn queue_id(text: &str) -> Result<QueueId, Status> {
    let id = text.parse::<QueueId>();
    id.map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A mailbox name of a request, in its one spelling.
pub(super) fn mailbox_name(text: &str) -> Result<String, Status> {
    let name = text.parse::<MailboxName>();
    let name = name.map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(name.as_str().to_owned())
}

/// Keywords of a request, in their one spelling, each once.
pub(super) fn keywords(names: &[String]) -> Result<Vec<String>, Status> {
    let mut keywords = Vec::with_capacity(names.len());
    for name in names {
        match name.parse::<Flag>() {
            Ok(Flag::Keyword(keyword)) => keywords.push(Flag::Keyword(keyword).to_string()),
            _ => return Err(Status::invalid_argument(format!("{name:?} is no keyword"))),
        }
    }
    keywords.sort();
    keywords.dedup();
    Ok(keywords)
}

/// An id that becomes part of a key.
pub(super) fn upload_id(id: &str) -> Result<(), Status> {
    match (1..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(Status::invalid_argument("that is no upload-id")),
    }
}

/// UIDs in rising order, without overlaps; empty ranges are dropped.
pub(super) fn uid_ranges(mut ranges: Vec<UidRange>) -> Vec<UidRange> {
    for range in &mut ranges {
        range.first = range.first.max(1);
    }
    ranges.retain(|range| range.first <= range.last);
    ranges.sort_by_key(|range| range.first);
    let mut sorted: Vec<UidRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match sorted.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => sorted.push(range),
        }
    }
    sorted
}

/// The part of sorted ranges from a UID on.
pub(super) fn from_uid(ranges: &[UidRange], uid: u32) -> Vec<UidRange> {
    let rest = ranges.iter().filter(|range| range.last >= uid);
    rest.map(|range| UidRange {
        first: range.first.max(uid),
        last: range.last,
    })
    .collect()
}

/// An email's content as it was put in; empty is none.
pub(crate) fn email_content(bytes: &Bytes) -> Result<Option<EmailContent>, DbError> {
    match bytes.is_empty() {
        true => Ok(None),
        false => EmailContent::decode(bytes.clone())
            .map(Some)
            .map_err(DbError::corrupt),
    }
}

/// A letter of the spool with its recipients.
pub(super) fn letter(
    rows: &impl Rows,
    space: Space,
    id: &QueueId,
) -> Result<Option<Letter>, DbError> {
    let row: Option<LetterRow> = rows.row(Family::Spool, spool::letter(space, id))?;
    let Some(row) = row else { return Ok(None) };
    let envelope = Envelope::decode(row.envelope).map_err(DbError::corrupt)?;
    let trace = TraceContext::decode(row.trace).map_err(DbError::corrupt)?;
    Ok(Some(Letter {
        queue_id: id.to_string(),
        envelope: Some(envelope),
        size: row.size,
        trace: Some(trace),
        email: email_content(&row.email)?,
        recipients: spool::recipient_states(rows, space, id)?,
        remote_held: spool::is_remote_held(rows, space)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(u32, u32)]) -> Vec<UidRange> {
        let range = |(first, last): &(u32, u32)| UidRange {
            first: *first,
            last: *last,
        };
        pairs.iter().map(range).collect()
    }

    #[test]
    fn ranges_become_sorted_and_disjoint() {
        let given = ranges(&[
            (5, 9),
            (0, 2),
            (3, 3),
            (8, 12),
            (7, 6),
            (20, u32::MAX),
            (30, 40),
        ]);
        let expected = ranges(&[(1, 3), (5, 12), (20, u32::MAX)]);
        assert_eq!(uid_ranges(given), expected);
        assert_eq!(from_uid(&expected, 6), ranges(&[(6, 12), (20, u32::MAX)]));
        assert_eq!(from_uid(&expected, 15), ranges(&[(20, u32::MAX)]));
    }

    #[test]
    fn keywords_have_one_spelling() {
        let given = ["$Forwarded".to_owned(), "$FORWARDED".into(), "x".into()];
        assert_eq!(keywords(&given).unwrap(), ["$forwarded", "x"]);
        assert!(keywords(&["\\Seen".into()]).is_err());
    }
}

//! `COPY` (RFC 3501 section 6.4.7, RFC 4315 section 3).

use std::ops::RangeInclusive;

use postino_imap::SequenceSet;
use postino_imap::command::{Mailbox, Numbering};
use postino_imap::response::ResponseCode;
use postino_proto::store::v1::UidPair;
use postino_types::{MailboxName, UidValidity};

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::{Session, Stage};
use crate::imap::{notify, sets};
use crate::store_error::StoreError;

pub(in crate::imap) async fn run(
    session: &mut Session,
    numbering: Numbering,
    set: SequenceSet,
    target: Mailbox,
) -> Outcome {
    let target = target.name()?;
    let uids = chosen(session, numbering, &set)?;
    if uids.is_empty() {
        return Ok(Done::new("nothing to copy"));
    }
    let mailbox = session.selected()?.mailbox;
    let copied = session
        .store()?
        .copy_messages(mailbox, sets::to_ranges(&uids), &target)
        .await
        .map_err(try_create)?;
    read_back(session, &target).await?;
    Ok(match code(copied.target_uid_validity, &copied.copied) {
        Some(code) => Done::with(code, "copied"),
        None => Done::new("copied"),
    })
}

/// The messages of a set; a sequence number that is not in use is a syntax error.
pub(super) fn chosen(
    session: &mut Session,
    numbering: Numbering,
    set: &SequenceSet,
) -> Result<Vec<RangeInclusive<u32>>, Failure> {
    let selection = session.selected()?.view.select(numbering, set);
    selection
        .map(|selection| selection.uids)
        .map_err(|error| Failure::Bad(error.to_string().into()))
}

/// A target that does not exist could be created (RFC 3501 section 6.4.7).
pub(super) fn try_create(error: StoreError) -> Failure {
    match error {
        StoreError::NotFound => Failure::no(ResponseCode::TryCreate, "no such mailbox"),
        error => Failure::Store(error),
    }
}

/// COPYUID of what was copied, if anything was.
pub(super) fn code(validity: u32, pairs: &[UidPair]) -> Option<ResponseCode> {
    let validity = UidValidity::new(validity).ok()?;
    let (sources, targets) = sets::copy_uid(pairs)?;
    Some(ResponseCode::CopyUid(validity, sources, targets))
}

/// A copy into the selected mailbox is told at once.
pub(super) async fn read_back(session: &mut Session, target: &MailboxName) -> Result<(), Failure> {
    match &session.stage {
        Stage::Selected(_, selected) if selected.name == *target => {
            notify::synchronise(session, postino_imap::Expunges::Tell).await
        }
        _ => Ok(()),
    }
}

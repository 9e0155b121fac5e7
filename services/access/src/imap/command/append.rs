//! `APPEND` (RFC 3501 section 6.3.11, RFC 4315 section 3).
//!
//! The message passes from the socket to the store in pieces, read over once on the way for what
//! is stored beside it. The store's pace is the client's: what it does not take is not read.

use std::time::{SystemTime, UNIX_EPOCH};

use postino_imap::command::AppendHead;
use postino_imap::response::{self, ResponseCode};
use postino_imap::state::permit_append;
use postino_imap::{AppendSize, Event, Expunges, SyntaxError, Tag, Waits};
use postino_message::{Limits, Scanner, keep};
use postino_proto::convert;
use postino_proto::store::v1::{AppendBegin, AppendFinish, AppendResponse};
use postino_types::{MailboxName, Uid, UidValidity};

use super::copy::{read_back, try_create};
use crate::account::Upload;
use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::link::Closed;
use crate::imap::session::Session;
use crate::store_error::StoreError;

const NAME: &str = "APPEND";

pub(in crate::imap) async fn run(
    session: &mut Session,
    tag: Tag,
    head: AppendHead,
    size: AppendSize,
) -> Result<(), Closed> {
    let outcome = match prepare(session, &head).await {
        Ok(target) => {
            session.link.receiver().accept_append();
            if size.waits == Waits::ForContinuation {
                response::put_continuation(session.link.out(), "go on");
            }
            receive(session, head, &target, size.octets).await
        }
        Err(failure) => {
            session.link.receiver().refuse_append();
            Err(failure)
        }
    };
    session.finish(&tag, NAME, outcome, Expunges::Tell).await
}

/// What can be known before the message comes: a client that waits need not send it in vain.
async fn prepare(session: &mut Session, head: &AppendHead) -> Result<MailboxName, Failure> {
    permit_append(session.state())?;
    let target = head.mailbox.name()?;
    let store = session.store()?;
    store
        .open_mailbox(&target, false)
        .await
        .map_err(try_create)?;
    Ok(target)
}

async fn receive(
    session: &mut Session,
    head: AppendHead,
    target: &MailboxName,
    size: u64,
) -> Outcome {
    let store = session.store()?;
    let begin = AppendBegin {
        account: Some(store.account()),
        mailbox: target.to_string(),
        size,
        upload_id: upload_id(),
    };
    let mut upload = store.append(begin);
    let mut scanner = Scanner::new(Limits::default());
    let broken = read_message(session, &mut upload, &mut scanner).await?;
    if let Some(error) = broken {
        return Err(Failure::Bad(error.to_string().into()));
    }
    let structure = scanner.finish();
    if structure.content.has_nul() {
        // A literal consists of CHAR8 (RFC 3501 section 9).
        return Err(Failure::bad("the message holds NUL"));
    }
    let date = head.internal_date.map_or_else(now, |date| {
        (date.unix().saturating_mul(1000), date.offset_minutes())
    });
    let finish = AppendFinish {
        system_flags: convert::system_flag_bits(&head.flags),
        keywords: convert::keywords(&head.flags),
        internal_date_ms: date.0,
        internal_date_offset: date.1,
        email: Some(keep(structure).into()),
    };
    let appended = upload.finish(finish).await.map_err(try_create)?;
    read_back(session, target).await?;
    Ok(Done::with(code(&appended)?, "appended"))
}

/// Reads the message to its end, also if the store has stopped taking it. An error of the command
/// after the message is returned.
async fn read_message(
    session: &mut Session,
    upload: &mut Upload,
    scanner: &mut Scanner,
) -> Result<Option<SyntaxError>, Failure> {
    loop {
        let silence = session.silence();
        match session.link.event(silence).await? {
            Event::AppendChunk(chunk) => {
                scanner.feed(&chunk);
                upload.send(chunk).await;
            }
            Event::AppendEnd => return Ok(None),
            Event::AppendBroken(error) => return Ok(Some(error)),
            // Nothing else comes before the end of the message.
            _ => {}
        }
    }
}

fn code(appended: &AppendResponse) -> Result<ResponseCode, StoreError> {
    let broken = || StoreError::Broken("an append has no valid UID".to_owned());
    let validity = UidValidity::new(appended.uid_validity).map_err(|_| broken())?;
    let uid = Uid::new(appended.uid).map_err(|_| broken())?;
    Ok(ResponseCode::AppendUid(validity, uid))
}

/// Milliseconds since 1970, in UTC.
fn now() -> (i64, i32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    (i64::try_from(millis).unwrap_or(i64::MAX), 0)
}

/// Random enough that no two uploads meet.
fn upload_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

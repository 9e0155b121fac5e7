//! `NOOP` and `CHECK` (RFC 3501 sections 6.1.2 and 6.4.1): what others did is read from the store
//! itself, so that a client that asks gets the state of this moment.

use postino_imap::Expunges;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::notify;
use crate::imap::session::{Session, Stage};

pub(in crate::imap) async fn run(session: &mut Session) -> Outcome {
    if matches!(session.stage, Stage::Selected(..)) {
        match notify::synchronise(session, Expunges::Tell).await {
            // NOOP always succeeds (section 6.1.2); the news comes later.
            Ok(()) | Err(Failure::Store(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Done::new("done"))
}

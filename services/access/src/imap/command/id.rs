//! `ID` (RFC 2971).

use postino_imap::response;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) fn run(session: &mut Session) -> Outcome {
    // No version: it would tell a stranger which holes to try (section 4).
    response::put_id(session.link.out(), &[("name", "Postino")]);
    Ok(Done::new("done"))
}

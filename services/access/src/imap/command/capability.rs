//! `CAPABILITY` (RFC 3501 section 6.1.1).

use postino_imap::response;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) fn run(session: &mut Session) -> Outcome {
    let capabilities = session.capabilities();
    response::put_capability(session.link.out(), &capabilities);
    Ok(Done::new("done"))
}

//! `ENABLE` (RFC 5161).

use postino_imap::response;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

/// Nothing that is offered needs to be enabled yet; what is unknown is ignored (section 3.1).
pub(in crate::imap) fn run(session: &mut Session, _capabilities: &[String]) -> Outcome {
    response::put_enabled(session.link.out(), &[]);
    Ok(Done::new("done"))
}

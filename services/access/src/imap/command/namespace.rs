//! `NAMESPACE` (RFC 2342).

use postino_imap::response;

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) fn run(session: &mut Session) -> Outcome {
    response::put_namespace(session.link.out());
    Ok(Done::new("done"))
}

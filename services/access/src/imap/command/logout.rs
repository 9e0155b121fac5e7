//! `LOGOUT` (RFC 3501 section 6.1.3).

use crate::imap::failure::{Done, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) fn run(session: &mut Session) -> Outcome {
    session.say_bye(None, "until next time");
    Ok(Done::new("logged out"))
}

//! `STARTTLS` (RFC 3501 section 6.2.1).

use postino_imap::Tag;
use postino_imap::response::{self, Condition};

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::Session;

/// The answer goes out before the handshake, so it is not left to the caller.
pub(in crate::imap) async fn run(session: &mut Session, tag: &Tag) -> Outcome {
    let Some(acceptor) = session.server.tls.clone() else {
        return Err(Failure::bad("TLS is not available"));
    };
    if session.link.tls().is_some() {
        return Err(Failure::bad("TLS is active already"));
    }
    response::put_tagged(
        session.link.out(),
        tag,
        Condition::Ok,
        None,
        "begin TLS negotiation now",
    );
    session.link.start_tls(&acceptor).await?;
    Ok(Done::Told)
}

//! `AUTHENTICATE` (RFC 3501 section 6.2.2) with SASL PLAIN (RFC 4616) and an initial response
//! (RFC 4959).

use postino_imap::Event;
use postino_imap::response::{self, ResponseCode};
use postino_imap::sasl::{self, PlainError};
use postino_types::Secret;

use super::login;
use crate::imap::failure::{Failure, Outcome};
use crate::imap::session::Session;

pub(in crate::imap) async fn run(
    session: &mut Session,
    mechanism: &str,
    initial: Option<Secret>,
) -> Outcome {
    if mechanism != "PLAIN" {
        return Err(Failure::no(
            ResponseCode::Cannot,
            "the mechanism is not supported",
        ));
    }
    login::check_privacy(session)?;
    let plain = match initial {
        Some(initial) => sasl::plain(initial.expose().as_bytes()),
        None => {
            response::put_continuation(session.link.out(), "");
            sasl::plain(&line(session).await?)
        }
    };
    let plain = plain.map_err(|error| match error {
        PlainError::Cancelled => Failure::bad("cancelled"),
        PlainError::Malformed => Failure::bad("this is no PLAIN response"),
    })?;
    let user = plain.user().map_err(|_| {
        Failure::no(
            ResponseCode::AuthorizationFailed,
            "nobody may act for another",
        )
    })?;
    login::authenticated(session, user, &plain.password).await
}

async fn line(session: &mut Session) -> Result<bytes::Bytes, Failure> {
    session.link.receiver().expect_line();
    let silence = session.silence();
    match session.link.event(silence).await? {
        Event::Line(line) => Ok(line),
        Event::Bad(_, error) => Err(Failure::Bad(error.to_string().into())),
        _ => Err(Failure::bad("a response was expected")),
    }
}

//! `LOGIN` (RFC 3501 section 6.2.3), and what it shares with `AUTHENTICATE`.

use postino_imap::command::Login;
use postino_imap::response::ResponseCode;
use postino_types::Secret;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::{Session, Stage, User};
use crate::login::LoginError;

pub(in crate::imap) async fn run(session: &mut Session, login: Login) -> Outcome {
    authenticated(session, &login.user, &login.password).await
}

/// Refuses if a password may not be sent now.
pub(super) fn check_privacy(session: &Session) -> Result<(), Failure> {
    match session.may_log_in() {
        true => Ok(()),
        false => Err(Failure::no(
            ResponseCode::PrivacyRequired,
            "not without TLS",
        )),
    }
}

/// Checks the password and, if it is right, makes the session the user's.
pub(super) async fn authenticated(session: &mut Session, user: &str, password: &Secret) -> Outcome {
    check_privacy(session)?;
    let server = session.server.clone();
    match server.logins.log_in(user, password).await {
        Ok(store) => {
            server.metrics.login("ok");
            let watch = server.watches.follow(&store);
            session.stage = Stage::Authenticated(User { store, watch });
            session.link.receiver().set_limits(server.config.limits());
            let code = ResponseCode::Capability(session.capabilities());
            Ok(Done::with(code, "logged in"))
        }
        Err(LoginError::Wrong) => {
            server.metrics.login("wrong");
            session.login_failures += 1;
            tokio::time::sleep(server.config.login_failure_delay.get()).await;
            if session.login_failures >= server.config.max_login_failures {
                let code = Some(ResponseCode::AuthenticationFailed);
                return Err(Failure::Bye(code, "too many failed log-ins"));
            }
            Err(Failure::no(
                ResponseCode::AuthenticationFailed,
                "wrong user or password",
            ))
        }
        Err(LoginError::Unavailable(error)) => {
            server.metrics.login("unavailable");
            tracing::warn!(%error, "a log-in could not be checked");
            Err(Failure::no(ResponseCode::Unavailable, "try again later"))
        }
    }
}

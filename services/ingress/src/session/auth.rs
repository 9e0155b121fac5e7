//! `AUTH`: is the password right?

use postino_client::credential::AuthError;
use postino_smtp::sasl::Credentials;
use postino_smtp::server::{Authentication, Event};
use tracing::Instrument;

use super::Session;

impl Session {
    pub(super) async fn authenticate(&mut self, credentials: Credentials) {
        let span = tracing::info_span!("smtp.auth", mail.outcome = tracing::field::Empty);
        let outcome = self
            .check_credentials(credentials)
            .instrument(span.clone())
            .await;
        let name = match outcome {
            Authentication::Accepted => "accepted",
            Authentication::Rejected => "rejected",
            Authentication::Unavailable => "unavailable",
        };
        span.record("mail.outcome", name);
        self.server.metrics.login(name);
        self.machine.handle(Event::Authenticated(outcome));
    }

    async fn check_credentials(&mut self, credentials: Credentials) -> Authentication {
        // Nobody may act as somebody else (RFC 4616 section 2).
        let name = &credentials.username;
        if credentials
            .authorization
            .is_some_and(|other| !other.eq_ignore_ascii_case(name))
        {
            return Authentication::Rejected;
        }
        let authenticator = &self.server.clients.authenticator;
        match authenticator
            .authenticate(name, &credentials.password)
            .await
        {
            Ok(user) => {
                self.user = Some(user);
                Authentication::Accepted
            }
            Err(AuthError::Rejected) => {
                tracing::info!(client.address = %self.peer.ip(), "log-in rejected");
                Authentication::Rejected
            }
            Err(error @ AuthError::Unavailable(_)) => {
                tracing::warn!(%error, "log-in not possible");
                Authentication::Unavailable
            }
        }
    }
}

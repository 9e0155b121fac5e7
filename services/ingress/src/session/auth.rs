//! `AUTH`: is the password right?

use postino_client::credential::AuthError;
use postino_smtp::server::{Authentication, Event};
use postino_types::sasl::Plain;
use tracing::Instrument;

use super::Session;

impl Session {
    pub(super) async fn authenticate(&mut self, plain: Plain) {
        let span = tracing::info_span!("smtp.auth", mail.outcome = tracing::field::Empty);
        let outcome = self.check_credentials(plain).instrument(span.clone()).await;
        let name = match outcome {
            Authentication::Accepted => "accepted",
            Authentication::Rejected => "rejected",
            Authentication::Unavailable => "unavailable",
        };
        span.record("mail.outcome", name);
        self.server.metrics.login(name);
        self.machine.handle(Event::Authenticated(outcome));
    }

    async fn check_credentials(&mut self, plain: Plain) -> Authentication {
        let Ok(name) = plain.user() else {
            return Authentication::Rejected;
        };
        let authenticator = &self.server.clients.authenticator;
        match authenticator.authenticate(name, &plain.password).await {
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

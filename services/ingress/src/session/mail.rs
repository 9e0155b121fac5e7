//! `MAIL`: may this client use this sender?

use postino_proto::mail::v1::Recipient as Target;
use postino_proto::routing::v1::CheckSenderRequest;
use postino_smtp::server::{Event, Verdict};
use postino_smtp::{BodyKind, MailCommand};
use postino_types::{AccountId, EmailAddress, EnhancedStatus, Reply, ReversePath};
use tracing::{Instrument, Span};

use super::{Session, unavailable};

/// A letter's envelope as it comes to be, and the span that is the root of its trace.
pub(super) struct Transaction {
    pub(super) span: Span,
    pub(super) reverse_path: ReversePath,
    pub(super) body: BodyKind,
    /// `SIZE`, or 0.
    pub(super) announced: u64,
    /// Where the letter goes, each place once.
    pub(super) targets: Vec<Target>,
    /// Recipients the client named and that were accepted.
    pub(super) accepted: Vec<String>,
}

impl Session {
    pub(super) async fn check_sender(&mut self, mail: MailCommand) {
        let span = tracing::info_span!(
            parent: None,
            "smtp.transaction",
            otel.kind = "server",
            client.address = %self.peer.ip(),
            mail.queue_id = tracing::field::Empty,
            mail.sender_domain = tracing::field::Empty,
            mail.recipients = tracing::field::Empty,
            mail.size = tracing::field::Empty,
            mail.outcome = tracing::field::Empty,
            email.message_id = tracing::field::Empty,
            smtp.protocol = tracing::field::Empty,
            smtp.reply_code = tracing::field::Empty,
        );
        span.follows_from(Span::current());
        if let ReversePath::Address(address) = &mail.reverse_path {
            span.record("mail.sender_domain", address.domain().as_str());
        }
        let verdict = match (&self.user, &mail.reverse_path) {
            // Notifications of the user's program, such as of having read something.
            (None, _) | (Some(_), ReversePath::Null) => Verdict::Accept,
            (Some(user), ReversePath::Address(address)) => {
                self.check_owner(user.account, address)
                    .instrument(span.clone())
                    .await
            }
        };
        if verdict == Verdict::Accept {
            self.transaction = Some(Transaction {
                span,
                body: mail.body,
                announced: mail.size.unwrap_or(0),
                reverse_path: mail.reverse_path,
                targets: Vec::new(),
                accepted: Vec::new(),
            });
        }
        self.machine.handle(Event::Sender(verdict));
    }

    /// Whether an address is the user's.
    pub(super) async fn check_owner(&self, account: AccountId, address: &EmailAddress) -> Verdict {
        let request = CheckSenderRequest {
            account: account.get(),
            address: address.to_string(),
        };
        match self.server.clients.routing.check_sender(request).await {
            Ok(answer) if answer.allowed => Verdict::Accept,
            Ok(_) => Verdict::Refuse(Reply::new(
                553,
                EnhancedStatus::permanent(7, 1),
                "The sender address is not yours",
            )),
            Err(error) => {
                tracing::warn!(%error, "a sender cannot be checked");
                Verdict::Refuse(unavailable())
            }
        }
    }
}

//! `RCPT`: where does mail for this recipient go?

use postino_client::CallError;
use postino_proto::mail::v1::Recipient as Target;
use postino_proto::routing::v1::resolve_response::Verdict as Answer;
use postino_proto::routing::v1::{ResolveRequest, ResolveResponse};
use postino_smtp::RcptCommand;
use postino_smtp::server::{Event, Ticket, Verdict};
use postino_telemetry::in_current_role;
use postino_types::{EmailAddress, EnhancedStatus, Reply};
use tracing::Instrument;

use super::mail::Transaction;
use super::{Session, unavailable};

/// What routing said of a recipient.
pub(super) struct Resolved {
    ticket: Ticket,
    recipient: String,
    answer: Result<ResolveResponse, CallError>,
}

impl Session {
    /// Asks routing, and does not wait: recipients that came together are asked for together.
    pub(super) fn check_recipient(&mut self, ticket: Ticket, rcpt: &RcptCommand) {
        let routing = self.server.clients.routing.clone();
        let recipient = rcpt.recipient.to_string();
        let request = ResolveRequest {
            recipient: recipient.clone(),
            authenticated_account: self.user.as_ref().map_or(0, |user| user.account.get()),
        };
        let resolving = async move {
            let answer = routing.resolve(request).await;
            Resolved {
                ticket,
                recipient,
                answer,
            }
        };
        self.resolving
            .spawn(in_current_role(resolving.instrument(self.span())));
    }

    pub(super) fn on_resolved(&mut self, resolved: Resolved) {
        let Resolved {
            ticket,
            recipient,
            answer,
        } = resolved;
        let limit = self.server.config.max_targets;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        let refusal = match verdict(answer) {
            Ok(targets) => transaction.add(recipient, targets, limit),
            Err(reply) => Err(reply),
        };
        self.server.metrics.recipient(refusal.as_ref().err());
        let verdict = match refusal {
            Ok(()) => Verdict::Accept,
            Err(reply) => Verdict::Refuse(reply),
        };
        self.machine.handle(Event::Recipient(ticket, verdict));
    }
}

fn verdict(answer: Result<ResolveResponse, CallError>) -> Result<Vec<Target>, Reply> {
    match answer.map(|answer| answer.verdict) {
        Ok(Some(Answer::Targets(targets))) if !targets.recipients.is_empty() => {
            Ok(targets.recipients)
        }
        Ok(Some(Answer::Refusal(refusal))) => {
            Err(Reply::try_from(refusal).unwrap_or_else(|_| unavailable()))
        }
        Ok(_) => {
            tracing::error!("routing said nothing about a recipient");
            Err(unavailable())
        }
        Err(error) => {
            tracing::warn!(%error, "a recipient cannot be resolved");
            Err(unavailable())
        }
    }
}

impl Transaction {
    /// Adds where a recipient's mail goes; a mailbox that is reached twice gets one copy.
    fn add(&mut self, recipient: String, targets: Vec<Target>, limit: usize) -> Result<(), Reply> {
        let new: Vec<Target> = targets
            .into_iter()
            .filter(|target| !self.targets.iter().any(|known| same_place(known, target)))
            .collect();
        if self.targets.len() + new.len() > limit {
            // RFC 5321 section 4.5.3.1.10.
            let text = "Too many recipients after aliases";
            return Err(Reply::new(452, EnhancedStatus::temporary(5, 3), text));
        }
        self.targets.extend(new);
        self.accepted.push(recipient);
        Ok(())
    }
}

fn same_place(one: &Target, other: &Target) -> bool {
    match (&one.local, &other.local) {
        (Some(one), Some(other)) => one.account == other.account,
        (None, None) => {
            let parsed = |target: &Target| target.address.parse::<EmailAddress>().ok();
            one.address == other.address
                || matches!(
                    (parsed(one), parsed(other)),
                    // Only its host knows whether case matters in a local part (RFC 5321 section 2.4).
                    (Some(a), Some(b)) if a.domain() == b.domain()
                        && a.local().as_str() == b.local().as_str()
                )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use postino_proto::mail::v1::LocalTarget;
    use postino_types::ReversePath;

    use super::*;

    fn local(address: &str, account: u64) -> Target {
        Target {
            address: address.into(),
            local: Some(LocalTarget { account, shard: 1 }),
            ..Target::default()
        }
    }

    fn remote(address: &str) -> Target {
        Target {
            address: address.into(),
            ..Target::default()
        }
    }

    fn transaction() -> Transaction {
        Transaction {
            span: tracing::Span::none(),
            reverse_path: ReversePath::Null,
            body: postino_smtp::BodyKind::SevenBit,
            announced: 0,
            targets: Vec::new(),
            accepted: Vec::new(),
        }
    }

    #[test]
    fn two_aliases_of_one_mailbox_are_one_copy() {
        let mut transaction = transaction();
        let mut add = |recipient: &str, target| {
            transaction
                .add(recipient.to_owned(), vec![target], 9)
                .expect("room");
        };
        add("info@example.org", local("alice@example.org", 7));
        add("sales@example.org", local("alice@example.org", 7));
        add("bob@example.org", local("bob@example.org", 8));
        add("x@example.net", remote("x@example.net"));
        add("x@EXAMPLE.net", remote("x@EXAMPLE.net"));
        // Case in a foreign local part is not ours to judge.
        add("X@example.net", remote("X@example.net"));
        assert_eq!(transaction.targets.len(), 4);
        assert_eq!(transaction.accepted.len(), 6);
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut transaction = transaction();
        let many = (0..3)
            .map(|n| remote(&format!("u{n}@example.net")))
            .collect();
        let refusal = transaction
            .add("all@example.org".into(), many, 2)
            .expect_err("too many");
        assert_eq!(refusal.code(), 452);
        assert!(transaction.targets.is_empty());
    }

    #[test]
    fn routing_that_cannot_be_reached_is_a_temporary_failure() {
        let refusal = verdict(Err(CallError::Unavailable("down".into()))).expect_err("refused");
        assert_eq!(refusal.to_string(), unavailable().to_string());
        let silent = verdict(Ok(ResolveResponse::default())).expect_err("refused");
        assert_eq!(silent.code(), 451);
    }
}

//! Notifications: what the sender is told of recipients that failed or are late (RFC 3461, 3464).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use postino_message::dsn::{self, Action, Original, RecipientReport, Report};
use postino_message::{Limits, Scanner, deliver, return_path_field};
use postino_proto::mail::v1::{Envelope, Origin, Recipient, ReturnContent, TraceContext};
use postino_proto::store::v1::{Letter, NewLetter};
use postino_telemetry::propagate::{self, RemoteSpan};
use postino_types::{Domain, EmailAddress, EnhancedStatus, QueueId, Reply, ReversePath};

use crate::metrics::{Metrics, Notified};
use crate::outcome::{Attempted, Decision, status_of};
use crate::ports::{CallError, Routing, Store};
use crate::schedule::Schedule;

/// Makes notifications.
pub(crate) struct Notifier {
    /// Where letters are read from.
    pub(crate) store: Arc<dyn Store>,
    /// Who the sender is.
    pub(crate) routing: Arc<dyn Routing>,
    /// Our host name.
    pub(crate) hostname: Domain,
    /// When letters expire.
    pub(crate) schedule: Schedule,
    /// Up to this size a letter comes back whole, in octets.
    pub(crate) returned_letter: u64,
    /// Most of a header that comes back, in octets.
    pub(crate) returned_header: u64,
    /// Counters.
    pub(crate) metrics: Metrics,
}

/// What is reported of one recipient.
pub(crate) struct Reported<'a> {
    /// The recipient, as the envelope has it.
    pub(crate) recipient: &'a Recipient,
    /// How its attempt ended.
    pub(crate) attempted: &'a Attempted,
    /// What was decided: bounced, or deferred with a notice.
    pub(crate) decision: &'a Decision,
}

/// The notification cannot be made at the moment; neither can what it reports be settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a notification cannot be made now: {0}")]
pub(crate) struct NotNow(String);

impl From<CallError> for NotNow {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

impl Notifier {
    /// The notification about some recipients of a letter; `None` if none is to be sent: never for
    /// a letter with the null reverse-path (RFC 5321 section 4.5.5), and not to a sender that does
    /// not exist.
    pub(crate) async fn notification(
        &self,
        id: QueueId,
        letter: &Letter,
        reported: &[Reported<'_>],
        now_ms: u64,
    ) -> Result<Option<NewLetter>, NotNow> {
        let envelope = letter.envelope.clone().unwrap_or_default();
        let to = match envelope.parsed_reverse_path() {
            Ok(ReversePath::Address(address)) => address,
            Ok(ReversePath::Null) => {
                tracing::info!(queue_id = %id, "a notification failed; none is made about it");
                self.metrics.notified(Notified::NullReversePath);
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(queue_id = %id, %error, "the reverse-path is no address");
                self.metrics.notified(Notified::Undeliverable);
                return Ok(None);
            }
        };
        let recipients = match self.routing.resolve(&to.to_string()).await? {
            Ok(recipients) => recipients,
            Err(reply) if is_temporary(&reply) => return Err(NotNow(reply.to_string())),
            Err(reply) => {
                tracing::warn!(queue_id = %id, %reply, "nobody can be told of a failure");
                self.metrics.notified(Notified::Undeliverable);
                return Ok(None);
            }
        };
        let original = self.original(id, letter, &envelope).await?;
        let facts = Facts {
            id,
            envelope: &envelope,
            to: &to,
            now_ms,
        };
        let message = self.compose(&facts, reported, &original);
        self.metrics.notified(Notified::Sent);
        Ok(self.new_letter(id, letter, recipients, message, now_ms))
    }

    /// What of the letter comes back: its header, or all of it if the sender asked for that
    /// (RFC 3461 section 4.3) and it is small.
    async fn original(
        &self,
        id: QueueId,
        letter: &Letter,
        envelope: &Envelope,
    ) -> Result<Returned, NotNow> {
        let full =
            envelope.return_content() == ReturnContent::Full && letter.size <= self.returned_letter;
        let length = match full {
            true => letter.size,
            false => self.returned_header.min(letter.size),
        };
        let mut octets = BytesMut::new();
        if length > 0 {
            let mut body = self.store.body(id, 0, length).await?;
            while let Some(chunk) = body.next().await {
                octets.extend_from_slice(&chunk?);
            }
        }
        let octets = octets.freeze();
        match full {
            true => Ok(Returned::Message(octets)),
            false => Ok(Returned::Header(header_of(octets))),
        }
    }

    fn compose(
        &self,
        facts: &Facts<'_>,
        reported: &[Reported<'_>],
        original: &Returned,
    ) -> Vec<u8> {
        let expiry_ms = self.schedule.expiry_ms(facts.envelope.accepted_ms);
        let addresses: Vec<EmailAddress> = reported
            .iter()
            .map(|r| named(r.recipient, &self.hostname))
            .collect();
        let recipients: Vec<RecipientReport<'_>> = reported
            .iter()
            .zip(&addresses)
            .map(|(reported, address)| RecipientReport {
                original: non_empty(&reported.recipient.orcpt),
                address,
                action: match reported.decision {
                    Decision::Deferred { .. } => Action::Delayed {
                        will_retry_until: seconds(expiry_ms),
                    },
                    Decision::Delivered | Decision::Bounced(_) => Action::Failed,
                },
                status: status_of(&reported.attempted.reply, reported.decision),
                remote_mta: non_empty(&reported.attempted.remote),
                diagnostic: non_empty(diagnostic(reported.attempted)),
                last_attempt: Some(seconds(facts.now_ms)),
            })
            .collect();
        dsn::compose(&Report {
            reporting_mta: &self.hostname,
            queue_id: &facts.id.to_string(),
            envelope_id: non_empty(&facts.envelope.envelope_id),
            arrival: seconds(facts.envelope.accepted_ms),
            now: seconds(facts.now_ms),
            unique: &format!("{}.{:016x}", facts.id, fastrand::u64(..)),
            to: facts.to,
            recipients: &recipients,
            original: original.as_original(),
        })
    }

    fn new_letter(
        &self,
        about: QueueId,
        letter: &Letter,
        recipients: Vec<Recipient>,
        message: Vec<u8>,
        now_ms: u64,
    ) -> Option<NewLetter> {
        // On the same shard: the same commit spools it.
        let id = QueueId::mint(about.shard(), now_ms, fastrand::u64(..))?;
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(&message);
        let structure = scanner.finish();
        let message_id = structure.message_id().unwrap_or_default();
        let span = tracing::info_span!(
            parent: None,
            "create mail.dsn",
            mail.queue_id = %id,
            email.message_id = message_id,
            mail.recipients = recipients.len(),
            mail.size = message.len(),
        );
        letter_span(letter).link(&span);
        let (traceparent, tracestate) = propagate::span_to_record(&span);
        let is_local = recipients.iter().any(|recipient| recipient.local.is_some());
        let email = is_local.then(|| {
            let return_path = return_path_field(&ReversePath::Null);
            deliver(&structure, b"", return_path.as_bytes()).into()
        });
        tracing::info!(queue_id = %id, about = %about, "notification made");
        Some(NewLetter {
            queue_id: id.to_string(),
            envelope: Some(Envelope {
                recipients,
                accepted_ms: now_ms,
                origin: Some(Origin {
                    ingress: self.hostname.to_string(),
                    ..Origin::default()
                }),
                message_id,
                ..Envelope::default()
            }),
            message: message.into(),
            email,
            trace: Some(TraceContext {
                traceparent,
                tracestate,
            }),
        })
    }
}

struct Facts<'a> {
    id: QueueId,
    envelope: &'a Envelope,
    to: &'a EmailAddress,
    now_ms: u64,
}

enum Returned {
    Header(Bytes),
    Message(Bytes),
}

impl Returned {
    fn as_original(&self) -> Original<'_> {
        match self {
            Self::Header(octets) => Original::Header(octets),
            Self::Message(octets) => Original::Message(octets),
        }
    }
}

/// The span that a letter's record names.
pub(crate) fn letter_span(letter: &Letter) -> RemoteSpan {
    letter
        .trace
        .as_ref()
        .map_or_else(RemoteSpan::default, |trace| {
            propagate::from_record(&trace.traceparent, &trace.tracestate)
        })
}

fn is_temporary(reply: &Reply) -> bool {
    reply.code() < 500
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// What is told of an attempt: a server's reply as it is, our own words without the code that only
/// stands for a reply in them.
fn diagnostic(attempted: &Attempted) -> &str {
    let reply = attempted.reply.as_str();
    if !attempted.remote.is_empty() {
        return reply;
    }
    let is_code = |word: &str| word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
    let is_status = |word: &str| word.parse::<EnhancedStatus>().is_ok();
    match reply.split_once(' ') {
        Some((code, rest)) if is_code(code) => match rest.split_once(' ') {
            Some((status, words)) if is_status(status) => words,
            _ => rest,
        },
        _ => reply,
    }
}

fn seconds(millis: u64) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}

/// The address that a notification names: the one the sender gave, not where an alias led.
fn named(recipient: &Recipient, hostname: &Domain) -> EmailAddress {
    let given = recipient
        .original
        .parse()
        .or_else(|_| recipient.address.parse());
    given.unwrap_or_else(|_| {
        // A bare <postmaster>.
        let postmaster = format!("postmaster@{hostname}").parse();
        postmaster.expect("postmaster is a local part, and a Domain is a domain")
    })
}

/// The whole lines of the header at the front of some octets.
fn header_of(octets: Bytes) -> Bytes {
    let end = match octets.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(empty_line) => empty_line + 2,
        // Cut off within the header: up to the last line end.
        None => octets
            .windows(2)
            .rposition(|two| two == b"\r\n")
            .map_or(0, |at| at + 2),
    };
    octets.slice(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_words_are_told_without_a_code() {
        for (reply, remote, expected) in [
            ("451 4.4.1 cannot connect", "mx", "451 4.4.1 cannot connect"),
            ("451 4.4.1 cannot connect", "", "cannot connect"),
            ("451 cannot connect", "", "cannot connect"),
            ("cannot connect", "", "cannot connect"),
            ("451", "", "451"),
            ("", "", ""),
        ] {
            let attempted = Attempted {
                recipient: 0,
                outcome: crate::outcome::Outcome::Temporary,
                reply: reply.to_owned(),
                remote: remote.to_owned(),
            };
            assert_eq!(diagnostic(&attempted), expected);
        }
    }

    #[test]
    fn a_header_is_whole_lines() {
        for (octets, header) in [
            (
                &b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n"[..],
                &b"A: 1\r\nB: 2\r\n"[..],
            ),
            (b"A: 1\r\nB: cut", b"A: 1\r\n"),
            (b"no line", b""),
            (b"", b""),
        ] {
            assert_eq!(header_of(Bytes::copy_from_slice(octets)), header);
        }
    }

    #[test]
    fn a_notification_names_what_the_sender_gave() {
        let hostname: Domain = "mx.example.org".parse().expect("domain");
        let recipient = |original: &str| Recipient {
            address: "target@example.net".into(),
            original: original.into(),
            ..Recipient::default()
        };
        for (original, expected) in [
            ("alias@example.org", "alias@example.org"),
            ("postmaster", "target@example.net"),
        ] {
            assert_eq!(named(&recipient(original), &hostname).to_string(), expected);
        }
        let bare = named(&Recipient::default(), &hostname);
        assert_eq!(bare.to_string(), "postmaster@mx.example.org");
    }
}

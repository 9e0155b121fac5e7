//! The moment of responsibility: a letter's last step, repeated until its outcome is known.

use bytes::Bytes;
use postino_client::{AcceptUpload, CallError, UploadError};
use postino_proto::FaultKind;
use postino_proto::store::v1::ResolveAcceptRequest;
use postino_smtp::DataSummary;
use postino_smtp::server::HandOver;
use postino_types::{EnhancedStatus, Permanence, QueueId, Reply};
use tokio::time::Instant;
use tracing::Instrument;

use super::data::Letter;
use super::finish::Finish;
use super::mail::Transaction;
use super::{Session, unavailable};

impl Session {
    /// Hands a whole letter over. Only when this says "accepted" is it ours (RFC 5321 section 6.1).
    pub(super) async fn hand_over(
        &self,
        mut letter: Letter,
        transaction: Transaction,
        summary: DataSummary,
    ) -> HandOver {
        let replay_limit = self.server.clients.store.config().replay_limit.get();
        if let Err(error) = letter.flush(replay_limit).await {
            return HandOver::Refused(refusal(&error));
        }
        let Letter {
            upload,
            scanner,
            kept,
            origin,
            trace,
            ..
        } = letter;
        let structure = scanner.finish();
        if let Err(reply) = self.check_from(&structure).await {
            return HandOver::Refused(reply);
        }
        let finish = Finish {
            session: self,
            transaction: &transaction,
            structure: &structure,
            summary,
            origin: &origin,
            trace: &trace,
        };
        match self.submit(upload, finish, &kept.unwrap_or_default()).await {
            Ok(id) => HandOver::Accepted(id),
            Err(reply) => HandOver::Refused(reply),
        }
    }

    /// Submits the last step, and the whole letter again as long as that may help. `kept` is the
    /// letter if it is small, or a part of it.
    async fn submit(
        &self,
        mut upload: AcceptUpload,
        finish: Finish<'_>,
        kept: &[Bytes],
    ) -> Result<QueueId, Reply> {
        let store = &self.server.clients.store;
        let size = finish.summary.size;
        let is_whole = kept.iter().map(|chunk| chunk.len() as u64).sum::<u64>() == size;
        let deadline = Instant::now() + self.server.config.hand_over_timeout.get();
        let mut tie = Tie::Loose;
        loop {
            let id = upload.queue_id();
            let Err(error) = send(upload, finish, id).await else {
                return Ok(id);
            };
            tracing::warn!(%error, mail.queue_id = %id, "a letter was not handed over");
            let retry = tie.after(&error);
            let is_over = !is_whole || Instant::now() >= deadline || retry == Retry::Never;
            if is_over {
                return match tie {
                    Tie::Tied => self.outcome_of(id).await,
                    Tie::Loose => Err(refusal(&error)),
                };
            }
            let next = match retry {
                Retry::AnyShard => match store.mint_queue_id(None).await {
                    Ok(next) => next,
                    Err(_) => return Err(unavailable()),
                },
                Retry::SameShard | Retry::Never => id,
            };
            upload = store.accept(next, size);
            for chunk in kept {
                let sent = upload.chunk(chunk.clone()).await;
                sent.map_err(|error| refusal(&error))?;
            }
        }
    }

    /// Asks what became of a letter that may lie on its shard. If it does not, it never will: the
    /// client may send it again.
    async fn outcome_of(&self, id: QueueId) -> Result<QueueId, Reply> {
        let request = ResolveAcceptRequest {
            queue_id: id.to_string(),
        };
        match self.server.clients.store.resolve_accept(request).await {
            Ok(resolved) if resolved.accepted.is_some() => Ok(id),
            Ok(_) => Err(unavailable()),
            Err(error) => {
                tracing::warn!(%error, mail.queue_id = %id, "whether a letter is ours is not known");
                Err(unavailable())
            }
        }
    }
}

/// Sends the end of a letter, and waits until the store has it.
async fn send(upload: AcceptUpload, finish: Finish<'_>, id: QueueId) -> Result<(), UploadError> {
    let span = tracing::info_span!(
        "send mail.queue",
        otel.kind = "producer",
        mail.queue_id = %id,
        email.message_id = tracing::field::Empty,
    );
    let transaction = &finish.transaction.span;
    transaction.record("mail.queue_id", tracing::field::display(id));
    transaction.record("mail.size", finish.summary.size);
    transaction.record("mail.recipients", finish.transaction.targets.len());
    transaction.record("smtp.protocol", finish.origin.protocol.as_str());
    let step = finish.step(id, &span);
    if let Some(envelope) = &step.envelope {
        transaction.record("email.message_id", envelope.message_id.as_str());
        span.record("email.message_id", envelope.message_id.as_str());
    }
    let recipients = finish.transaction.targets.len();
    let accepted = upload.finish(step).instrument(span).await?;
    tracing::info!(
        mail.queue_id = %id,
        mail.size = finish.summary.size,
        mail.recipients = recipients,
        filed = accepted.filed,
        "letter accepted"
    );
    Ok(())
}

/// Whether a letter is tied to the shard that its id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// It is certainly nowhere.
    Loose,
    /// It may lie on its shard, so that no other may get it.
    Tied,
}

/// Where a letter that was not accepted is handed over next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Under the same id: the store knows it if it has the letter.
    SameShard,
    /// Under a new id.
    AnyShard,
    /// The answer is final.
    Never,
}

impl Tie {
    fn after(&mut self, error: &UploadError) -> Retry {
        match error {
            UploadError::Unknown(_) => {
                *self = Self::Tied;
                Retry::SameShard
            }
            UploadError::NotAccepted(error) => match (self, error) {
                (Self::Loose, CallError::Unavailable(_)) => Retry::AnyShard,
                (Self::Loose, _) => Retry::Never,
                // A refusal of the repetition says nothing of the first time.
                (Self::Tied, error) if error.permanence() == Permanence::Temporary => {
                    Retry::SameShard
                }
                (Self::Tied, _) => Retry::Never,
            },
        }
    }
}

/// What a client is told of a letter that the store did not take.
pub(super) fn refusal(error: &UploadError) -> Reply {
    let UploadError::NotAccepted(error) = error else {
        return unavailable();
    };
    match error.fault() {
        Some(FaultKind::TooBig) => {
            let text = "The letter is larger than the store takes";
            Reply::new(552, EnhancedStatus::permanent(3, 4), text)
        }
        Some(FaultKind::OverQuota) => {
            Reply::new(452, EnhancedStatus::temporary(2, 2), "The mailbox is full")
        }
        Some(FaultKind::Overloaded) => Reply::new(
            452,
            EnhancedStatus::temporary(3, 1),
            "Too much to do, try again later",
        ),
        _ => unavailable(),
    }
}

#[cfg(test)]
mod tests {
    use postino_proto::Fault;

    use super::*;

    fn unavailable() -> UploadError {
        UploadError::NotAccepted(CallError::Unavailable("no leader".into()))
    }

    fn unknown() -> UploadError {
        UploadError::Unknown("connection lost".into())
    }

    fn fault(kind: FaultKind) -> UploadError {
        UploadError::NotAccepted(CallError::Fault(Fault::new(kind, "why")))
    }

    #[test]
    fn a_letter_that_may_lie_on_a_shard_goes_to_no_other() {
        use Retry::{AnyShard, Never, SameShard};
        use Tie::{Loose, Tied};
        for (tie, error, retry, then) in [
            (Loose, unavailable(), AnyShard, Loose),
            (Loose, unknown(), SameShard, Tied),
            (Loose, fault(FaultKind::TooBig), Never, Loose),
            (Tied, unavailable(), SameShard, Tied),
            (Tied, unknown(), SameShard, Tied),
            (Tied, fault(FaultKind::Overloaded), SameShard, Tied),
            (Tied, fault(FaultKind::TooBig), Never, Tied),
            (Loose, fault(FaultKind::Overloaded), Never, Loose),
        ] {
            let mut after = tie;
            assert_eq!(after.after(&error), retry, "{tie:?} {error:?}");
            assert_eq!(after, then, "{tie:?} {error:?}");
        }
    }

    #[test]
    fn what_may_work_later_is_refused_for_now() {
        for (error, code) in [
            (unavailable(), 451),
            (unknown(), 451),
            (fault(FaultKind::UploadLost), 451),
            (fault(FaultKind::OverQuota), 452),
            (fault(FaultKind::Overloaded), 452),
            (fault(FaultKind::TooBig), 552),
        ] {
            assert_eq!(refusal(&error).code(), code, "{error:?}");
        }
    }
}

//! Filing letters into mailboxes of this cluster: exactly once, since the mailbox's shard
//! remembers (queue-id, recipient).

use std::sync::Arc;
use std::time::Duration;

use postino_proto::store::v1::{DeliverBegin, DeliverStatus, DeliverTarget, Letter};
use postino_types::{EnhancedStatus, Reply};
use tokio::sync::Semaphore;

use crate::outcome::Attempted;
use crate::ports::{CallError, Store};
use crate::work::GroupEnd;

/// Files letters.
pub(crate) struct Local {
    store: Arc<dyn Store>,
    permits: Semaphore,
    retry: Duration,
}

impl Local {
    /// Files up to `at_once` letters at once; what fails inside the cluster is postponed by about
    /// `retry`.
    pub(crate) fn new(store: Arc<dyn Store>, at_once: usize, retry: Duration) -> Self {
        Self {
            store,
            permits: Semaphore::new(at_once),
            retry,
        }
    }

    /// Files a letter for recipients whose mailboxes live on one shard.
    pub(crate) async fn deliver(
        &self,
        letter: &Letter,
        shard: u32,
        recipients: &[u32],
    ) -> GroupEnd {
        let Ok(_permit) = self.permits.acquire().await else {
            return GroupEnd::postponed(self.retry);
        };
        let begin = DeliverBegin {
            shard,
            queue_id: letter.queue_id.clone(),
            targets: targets(letter, recipients),
            email: letter.email.clone(),
            size: letter.size,
        };
        match self.store.deliver(begin).await {
            Ok(results) => {
                let result = |&recipient: &u32| {
                    let found = results.iter().find(|result| result.recipient == recipient);
                    Attempted::ours(recipient, &reply(found.map(|result| result.status())))
                };
                GroupEnd::results(recipients.iter().map(result).collect())
            }
            Err(CallError::Refused(why)) => {
                tracing::error!(
                    queue_id = letter.queue_id,
                    why,
                    "the store refuses a delivery"
                );
                let reply = internal_error();
                let result = |&recipient: &u32| Attempted::ours(recipient, &reply);
                GroupEnd::results(recipients.iter().map(result).collect())
            }
            // No leader for the moment: not the letter's fault, and no attempt of its count.
            Err(error @ (CallError::Unavailable(_) | CallError::LeaseLost)) => {
                tracing::debug!(queue_id = letter.queue_id, %error, "not filed yet");
                GroupEnd::postponed(self.retry.mul_f64(1.0 + 2.0 * fastrand::f64()))
            }
        }
    }
}

fn targets(letter: &Letter, recipients: &[u32]) -> Vec<DeliverTarget> {
    let envelope = letter.envelope.as_ref();
    let target = |&recipient: &u32| {
        let index = usize::try_from(recipient).ok()?;
        let local = envelope?.recipients.get(index)?.local.as_ref()?;
        Some(DeliverTarget {
            recipient,
            account: local.account,
        })
    };
    recipients.iter().filter_map(target).collect()
}

fn reply(status: Option<DeliverStatus>) -> Reply {
    match status {
        Some(DeliverStatus::Filed | DeliverStatus::Duplicate) => {
            Reply::new(250, EnhancedStatus::success(1, 5), "filed in the mailbox")
        }
        // The account was removed after the letter was accepted.
        Some(DeliverStatus::NoAccount) => {
            Reply::new(550, EnhancedStatus::permanent(1, 1), "no such user here")
        }
        Some(DeliverStatus::Unspecified) | None => internal_error(),
    }
}

fn internal_error() -> Reply {
    Reply::new(
        451,
        EnhancedStatus::temporary(3, 0),
        "the mailbox store refused the letter",
    )
}

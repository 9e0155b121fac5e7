//! Filing letters into mailboxes of this cluster: exactly once, since the mailbox's shard
//! remembers (queue-id, recipient).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postino_proto::store::v1::{DeliverBegin, DeliverResult, DeliverStatus, DeliverTarget, Letter};
use postino_types::{EnhancedStatus, Reply};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::outcome::Attempted;
use crate::ports::{CallError, Store};
use crate::sites::Postponed;
use crate::work::GroupEnd;

/// Files letters.
pub(crate) struct Local {
    store: Arc<dyn Store>,
    permits: Semaphore,
    memory: Memory,
    retry: Duration,
}

/// A bound on what letters under way take: a large one flows through windows of some MiB at both
/// ends, whatever its size.
struct Memory {
    /// In KiB.
    room: Semaphore,
    all: u32,
}

/// What a letter takes at most while it flows.
const WINDOWS: u64 = 4 << 20;
/// Letters up to this size are not counted: they must not wait behind a large one.
const SMALL: u64 = 256 << 10;

impl Memory {
    fn new(octets: u64) -> Self {
        let all = u32::try_from(octets >> 10).unwrap_or(u32::MAX).max(1);
        Self {
            room: Semaphore::new(usize::try_from(all).unwrap_or(usize::MAX)),
            all,
        }
    }

    async fn take(&self, octets: u64) -> Result<Option<SemaphorePermit<'_>>, AcquireError> {
        if octets <= SMALL {
            return Ok(None);
        }
        let share = u32::try_from(octets.min(WINDOWS) >> 10).unwrap_or(u32::MAX);
        let taken = self.room.acquire_many(share.min(self.all)).await?;
        Ok(Some(taken))
    }
}

impl Local {
    /// Files up to `at_once` letters and `memory` octets at once; what fails inside the cluster is postponed by about
    /// `retry`.
    pub(crate) fn new(store: Arc<dyn Store>, at_once: usize, memory: u64, retry: Duration) -> Self {
        Self {
            store,
            permits: Semaphore::new(at_once),
            memory: Memory::new(memory),
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
        // The memory first: a large letter that waits must not hold up the small ones.
        let Ok(_memory) = self.memory.take(letter.size).await else {
            return GroupEnd::postponed(Postponed::briefly(self.retry));
        };
        let Ok(_permit) = self.permits.acquire().await else {
            return GroupEnd::postponed(Postponed::briefly(self.retry));
        };
        match self.file(letter, shard, recipients).await {
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
                let wait = self.retry.mul_f64(1.0 + 2.0 * fastrand::f64());
                GroupEnd::postponed(Postponed::briefly(wait))
            }
        }
    }
}

/// How often one delivery follows mailboxes that move on and on.
const MOVES: usize = 4;

impl Local {
    /// Files a letter on the shard that the letter names; for mailboxes that have moved since it was
    /// accepted, on the shards where they are now.
    async fn file(
        &self,
        letter: &Letter,
        shard: u32,
        recipients: &[u32],
    ) -> Result<Vec<DeliverResult>, CallError> {
        let mut results = Vec::with_capacity(recipients.len());
        let mut places = BTreeMap::from([(shard, recipients.to_vec())]);
        for _ in 0..=MOVES {
            let mut moved: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (shard, recipients) in std::mem::take(&mut places) {
                let begin = DeliverBegin {
                    shard,
                    queue_id: letter.queue_id.clone(),
                    targets: targets(letter, &recipients),
                    email: letter.email.clone(),
                    size: letter.size,
                };
                for result in self.store.deliver(begin).await? {
                    match result.status() {
                        DeliverStatus::Moved => {
                            moved
                                .entry(result.shard)
                                .or_default()
                                .push(result.recipient);
                        }
                        _ => results.push(result),
                    }
                }
            }
            if moved.is_empty() {
                return Ok(results);
            }
            places = moved;
        }
        Err(CallError::Unavailable(
            "a mailbox moves on and on".to_owned(),
        ))
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
        Some(DeliverStatus::Unspecified | DeliverStatus::Moved) | None => internal_error(),
    }
}

fn internal_error() -> Reply {
    Reply::new(
        451,
        EnhancedStatus::temporary(3, 0),
        "the mailbox store refused the letter",
    )
}

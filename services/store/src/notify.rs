//! Who is told that something has changed: streams on this node that follow an account or a shard.
//!
//! Nothing is queued for them. A follower has a slot with the union of what it has not been told
//! yet; one that reads slowly finds more in it, never a longer queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use postino_types::ShardId;
use tokio::sync::Notify;

/// What one batch of entries has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Account and mailbox.
    pub(crate) mailboxes: BTreeSet<(u64, u64)>,
    /// Account of each letter that was filed and is traced, and its encoded trace context.
    pub(crate) filed: Vec<(u64, Bytes)>,
    /// Due time and queue-id of letters that were planned.
    pub(crate) due: Vec<(u64, String)>,
}

/// Letters that one follower of a shard is told of at once; it finds others in the due index.
const MAX_LETTERS: usize = 10_000;

/// Traces that one follower of an account is told of at once; the links of one span.
const MAX_TRACES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Account(ShardId, u64),
    Spool(ShardId),
}

/// The followers of this node.
#[derive(Default)]
pub(crate) struct Notifier {
    slots: Mutex<HashMap<Topic, Vec<Weak<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// What a follower has not been told yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Mailboxes of its account that have changed.
    pub(crate) mailboxes: BTreeSet<u64>,
    /// Encoded trace contexts of letters that were filed for its account.
    pub(crate) filed: Vec<Bytes>,
    /// Letters of its shard and when they are due.
    pub(crate) due: BTreeMap<String, u64>,
}

/// Follows one account or one shard until it is dropped.
pub(crate) struct Follower {
    topic: Topic,
    slot: Arc<Slot>,
    notifier: Arc<Notifier>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notifier {
    /// Follows the mailboxes of an account.
    pub(crate) fn follow_account(self: &Arc<Self>, shard: ShardId, account: u64) -> Follower {
        self.follow(Topic::Account(shard, account))
    }

    /// Follows the letters of a shard.
    pub(crate) fn follow_spool(self: &Arc<Self>, shard: ShardId) -> Follower {
        self.follow(Topic::Spool(shard))
    }

    fn follow(self: &Arc<Self>, topic: Topic) -> Follower {
        let slot = Arc::new(Slot::default());
        let mut slots = lock(&self.slots);
        slots.entry(topic).or_default().push(Arc::downgrade(&slot));
        drop(slots);
        Follower {
            topic,
            slot,
            notifier: Arc::clone(self),
        }
    }

    /// Tells the followers of a shard and its accounts what has changed.
    pub(crate) fn tell(&self, shard: ShardId, news: News) {
        if news == News::default() {
            return;
        }
        let slots = lock(&self.slots);
        let followers = |topic| {
            slots
                .get(&topic)
                .into_iter()
                .flatten()
                .filter_map(Weak::upgrade)
        };
        // First the traces, so that the change that wakes a follower does not come without them.
        for (account, trace) in news.filed {
            for slot in followers(Topic::Account(shard, account)) {
                let mut waiting = lock(&slot.waiting);
                if waiting.filed.len() < MAX_TRACES {
                    waiting.filed.push(trace.clone());
                }
            }
        }
        for (account, mailbox) in news.mailboxes {
            for slot in followers(Topic::Account(shard, account)) {
                lock(&slot.waiting).mailboxes.insert(mailbox);
                slot.arrived.notify_one();
            }
        }
        for slot in followers(Topic::Spool(shard)) {
            let mut waiting = lock(&slot.waiting);
            for (due_ms, queue_id) in &news.due {
                if waiting.due.len() < MAX_LETTERS {
                    waiting.due.insert(queue_id.clone(), *due_ms);
                }
            }
            drop(waiting);
            slot.arrived.notify_one();
        }
    }
}

impl Follower {
    /// Waits until there is something to tell. Forgets nothing if the wait is given up.
    pub(crate) async fn arrived(&self) {
        self.slot.arrived.notified().await;
    }

    /// Takes what has not been told yet.
    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut *lock(&self.slot.waiting))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut slots = lock(&self.notifier.slots);
        if let Some(followers) = slots.get_mut(&self.topic) {
            let this = Arc::as_ptr(&self.slot);
            followers.retain(|slot| slot.as_ptr() != this);
            if followers.is_empty() {
                slots.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_follower_finds_the_union() {
        let notifier = Arc::new(Notifier::default());
        let shard = ShardId::new(1);
        let follower = notifier.follow_account(shard, 7);
        for mailbox in [1, 2, 1] {
            notifier.tell(
                shard,
                News {
                    mailboxes: [(7, mailbox), (8, 9)].into(),
                    filed: vec![(7, Bytes::from_static(b"T")), (8, Bytes::from_static(b"U"))],
                    due: vec![(5, "x".into())],
                },
            );
        }
        follower.arrived().await;
        let waiting = follower.take();
        assert_eq!(waiting.mailboxes, [1, 2].into());
        assert_eq!(waiting.filed, ["T", "T", "T"]);
        assert!(waiting.due.is_empty());
        assert_eq!(follower.take(), Waiting::default());
        drop(follower);
        assert!(lock(&notifier.slots).is_empty());
    }

    #[test]
    fn a_follower_that_does_not_read_holds_a_bounded_number_of_traces() {
        let notifier = Arc::new(Notifier::default());
        let shard = ShardId::new(1);
        let follower = notifier.follow_account(shard, 7);
        for _ in 0..3 {
            let trace = Bytes::from_static(b"T");
            let news = News {
                mailboxes: [(7, 1)].into(),
                filed: vec![(7, trace); MAX_TRACES],
                ..News::default()
            };
            notifier.tell(shard, news);
        }
        assert_eq!(follower.take().filed.len(), MAX_TRACES);
    }

    #[tokio::test]
    async fn followers_of_a_shard_hear_of_letters() {
        let notifier = Arc::new(Notifier::default());
        let follower = notifier.follow_spool(ShardId::new(2));
        let news = |due| News {
            due: vec![(due, "x".to_owned())],
            ..News::default()
        };
        notifier.tell(ShardId::new(2), news(5));
        notifier.tell(ShardId::new(2), news(6));
        notifier.tell(ShardId::new(3), news(7));
        follower.arrived().await;
        assert_eq!(follower.take().due, [("x".to_owned(), 6)].into());
    }
}

//! Recording outcomes: what ends while one commit is under way goes into the next, so that many
//! letters share a commit without waiting for each other.

use std::sync::Arc;
use std::time::Duration;

use postino_proto::store::v1::{LetterOutcome, SettleRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::ports::{CallError, Store};

/// The outcome was not recorded; the recipients stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSettled {
    /// The lease is lost: nobody here may record anything any more.
    #[error("the lease is lost")]
    LeaseLost,
    /// The store refuses this letter's outcome.
    #[error("the store refuses the outcome")]
    Refused,
}

/// Settings of a settler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettleSettings {
    /// Letters in one commit.
    pub(crate) letters: usize,
    /// Octets of notifications in one commit.
    pub(crate) size: usize,
    /// Diagnostic: a wait before each commit.
    pub(crate) delay: Duration,
    /// Wait before a commit is asked for again that got no answer.
    pub(crate) retry: Duration,
}

struct Order {
    outcome: LetterOutcome,
    span: Span,
    done: oneshot::Sender<Result<(), NotSettled>>,
}

/// Hands outcomes to a shard's settler; clones share it.
#[derive(Clone)]
pub(crate) struct Settler(mpsc::Sender<Order>);

impl Settler {
    /// A settler for a lease, and the task that does its work until all clones are dropped.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lease: Lease,
        settings: SettleSettings,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, orders) = mpsc::channel(settings.letters.max(1) * 2);
        (Self(sender), run(store, lease, settings, metrics, orders))
    }

    /// Records an outcome; returns once it is durable, or will never be.
    pub(crate) async fn settle(&self, outcome: LetterOutcome) -> Result<(), NotSettled> {
        let (done, result) = oneshot::channel();
        let span = Span::current();
        let order = Order {
            outcome,
            span,
            done,
        };
        self.0
            .send(order)
            .await
            .map_err(|_| NotSettled::LeaseLost)?;
        result.await.unwrap_or(Err(NotSettled::LeaseLost))
    }
}

async fn run(
    store: Arc<dyn Store>,
    lease: Lease,
    settings: SettleSettings,
    metrics: Metrics,
    mut orders: mpsc::Receiver<Order>,
) {
    while let Some(first) = orders.recv().await {
        let mut batch = vec![first];
        let mut size = weight(&batch[0].outcome);
        while batch.len() < settings.letters && size < settings.size {
            let Ok(next) = orders.try_recv() else { break };
            size += weight(&next.outcome);
            batch.push(next);
        }
        if !settings.delay.is_zero() {
            sleep(settings.delay).await;
        }
        metrics.settled(batch.len());
        commit(store.as_ref(), &lease, settings, batch).await;
    }
}

fn weight(outcome: &LetterOutcome) -> usize {
    outcome
        .notifications
        .iter()
        .map(|letter| letter.message.len())
        .sum()
}

/// Commits a batch. If the store refuses it, each letter goes alone, so that one that cannot be
/// recorded does not hold up the others.
async fn commit(store: &dyn Store, lease: &Lease, settings: SettleSettings, batch: Vec<Order>) {
    let outcomes = batch.iter().map(|order| order.outcome.clone()).collect();
    // One commit, one span below it: that of the first letter.
    let span = batch
        .first()
        .map_or_else(Span::none, |order| order.span.clone());
    let result = submit(store, lease, settings, outcomes)
        .instrument(span)
        .await;
    if result == Err(NotSettled::Refused) && batch.len() > 1 {
        for order in batch {
            let alone = vec![order.outcome.clone()];
            let span = order.span.clone();
            let result = submit(store, lease, settings, alone).instrument(span).await;
            let _ = order.done.send(result);
        }
        return;
    }
    for order in batch {
        // Its letter may have been aborted meanwhile; the record stands.
        let _ = order.done.send(result);
    }
}

/// Settles until the store answers or the lease ends. Recording an outcome twice is harmless: the
/// store does not touch a settled recipient, and knows a deferral by the number of its attempt.
async fn submit(
    store: &dyn Store,
    lease: &Lease,
    settings: SettleSettings,
    letters: Vec<LetterOutcome>,
) -> Result<(), NotSettled> {
    let request = SettleRequest {
        shard: lease.shard.get(),
        holder: lease.holder.to_string(),
        lease_epoch: lease.epoch.get(),
        letters,
    };
    loop {
        match store.settle(request.clone()).await {
            Ok(()) => return Ok(()),
            Err(CallError::LeaseLost) => {
                tracing::warn!(
                    shard = lease.shard.get(),
                    "outcomes refused: the lease is lost"
                );
                lease.tenure.lose();
                return Err(NotSettled::LeaseLost);
            }
            Err(CallError::Refused(why)) => {
                tracing::error!(
                    shard = lease.shard.get(),
                    why,
                    "the store refuses an outcome"
                );
                return Err(NotSettled::Refused);
            }
            Err(CallError::Unavailable(why)) => {
                tracing::debug!(shard = lease.shard.get(), why, "not settled yet");
            }
        }
        sleep(settings.retry).await;
        if !lease.tenure.holds(Instant::now()) {
            return Err(NotSettled::LeaseLost);
        }
    }
}

//! One entry of many proposals: what gathers while entries are on their way is
//! proposed together.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use openraft::impls::OneshotResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::address::AddressBook;
use super::error::ProposeError;
use super::group::{Applied, Proposal};
use super::log::SyncTimes;
use super::membership::forward;
use super::settings::RaftSettings;
use super::types::{Batch, Body, Command, Config, Raft};

/// A proposal that waits for its turn.
pub(crate) struct Pending {
    pub(crate) proposal: Proposal,
    pub(crate) answer: oneshot::Sender<Result<Applied, ProposeError>>,
    /// Its bytes of the shard's budget, given back when it is answered.
    pub(crate) budget: OwnedSemaphorePermit,
}

pub(crate) struct Batcher {
    pub(crate) raft: Raft,
    pub(crate) settings: Arc<RaftSettings>,
    pub(crate) sync_times: Arc<SyncTimes>,
    pub(crate) addresses: Arc<AddressBook>,
}

impl Batcher {
    /// Runs until the last sender is gone.
    pub(crate) async fn run(self, mut queue: mpsc::UnboundedReceiver<Pending>) {
        let mut on_their_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut first = None;
        loop {
            while let Some(pending) = first.take() {
                if on_their_way.len() >= self.settings.entries_in_flight {
                    first = Some(pending);
                    break;
                }
                let (batch, next) = self.gather(pending, &mut queue);
                first = next;
                if let Some(entry) = self.submit(batch).await {
                    on_their_way.push(entry);
                }
            }
            let full = on_their_way.len() >= self.settings.entries_in_flight;
            tokio::select! {
                biased;
                Some(()) = on_their_way.next(), if !on_their_way.is_empty() => {}
                pending = queue.recv(), if !full && first.is_none() => match pending {
                    Some(pending) => first = Some(pending),
                    None => break,
                },
            }
        }
        while on_their_way.next().await.is_some() {}
    }

    /// What waits behind `first` and fits into one entry with it, and the first
    /// one that does not fit.
    fn gather(
        &self,
        first: Pending,
        queue: &mut mpsc::UnboundedReceiver<Pending>,
    ) -> (Vec<Pending>, Option<Pending>) {
        let mut bytes = first.proposal.size();
        let mut batch = vec![first];
        while batch.len() < self.settings.entry_commands {
            let Ok(next) = queue.try_recv() else { break };
            if bytes + next.proposal.size() > self.settings.entry_bytes {
                return (batch, Some(next));
            }
            bytes += next.proposal.size();
            batch.push(next);
        }
        (batch, None)
    }

    /// Hands the proposals to openraft as one entry. The future answers them.
    async fn submit(&self, batch: Vec<Pending>) -> Option<BoxFuture<'static, ()>> {
        let mut commands = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for pending in batch {
            commands.push(Command {
                command: pending.proposal.command,
                body: match pending.proposal.body {
                    Some(body) if !body.is_empty() => Body::Inline(body),
                    _ => Body::None,
                },
            });
            waiting.push((pending.answer, pending.budget));
        }
        let entry = Batch {
            time_ms: now_ms(),
            commands,
        };
        let (responder, response) = OneshotResponder::<Config, _>::new_pair();
        if self
            .raft
            .client_write_ff(entry, Some(responder))
            .await
            .is_err()
        {
            for (answer, _) in waiting {
                // Nobody may be waiting any more; that is their choice.
                let _ = answer.send(Err(ProposeError::Stopped));
            }
            return None;
        }
        let sync_times = Arc::clone(&self.sync_times);
        let addresses = Arc::clone(&self.addresses);
        Some(Box::pin(async move {
            let outcome = match response.await {
                Ok(result) => outcome(result, &sync_times, &addresses),
                // The group stopped with the entry on its way.
                Err(_) => Err(ProposeError::Unknown),
            };
            match outcome {
                Ok(applied) => {
                    for ((answer, _), applied) in waiting.into_iter().zip(applied) {
                        let _ = answer.send(Ok(applied));
                    }
                }
                Err(error) => {
                    for (answer, _) in waiting {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }))
    }
}

fn outcome(
    result: ClientWriteResult<Config>,
    sync_times: &SyncTimes,
    addresses: &AddressBook,
) -> Result<Vec<Applied>, ProposeError> {
    match result {
        Ok(response) => {
            let fsync = sync_times.of(response.log_id.index);
            let answers = response.data.0.into_iter();
            Ok(answers
                .map(|answer| Applied {
                    index: response.log_id.index,
                    term: response.log_id.leader_id.term,
                    answer,
                    fsync,
                })
                .collect())
        }
        Err(ClientWriteError::ForwardToLeader(to)) => Err(ProposeError::NotLeader {
            leader: forward(&to, addresses),
        }),
        // It was in this node's log; the next leader may have it, or not.
        Err(_) => Err(ProposeError::Unknown),
    }
}

/// The leader's clock, which stamps the entry.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

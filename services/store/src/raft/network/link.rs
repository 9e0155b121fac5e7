//! The connection to one peer, kept up for as long as the node runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postino_proto::raft::v1 as proto;
use postino_types::{NodeId, ShardId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Network;
use super::frame::frames;
use crate::raft::address::AddressBook;
use crate::raft::settings::RaftSettings;

/// Messages that may wait for the transport.
const QUEUE: usize = 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1000);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("not connected to node {0}")]
    Down(NodeId),
    #[error("the connection to node {0} broke")]
    Broken(NodeId),
}

type Kind = proto::message::Kind;

pub(super) struct Link {
    peer: NodeId,
    recorded: Mutex<String>,
    connection: watch::Sender<Option<Arc<Connection>>>,
    /// Bytes of entries on their way to this peer.
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    woken: Notify,
}

/// One stream and the requests on it that have no answer yet.
struct Connection {
    outgoing: mpsc::Sender<proto::Message>,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Kind>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(peer: NodeId, recorded: String, settings: &RaftSettings) -> Self {
        let budget_bytes = u32::try_from(settings.peer_bytes).unwrap_or(u32::MAX >> 3);
        Self {
            peer,
            recorded: Mutex::new(recorded),
            connection: watch::Sender::default(),
            budget: Arc::new(Semaphore::new(budget_bytes as usize)),
            budget_bytes,
            woken: Notify::new(),
        }
    }

    /// The peer.
    pub(super) fn peer(&self) -> NodeId {
        self.peer
    }

    /// Where the peer is, as far as this node knows.
    pub(super) fn endpoint(&self, addresses: &AddressBook) -> String {
        addresses.resolve(self.peer, &lock(&self.recorded))
    }

    /// Takes down where the membership says the peer is.
    pub(super) fn record(&self, recorded: &str) {
        recorded.clone_into(&mut lock(&self.recorded));
    }

    /// Makes a link that waits try again now.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Returns once there is a connection, which is tried for now if it is not up.
    pub(super) async fn up(&self) {
        let mut connection = self.connection.subscribe();
        if connection.borrow_and_update().is_none() {
            self.wake();
        }
        // The sender is in this link, and outlives the wait.
        let _ = connection.wait_for(Option::is_some).await;
    }

    /// Takes `bytes` of the peer's budget, waiting for answers to earlier entries.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(self.budget_bytes);
        let budget = Arc::clone(&self.budget);
        budget.acquire_many_owned(permits).await.ok()
    }

    /// Queues a request; its answer, when it comes, is at the receipt.
    pub(super) async fn send(&self, shard: ShardId, kind: Kind) -> Result<Receipt, LinkError> {
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or(LinkError::Down(self.peer))?;
        let id = connection.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&connection.waiting).insert(id, sender);
        // From here on the receipt takes the request off the list, however it ends.
        let receipt = Receipt {
            peer: self.peer,
            id,
            answer,
            connection: Arc::clone(&connection),
        };
        let message = proto::Message {
            id,
            shard: shard.get(),
            kind: Some(kind),
        };
        match connection.outgoing.send(message).await {
            Ok(()) => Ok(receipt),
            Err(_) => Err(LinkError::Broken(self.peer)),
        }
    }
}

/// A request that was sent.
pub(super) struct Receipt {
    peer: NodeId,
    id: u64,
    answer: oneshot::Receiver<Kind>,
    connection: Arc<Connection>,
}

impl Receipt {
    /// The answer. Without one when the connection breaks.
    pub(super) async fn answer(mut self) -> Result<Kind, LinkError> {
        (&mut self.answer)
            .await
            .map_err(|_| LinkError::Broken(self.peer))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        lock(&self.connection.waiting).remove(&self.id);
    }
}

/// Connects, serves the connection until it breaks, and connects again.
pub(super) async fn keep_up(network: Arc<Network>, link: Arc<Link>) {
    let closed = network.closed.clone();
    let mut pause = FIRST_PAUSE;
    let mut reported = false;
    loop {
        let outcome = tokio::select! {
            () = closed.cancelled() => break,
            outcome = serve(&network, &link) => outcome,
        };
        let connection = link.connection.send_replace(None);
        if let Some(connection) = connection {
            // Dropping the senders tells those who wait.
            lock(&connection.waiting).clear();
            pause = FIRST_PAUSE;
            reported = false;
        }
        if !reported {
            let reason = outcome
                .err()
                .map_or_else(|| "it was closed".into(), |e| e.message().to_owned());
            tracing::info!(peer = %link.peer, reason, "no connection to a peer");
            reported = true;
        }
        // Spread out, so that nodes that lost each other do not meet again all at once.
        let spread = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::select! {
            () = closed.cancelled() => break,
            () = link.woken.notified() => {}
            () = tokio::time::sleep(spread) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    let connection = link.connection.send_replace(None);
    if let Some(connection) = connection {
        lock(&connection.waiting).clear();
    }
}

async fn serve(network: &Network, link: &Link) -> Result<(), tonic::Status> {
    let endpoint = link.endpoint(&network.addresses);
    let mut client = network.connect(endpoint).await?;
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let hello = network.hello(link.peer);
    let opened = timeout(
        network.settings.connect_timeout,
        client.stream(frames(hello, queue)),
    );
    let opened = opened
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("the peer does not answer"))?;
    let mut incoming = opened?.into_inner();
    let connection = Arc::new(Connection {
        outgoing,
        next_id: AtomicU64::new(1),
        waiting: Mutex::default(),
    });
    link.connection.send_replace(Some(Arc::clone(&connection)));
    tracing::debug!(peer = %link.peer, "connected to a peer");
    while let Some(frame) = incoming.message().await? {
        for message in frame.messages {
            let Some(kind) = message.kind else { continue };
            let waiting = lock(&connection.waiting).remove(&message.id);
            if let Some(waiting) = waiting {
                // The asker may have given up.
                let _ = waiting.send(kind);
            }
        }
    }
    Ok(())
}

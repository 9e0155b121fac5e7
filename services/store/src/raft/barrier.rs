//! Linearizable reads: ReadIndex (Raft, section 6.4), one round for all that wait.

use std::sync::Arc;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};

use super::address::AddressBook;
use super::error::ReadError;
use super::membership::forward;
use super::types::{Config, Raft};

pub(crate) type Waiter = oneshot::Sender<Result<(), ReadError>>;

/// Serves barriers until the last sender is gone. A reader that arrives while a
/// round is under way waits for the next one, since that round may have begun
/// before a write which the reader must see.
pub(crate) async fn run(
    raft: Raft,
    addresses: Arc<AddressBook>,
    mut queue: mpsc::UnboundedReceiver<Waiter>,
) {
    let mut waiters = Vec::new();
    while queue.recv_many(&mut waiters, usize::MAX).await > 0 {
        let waiting = std::mem::take(&mut waiters);
        match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Err(error) => answer(waiting, &Err(read_error(error, &addresses))),
            Ok(linearizer) => {
                let raft = raft.clone();
                // Waiting for apply does not hold up the next round.
                tokio::spawn(async move {
                    let applied = linearizer.await_ready(&raft).await;
                    answer(waiting, &applied.map(drop).map_err(|_| ReadError::Stopped));
                });
            }
        }
    }
}

fn answer(waiting: Vec<Waiter>, outcome: &Result<(), ReadError>) {
    for waiter in waiting {
        // A reader may have given up.
        let _ = waiter.send(outcome.clone());
    }
}

fn read_error(
    error: RaftError<Config, LinearizableReadError<Config>>,
    addresses: &AddressBook,
) -> ReadError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => ReadError::NotLeader {
            leader: forward(&to, addresses),
        },
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
        RaftError::Fatal(_) => ReadError::Stopped,
    }
}

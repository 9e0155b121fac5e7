//! Holding a maildrop for one session (RFC 1939 section 3), across all processes.
//!
//! The leader of the account's shard grants it and keeps it for as long as a stream from it is
//! open. A stream that breaks, because the leader changes for example, is asked for again; if
//! another session got the maildrop meanwhile, it is lost, and with it the right to delete.

use std::time::Duration;

use postino_proto::store::v1::HoldMaildropEvent;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::account::{Incoming, MailAccount};
use crate::store_error::StoreError;

/// The store sends a sign of life every 2 s; after so much silence, it is asked again.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the store may take to grant a maildrop.
const GRANT: Duration = Duration::from_secs(10);
/// Pause before a broken stream is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// How a maildrop is held at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// The stream broke; it is being asked for again.
    Uncertain,
    /// Another session has it.
    Lost,
}

/// A held maildrop; it is let go when this is dropped.
pub(super) struct Hold {
    state: watch::Receiver<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Hold {
    /// Takes the maildrop; fails with [`StoreError::InUse`] if another session has it.
    pub(super) async fn take(account: MailAccount, holder: String) -> Result<Self, StoreError> {
        let granted = grant(&account, &holder).await?;
        let (sender, state) = watch::channel(State::Held);
        let task = keep(account, holder, granted, sender);
        let task = tokio::spawn(postino_telemetry::in_current_role(task));
        Ok(Self { state, task })
    }

    /// Whether the maildrop is held, waiting for some time while that is not certain.
    pub(super) async fn confirm(&mut self, wait: Duration) -> bool {
        let settled = self.state.wait_for(|state| *state != State::Uncertain);
        matches!(timeout(wait, settled).await, Ok(Ok(state)) if *state == State::Held)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Events = Incoming<HoldMaildropEvent>;

/// Asks for the maildrop; its stream's first event grants it.
async fn grant(account: &MailAccount, holder: &str) -> Result<Events, StoreError> {
    let granted = timeout(GRANT, async {
        let mut events = account.hold_maildrop(holder).await?;
        match events.message().await? {
            Some(_) => Ok(events),
            None => Err(StoreError::Unavailable("the hold has ended".to_owned())),
        }
    });
    let late = |_| StoreError::Unavailable("the maildrop was not granted in time".to_owned());
    granted.await.map_err(late)?
}

async fn keep(
    account: MailAccount,
    holder: String,
    mut events: Events,
    state: watch::Sender<State>,
) {
    loop {
        while let Ok(Ok(Some(_))) = timeout(SILENCE, events.message()).await {}
        drop(events);
        state.send_replace(State::Uncertain);
        events = loop {
            match grant(&account, &holder).await {
                Ok(events) => break events,
                Err(StoreError::InUse) => {
                    state.send_replace(State::Lost);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "a maildrop is asked for again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        state.send_replace(State::Held);
    }
}

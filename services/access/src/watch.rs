//! Following accounts: one change stream per account and process, shared by its sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use postino_types::AccountId;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::account::MailAccount;

/// The store sends a sign of life every 2 s; after so much silence, it is asked again.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause before a change stream is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// What was heard of an account's changes. If it is not what it was before, something may have
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    /// The highest mod-sequence of the account.
    mod_seq: u64,
    /// Rises whenever the stream was interrupted: something may have been missed.
    gaps: u64,
}

/// One account's change stream, as a session follows it.
pub(crate) struct AccountWatch {
    heard: watch::Receiver<Heard>,
    _follower: Arc<Follower>,
}

impl AccountWatch {
    /// What has been heard by now. To be asked for before the changes are read, so that what
    /// comes meanwhile is not taken for known.
    pub(crate) fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Waits until more has been heard than `known`. Can be dropped and called again.
    pub(crate) async fn beyond(&mut self, known: Heard) {
        if self.heard.wait_for(|heard| *heard != known).await.is_err() {
            // The follower lives as long as this watch; should it end all the same, wait for ever:
            // the session still reads at the end of each command.
            std::future::pending::<()>().await;
        }
    }
}

struct Follower {
    task: tokio::task::AbortHandle,
    heard: watch::Receiver<Heard>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All accounts that this process follows.
#[derive(Default)]
pub(crate) struct Watches {
    followers: Mutex<HashMap<AccountId, Weak<Follower>>>,
}

impl Watches {
    /// Follows an account; the stream ends with the last watch on it.
    pub(crate) fn follow(&self, account: &MailAccount) -> AccountWatch {
        let mut followers = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = followers.get(&account.id()).and_then(Weak::upgrade);
        let follower = known.unwrap_or_else(|| {
            followers.retain(|_, follower| follower.strong_count() > 0);
            let (sender, heard) = watch::channel(Heard::default());
            let task = tokio::spawn(postino_telemetry::in_current_role(follow(
                account.clone(),
                sender,
            )));
            let follower = Arc::new(Follower {
                task: task.abort_handle(),
                heard,
            });
            followers.insert(account.id(), Arc::downgrade(&follower));
            follower
        });
        AccountWatch {
            heard: follower.heard.clone(),
            _follower: follower,
        }
    }
}

/// Subscribes again and again, until nobody listens.
async fn follow(account: MailAccount, sender: watch::Sender<Heard>) {
    loop {
        follow_once(&account, &sender).await;
        sender.send_modify(|heard| heard.gaps += 1);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads one stream until it ends, falls silent, or comes from another term.
async fn follow_once(account: &MailAccount, sender: &watch::Sender<Heard>) {
    let Ok(Ok(mut events)) = timeout(SILENCE, account.watch()).await else {
        return;
    };
    let mut term = None;
    while let Ok(Ok(Some(event))) = timeout(SILENCE, events.message()).await {
        if *term.get_or_insert(event.term) != event.term {
            return;
        }
        sender.send_if_modified(|heard| {
            let news = event.mod_seq > heard.mod_seq;
            heard.mod_seq = heard.mod_seq.max(event.mod_seq);
            news
        });
    }
}

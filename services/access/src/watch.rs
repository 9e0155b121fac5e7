//! Following accounts: one change stream per account and process, shared by its sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use postino_proto::store::v1::WatchEvent;
use postino_telemetry::propagate::{self, RemoteSpan};
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
    /// Letters whose traces were heard of. Part of what wakes a session, so that a trace that comes
    /// after its letter's mod-sequence still finds a span to be linked from.
    letters: u64,
}

/// Traces of letters that an account's sessions can still link to; one span links to no more.
const MAX_LINKS: usize = 32;

/// The traces of the letters that came last.
#[derive(Debug, Default)]
struct Traces {
    /// Of all letters so far; the last of them are in `last`.
    count: u64,
    last: VecDeque<RemoteSpan>,
}

impl Traces {
    fn push(&mut self, letter: RemoteSpan) {
        if self.last.len() == MAX_LINKS {
            self.last.pop_front();
        }
        self.last.push_back(letter);
        self.count += 1;
    }

    /// Those that came after the first `known` ones, oldest first.
    fn since(&self, known: u64) -> impl Iterator<Item = &RemoteSpan> {
        let new = usize::try_from(self.count.saturating_sub(known)).unwrap_or(usize::MAX);
        self.last.range(self.last.len().saturating_sub(new)..)
    }
}

/// One account's change stream, as a session follows it.
pub(crate) struct AccountWatch {
    heard: watch::Receiver<Heard>,
    follower: Arc<Follower>,
}

impl AccountWatch {
    /// What has been heard by now. To be asked for before the changes are read, so that what
    /// comes meanwhile is not taken for known.
    pub(crate) fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Links a span that tells of changes to the letters that came since `known` was heard.
    pub(crate) fn link_letters(&self, known: Heard, span: &tracing::Span) {
        let traces = self.follower.lock_traces();
        traces
            .since(known.letters)
            .for_each(|letter| letter.link(span));
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
    traces: Arc<Mutex<Traces>>,
}

impl Follower {
    fn lock_traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            let traces = Arc::default();
            let task = tokio::spawn(postino_telemetry::in_current_role(follow(
                account.clone(),
                sender,
                Arc::clone(&traces),
            )));
            let follower = Arc::new(Follower {
                task: task.abort_handle(),
                heard,
                traces,
            });
            followers.insert(account.id(), Arc::downgrade(&follower));
            follower
        });
        AccountWatch {
            heard: follower.heard.clone(),
            follower,
        }
    }
}

/// Subscribes again and again, until nobody listens.
async fn follow(account: MailAccount, sender: watch::Sender<Heard>, traces: Arc<Mutex<Traces>>) {
    loop {
        follow_once(&account, &sender, &traces).await;
        sender.send_modify(|heard| heard.gaps += 1);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads one stream until it ends, falls silent, or comes from another term.
async fn follow_once(account: &MailAccount, sender: &watch::Sender<Heard>, traces: &Mutex<Traces>) {
    let since = Some(sender.borrow().mod_seq).filter(|known| *known > 0);
    let Ok(Ok(mut events)) = timeout(SILENCE, account.watch(since)).await else {
        return;
    };
    let mut term = None;
    while let Ok(Ok(Some(event))) = timeout(SILENCE, events.message()).await {
        if *term.get_or_insert(event.term) != event.term {
            return;
        }
        // Before the sessions wake, who link to them.
        let letters = remember(
            &mut traces.lock().unwrap_or_else(PoisonError::into_inner),
            &event,
        );
        sender.send_if_modified(|heard| {
            let news = event.mod_seq > heard.mod_seq || letters != heard.letters;
            heard.mod_seq = heard.mod_seq.max(event.mod_seq);
            heard.letters = letters;
            news
        });
    }
}

/// Keeps the traces that came with an event; returns how many there have been.
fn remember(traces: &mut Traces, event: &WatchEvent) -> u64 {
    for trace in &event.filed {
        let letter = propagate::from_record(&trace.traceparent, &trace.tracestate);
        if letter.is_valid() {
            traces.push(letter);
        }
    }
    traces.count
}

#[cfg(test)]
mod tests {
    use postino_proto::mail::v1::TraceContext;

    use super::*;

    fn event(letters: impl Iterator<Item = u32>) -> WatchEvent {
        let trace = |letter| TraceContext {
            traceparent: format!("00-{letter:032x}-b7ad6b7169203331-01"),
            tracestate: String::new(),
        };
        WatchEvent {
            filed: letters.map(trace).collect(),
            ..WatchEvent::default()
        }
    }

    fn since(traces: &Traces, known: u64) -> Vec<u32> {
        let number = |span: &RemoteSpan| {
            let id = span.trace_id().expect("only valid spans are kept");
            u32::from_str_radix(&id, 16).expect("a small number")
        };
        traces.since(known).map(number).collect()
    }

    #[test]
    fn a_session_links_to_the_letters_it_was_not_told_of_yet_and_to_a_bounded_number() {
        let mut traces = Traces::default();
        assert_eq!(remember(&mut traces, &event(1..4)), 3);
        assert_eq!(since(&traces, 0), [1, 2, 3]);
        assert_eq!(since(&traces, 2), [3]);
        assert_eq!(since(&traces, 3), [0; 0]);
        // Zero is no trace id (W3C Trace Context section 3.2.2.3).
        assert_eq!(remember(&mut traces, &event(0..1)), 3);
        assert_eq!(remember(&mut traces, &event(4..1000)), 999);
        let last: Vec<u32> = (1000 - MAX_LINKS as u32..1000).collect();
        assert_eq!(since(&traces, 3), last);
        assert_eq!(since(&traces, 998), [999]);
    }
}

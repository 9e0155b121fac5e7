//! Stopping in order: first a word, then time to finish, then the end.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The process's wish to stop; clones share it.
///
/// After [`begin`](Self::begin) nothing new is taken in, and what runs has the drain time to come
/// to an end; then it is aborted.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: CancellationToken,
    now: CancellationToken,
    deadline: Arc<OnceLock<Instant>>,
    drain: Duration,
}

impl Shutdown {
    /// Not yet wished for. `drain` is the time that running work gets.
    pub fn new(drain: Duration) -> Self {
        Self {
            begun: CancellationToken::new(),
            now: CancellationToken::new(),
            deadline: Arc::default(),
            drain,
        }
    }

    /// Begins to stop. Later calls change nothing.
    pub fn begin(&self) {
        self.deadline.get_or_init(|| Instant::now() + self.drain);
        self.begun.cancel();
    }

    /// Stops without waiting for what runs.
    pub fn abort(&self) {
        self.begin();
        self.now.cancel();
    }

    /// Whether stopping has begun.
    pub fn is_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until stopping begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits until what still runs is to be aborted.
    pub async fn expired(&self) {
        self.begun().await;
        let deadline = *self.deadline.get_or_init(|| Instant::now() + self.drain);
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => {}
            () = self.now.cancelled() => {}
        }
    }

    /// Runs work that ends by itself once stopping has begun; `None` if it was aborted because it
    /// did not.
    pub async fn drain<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            output = work => Some(output),
            () = self.expired() => None,
        }
    }

    /// Runs work that may be dropped at any moment; `None` if stopping has begun.
    pub async fn until_begun<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.begun() => None,
            output = work => Some(output),
        }
    }

    /// Begins at the first SIGTERM or SIGINT, aborts at the second. To be spawned once.
    pub async fn on_signals(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        for stop in [Self::begin, Self::abort] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop(&self);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_gets_its_time_and_no_more() {
        let drain = Duration::from_millis(200);
        let shutdown = Shutdown::new(drain);
        assert!(!shutdown.is_begun());
        let start = Instant::now();
        shutdown.begin();
        assert_eq!(shutdown.drain(tokio::task::yield_now()).await, Some(()));
        assert_eq!(shutdown.drain(std::future::pending::<()>()).await, None);
        assert!(start.elapsed() >= drain);
        assert_eq!(shutdown.until_begun(async { 1 }).await, None);
    }

    #[tokio::test]
    async fn abort_waits_for_nothing() {
        let shutdown = Shutdown::new(Duration::from_secs(3600));
        shutdown.abort();
        let aborted = shutdown.drain(std::future::pending::<()>());
        let within = tokio::time::timeout(Duration::from_secs(10), aborted).await;
        assert_eq!(within.expect("at once"), None);
    }
}

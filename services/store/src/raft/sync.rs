//! The group commit: one thread syncs the write-ahead log for all shards.
//!
//! Whoever needs a write to be durable writes it and leaves a callback. The
//! thread takes all callbacks that wait, syncs once, and completes them; what is
//! written meanwhile waits for the next round. So the number of syncs follows
//! the disk's pace and not the number of letters.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::counters::Counters;
use crate::db::Db;

/// How a sync ended: how long it took, or why it failed.
pub(crate) type SyncOutcome = Result<Duration, Arc<str>>;

pub(crate) type Callback = Box<dyn FnOnce(SyncOutcome) + Send>;

/// Where callbacks wait for the next sync. Clones share the queue.
#[derive(Clone)]
pub(crate) struct SyncQueue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    callbacks: Vec<Callback>,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncQueue {
    /// Calls `done` once everything that was written before this call is durable.
    pub(crate) fn after_sync(&self, done: impl FnOnce(SyncOutcome) + Send + 'static) {
        let mut waiting = self.shared.lock();
        if waiting.stopping {
            drop(waiting);
            done(Err("the node is stopping".into()));
            return;
        }
        waiting.callbacks.push(Box::new(done));
        drop(waiting);
        self.shared.arrived.notify_one();
    }

    /// A queue that no thread attends to: a simulation takes what waits, when it will.
    #[cfg(test)]
    pub(crate) fn unattended() -> Self {
        Self {
            shared: Arc::default(),
        }
    }

    /// Takes what waits for the next sync.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Vec<Callback> {
        std::mem::take(&mut self.shared.lock().callbacks)
    }

    /// Waits until everything that was written before this call is durable.
    pub(crate) async fn synced(&self) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        self.after_sync(move |outcome| {
            // A receiver that is gone belonged to a group that has been shut down.
            let _ = done.send(outcome);
        });
        let outcome = synced.await;
        let outcome = outcome.map_err(|_| io::Error::other("the sync thread has ended"))?;
        outcome.map_err(|reason| io::Error::other(reason.to_string()))?;
        Ok(())
    }
}

/// The thread; dropping it completes what waits and ends it.
pub(crate) struct SyncThread {
    queue: SyncQueue,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    pub(crate) fn start(db: Db, counters: Arc<Counters>) -> std::io::Result<Self> {
        let queue = SyncQueue {
            shared: Arc::default(),
        };
        let shared = Arc::clone(&queue.shared);
        let thread = std::thread::Builder::new()
            .name("postino-sync".into())
            .spawn(move || run(&shared, &db, &counters))?;
        Ok(Self {
            queue,
            thread: Some(thread),
        })
    }

    pub(crate) fn queue(&self) -> SyncQueue {
        self.queue.clone()
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.queue.shared.lock().stopping = true;
        self.queue.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // It only ends by returning or by ending the process.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, db: &Db, counters: &Counters) {
    loop {
        let callbacks = {
            let mut waiting = shared.lock();
            while waiting.callbacks.is_empty() && !waiting.stopping {
                waiting = shared
                    .arrived
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.callbacks.is_empty() {
                return;
            }
            std::mem::take(&mut waiting.callbacks)
        };
        let started = Instant::now();
        let synced = db.sync_wal();
        let took = started.elapsed();
        match synced {
            Ok(()) => {
                counters.synced(callbacks.len(), took);
                for done in callbacks {
                    done(Ok(took));
                }
            }
            Err(error) => {
                // The kernel may have dropped the dirty pages and report success next
                // time (fsyncgate), so what is on disk is unknown from here on. Only a
                // restart, which reads the disk, may go on.
                tracing::error!(%error, "the log could not be synced; ending the process");
                let reason: Arc<str> = error.to_string().into();
                for done in callbacks {
                    done(Err(Arc::clone(&reason)));
                }
                std::process::abort();
            }
        }
    }
}

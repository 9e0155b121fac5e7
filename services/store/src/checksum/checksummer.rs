//! The checksums of this node's replicas: which are awaited, which are being computed, which are
//! there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use postino_types::ShardId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::digest::{self, Checksum};
use crate::db::{Db, DbError};
use crate::raft::{Group, applied_index};

/// Checksums of a shard that are awaited, under way or kept; the oldest gives way.
const KEPT: usize = 8;

/// Between two looks at how far a replica has come.
const LOOK: Duration = Duration::from_millis(25);

/// Why there is no checksum at an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// The state had gone on, or had come by a snapshot of a later one.
    #[error("the replica has gone past that index")]
    Past,
    /// It has not applied that entry in time.
    #[error("the replica has not come to that index in time")]
    Behind,
    /// Computing takes longer than somebody wanted to wait.
    #[error("the checksum was not computed in time")]
    Slow,
    /// The replica has stopped applying.
    #[error("the replica has halted: {0}")]
    Halted(String),
    /// Others have been asked for since, or the node stops.
    #[error("the checksum was given up for others")]
    GivenUp,
    /// The database, or the operating system.
    #[error("{0}")]
    Failed(String),
}

impl From<DbError> for Missing {
    fn from(error: DbError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How a checksum is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until then its entry has to be applied.
    pub(crate) reach: Instant,
    /// Until then it has to be there.
    pub(crate) end: Instant,
    /// One that was computed before is not wanted.
    pub(crate) anew: bool,
}

/// What computes checksums and keeps the latest.
pub(crate) struct Checksummer {
    db: Db,
    slots: Mutex<BTreeMap<ShardId, VecDeque<Slot>>>,
    changed: Notify,
    /// Whoever computes holds it: one checksum of this node at a time.
    turn: Mutex<()>,
    closed: AtomicBool,
}

struct Slot {
    index: u64,
    state: State,
}

#[derive(Clone)]
enum State {
    /// Somebody wants it as soon as that entry is applied.
    Awaited,
    Computing,
    Done(Result<Checksum, Missing>),
}

impl Checksummer {
    pub(crate) fn new(db: Db) -> Self {
        Self {
            db,
            slots: Mutex::default(),
            changed: Notify::new(),
            turn: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Gives everything up, so that the database can be closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.slots().clear();
        self.changed.notify_waiters();
    }

    /// Whether somebody wants the checksum of a shard at this index.
    pub(crate) fn is_awaited(&self, shard: ShardId, index: u64) -> bool {
        let slots = self.slots();
        let mut slots = slots.get(&shard).into_iter().flatten();
        slots.any(|slot| slot.index == index && matches!(slot.state, State::Awaited))
    }

    /// Computes the checksum of a shard whose state stands at `index`, unless that is done already.
    /// Returns once the view is taken that is read for it.
    pub(crate) fn begin(self: &Arc<Self>, shard: ShardId, index: u64) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut slots = self.slots();
        let slot = find(&mut slots, shard, index);
        if !matches!(slot.state, State::Awaited) {
            return;
        }
        slot.state = State::Computing;
        drop(slots);
        let (sender, taken) = mpsc::channel();
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new().name("postino-checksum".into());
        let started = thread.spawn(move || {
            let outcome = this.compute(shard, index, sender);
            this.finish(shard, index, outcome);
        });
        match started {
            // An error is that of a thread which ended without a view.
            Ok(_) => drop(taken.recv()),
            Err(error) => self.finish(shard, index, Err(Missing::Failed(error.to_string()))),
        }
    }

    fn compute(
        &self,
        shard: ShardId,
        index: u64,
        taken: mpsc::Sender<()>,
    ) -> Result<Checksum, Missing> {
        let (view, space) = self.db.view(shard)?;
        drop(taken);
        if applied_index(&view, space)? != index {
            return Err(Missing::Past);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = || self.state(shard, index).is_some();
        let found = wanted()
            .then(|| digest::digest(&view, space, index, &wanted))
            .transpose()?;
        found.flatten().ok_or(Missing::GivenUp)
    }

    fn finish(&self, shard: ShardId, index: u64, outcome: Result<Checksum, Missing>) {
        let mut slots = self.slots();
        let mut slots = slots.get_mut(&shard).into_iter().flatten();
        if let Some(slot) = slots.find(|slot| slot.index == index) {
            slot.state = State::Done(outcome);
        }
        self.changed.notify_waiters();
    }

    /// The checksum of a replica at an index.
    pub(crate) async fn at(
        self: &Arc<Self>,
        group: &Group,
        index: u64,
        limits: Limits,
    ) -> Result<Checksum, Missing> {
        let shard = group.shard();
        // Before the look at how far the replica is, so that what it applies after that is seen.
        self.expect(shard, index, limits.anew)?;
        loop {
            let changed = self.changed.notified();
            let late = match self.state(shard, index) {
                None => return Err(Missing::GivenUp),
                Some(State::Done(outcome)) => return outcome,
                Some(State::Computing) => (Instant::now() >= limits.end).then_some(Missing::Slow),
                Some(State::Awaited) => self.reach(group, index, limits.reach).await?,
            };
            if let Some(late) = late {
                return Err(late);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Looks how far a replica is that is to come to an index. Returns why it will not.
    async fn reach(
        self: &Arc<Self>,
        group: &Group,
        index: u64,
        reach: Instant,
    ) -> Result<Option<Missing>, Missing> {
        let (this, shard) = (Arc::clone(self), group.shard());
        let look = move || {
            let (view, space) = this.db.view(shard)?;
            let applied = applied_index(&view, space)?;
            drop(view);
            if applied == index {
                this.begin(shard, index);
            }
            Ok::<_, DbError>(applied)
        };
        let applied = tokio::task::spawn_blocking(look).await;
        let applied = applied.map_err(|error| Missing::Failed(error.to_string()))??;
        // What was applied meanwhile may have begun it.
        let awaited = self.is_awaited(shard, index);
        let late = if awaited && applied > index {
            Some(Missing::Past)
        } else if awaited && let Some(reason) = group.status().halted {
            Some(Missing::Halted(reason))
        } else if awaited && Instant::now() >= reach {
            Some(Missing::Behind)
        } else {
            None
        };
        if late.is_some() {
            self.forget(shard, index);
        }
        Ok(late)
    }

    fn expect(&self, shard: ShardId, index: u64, anew: bool) -> Result<(), Missing> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Missing::GivenUp);
        }
        let mut slots = self.slots();
        let slot = find(&mut slots, shard, index);
        if anew && matches!(slot.state, State::Done(_)) {
            slot.state = State::Awaited;
        }
        Ok(())
    }

    fn forget(&self, shard: ShardId, index: u64) {
        if let Some(slots) = self.slots().get_mut(&shard) {
            slots.retain(|slot| slot.index != index || !matches!(slot.state, State::Awaited));
        }
    }

    fn state(&self, shard: ShardId, index: u64) -> Option<State> {
        let slots = self.slots();
        let slot = slots.get(&shard)?.iter().find(|slot| slot.index == index);
        slot.map(|slot| slot.state.clone())
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<ShardId, VecDeque<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of a checksum, which is made if there is none.
fn find(slots: &mut BTreeMap<ShardId, VecDeque<Slot>>, shard: ShardId, index: u64) -> &mut Slot {
    let slots = slots.entry(shard).or_default();
    let place = slots.iter().position(|slot| slot.index == index);
    let place = place.unwrap_or_else(|| {
        if slots.len() == KEPT {
            slots.pop_front();
        }
        slots.push_back(Slot {
            index,
            state: State::Awaited,
        });
        slots.len() - 1
    });
    &mut slots[place]
}

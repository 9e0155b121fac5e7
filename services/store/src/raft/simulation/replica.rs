//! One replica of a shard: openraft, the log, the state and the commands are the real ones, on a real
//! database; its syncs are made when the simulation says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use openraft::AsyncRuntime;
use postino_types::ShardId;
use tempfile::TempDir;

use super::chance::{millis, one_in};
use super::history::Event;
use super::runtime::Runtime;
use super::wire::{Factory, Wire};
use super::world::{Mutant, Recorder, SHARD, number_of};
use crate::apply::Applier;
use crate::checksum;
use crate::db::{Db, Family};
use crate::levels::Levels;
use crate::notify::Notifier;
use crate::raft::apply::{Halted, StateMachine};
use crate::raft::log::LogStore;
use crate::raft::retention::{Extent, Retention};
use crate::raft::snapshot::applied_index;
use crate::raft::sync::SyncQueue;
use crate::raft::types::Raft;
use crate::raft::{ApplyHalt, CommittedEntry, Machine, Progress, RaftSettings, rows};

/// What a node's disk holds.
pub(super) struct Volume {
    pub(super) directory: TempDir,
}

/// A process of a node.
pub(super) struct Replica {
    pub(super) node: u64,
    pub(super) life: u64,
    pub(super) raft: Raft,
    db: Db,
    halted: Halted,
    ended: Arc<AtomicBool>,
    /// Until the simulation is over: the old process may still hold it open.
    _volume: Volume,
}

/// What all replicas share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) wire: Wire,
    pub(super) recorder: Recorder,
    pub(super) mutant: Option<Mutant>,
    /// Syncs take up to so many milliseconds now.
    pub(super) slowness: Arc<AtomicU64>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The kernel keeps what was written.
    Kill,
    /// What was not synced is lost.
    PowerCut,
}

fn settings() -> openraft::Config {
    RaftSettings::default()
        .openraft("simulation".to_owned())
        .unwrap()
}

impl Replica {
    /// Starts a process on a volume.
    pub(super) async fn start(node: u64, life: u64, volume: Volume, around: &Surroundings) -> Self {
        let db = Db::open_still(volume.directory.path()).unwrap();
        // What is durable is taken down from now on.
        db.watch(|_, _| {});
        match around.mutant {
            Some(Mutant::UnsyncedLog) => db.lose_syncs(),
            Some(Mutant::ForgottenVote) if life > 0 => {
                let mut batch = db.batch();
                batch.delete(Family::Raft, rows::vote_key(SHARD));
                db.write(batch).unwrap();
            }
            _ => {}
        }
        let sync = SyncQueue::unattended();
        let ended = Arc::new(AtomicBool::new(false));
        Runtime::spawn(attend(
            sync.clone(),
            db.clone(),
            Arc::clone(&ended),
            Arc::clone(&around.slowness),
        ));
        let whole = Extent {
            entries: u64::MAX,
            bytes: u64::MAX,
        };
        let log = LogStore::new(
            db.clone(),
            SHARD,
            sync.clone(),
            Arc::default(),
            Arc::new(Retention::new(whole)),
            RaftSettings::default().message_bytes,
            tokio::sync::mpsc::channel(1).0,
        );
        let applier = Applier::new(db.clone(), Arc::new(Notifier::default()), Levels::up_to(2));
        let machine = Observed {
            applier,
            db: db.clone(),
            node,
            ended: Arc::clone(&ended),
            recorder: around.recorder.clone(),
            mutant: around.mutant,
        };
        let alive = tokio::sync::mpsc::channel(1).0;
        let state = StateMachine::new(db.clone(), SHARD, Arc::new(machine), sync, alive);
        let halted = state.halted();
        let factory = Factory {
            wire: around.wire.clone(),
            node,
            life,
        };
        around.recorder.record(Event::Started { node });
        let raft = Raft::new(node, Arc::new(settings()), factory, log, state).await;
        let raft = raft.unwrap();
        around.wire.join(node, life, raft.clone());
        Self {
            node,
            life,
            raft,
            db,
            halted,
            ended,
            _volume: volume,
        }
    }

    /// Ends the process. Gives what is left on the disk.
    pub(super) fn end(&self, how: End, around: &Surroundings) -> Volume {
        self.ended.store(true, Ordering::Relaxed);
        around.wire.leave(self.node);
        around.recorder.record(Event::Crashed { node: self.node });
        let image = match how {
            End::Kill => self.db.image_of_kill(),
            End::PowerCut => self.db.image_of_power_cut(),
        };
        let raft = self.raft.clone();
        // Nobody hears of it any more.
        Runtime::spawn(async move { raft.shutdown().await });
        Volume {
            directory: image.directory,
        }
    }

    /// Why it has stopped by itself, if it has.
    pub(super) fn halted(&self) -> Option<String> {
        self.halted.get().cloned()
    }

    /// How far its state has come.
    pub(super) fn applied(&self) -> u64 {
        let (view, space) = self.db.view(SHARD).unwrap();
        applied_index(&view, space).unwrap()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Syncs as the sync thread does: what waits, together; and tells of it a moment later.
async fn attend(sync: SyncQueue, db: Db, ended: Arc<AtomicBool>, slowness: Arc<AtomicU64>) {
    while !ended.load(Ordering::Relaxed) {
        Runtime::sleep(millis(slowness.load(Ordering::Relaxed))).await;
        let waiting = sync.take();
        if waiting.is_empty() || ended.load(Ordering::Relaxed) {
            continue;
        }
        db.sync_wal().unwrap();
        if one_in(2) {
            Runtime::sleep(millis(3)).await;
        }
        if ended.load(Ordering::Relaxed) {
            return;
        }
        for done in waiting {
            done(Ok(std::time::Duration::ZERO));
        }
    }
}

/// The real state of a shard, and somebody who watches it.
struct Observed {
    applier: Applier,
    db: Db,
    node: u64,
    ended: Arc<AtomicBool>,
    recorder: Recorder,
    mutant: Option<Mutant>,
}

impl Machine for Observed {
    fn apply(
        &self,
        shard: ShardId,
        mut entries: Vec<CommittedEntry>,
        progress: Progress,
    ) -> Result<Vec<Vec<Bytes>>, ApplyHalt> {
        // What a process does that has ended is not seen by anybody.
        if self.ended.load(Ordering::Relaxed) {
            return Err(ApplyHalt::new("the process has ended"));
        }
        for entry in &mut entries {
            self.recorder.record(Event::Applied {
                node: self.node,
                index: entry.index,
                term: entry.term,
                commands: entry
                    .commands
                    .iter()
                    .map(|c| number_of(&c.command))
                    .collect(),
            });
            if self.mutant == Some(Mutant::ImpureApply) {
                entry.time_ms += self.node;
            }
        }
        let last = entries.last().map(|entry| entry.index);
        let answers = self.applier.apply(shard, entries, progress)?;
        if let Some(index) = last {
            let sum = checksum::rows(&self.db, shard)?;
            self.recorder.record(Event::State {
                node: self.node,
                index,
                sum: number_of(sum.as_bytes()),
            });
        }
        Ok(answers)
    }
}

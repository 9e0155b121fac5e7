//! From openraft's committed entries to the [`Machine`], and snapshots of what it made of them.

use std::io;
use std::sync::{Arc, OnceLock};

use futures::{Stream, StreamExt};
use openraft::storage::{self, ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use postino_types::ShardId;

use super::machine::{BodyRef, CommittedCommand, CommittedEntry, Machine, Progress};
use super::release::Alive;
use super::snapshot::{self, Meta, ShardSnapshot};
use super::sync::SyncQueue;
use super::types::{Answers, Batch, CommittedLeaderId, Config, LogId, StoredMembership};
use super::{codec, rows};
use crate::db::{Db, Family, Read, Space};

/// Entries that go to the machine, and so into one write, at once.
const ENTRIES_AT_ONCE: usize = 128;

/// Why a replica has stopped applying, once it has.
pub(crate) type Halted = Arc<OnceLock<String>>;

/// One shard's state, for openraft.
pub(crate) struct StateMachine {
    db: Db,
    shard: ShardId,
    machine: Arc<dyn Machine>,
    sync: SyncQueue,
    membership: StoredMembership,
    /// The index that comes next to the state as this left it; `None` until that is known.
    next: Option<u64>,
    halted: Halted,
    _alive: Alive,
}

impl StateMachine {
    pub(crate) fn new(
        db: Db,
        shard: ShardId,
        machine: Arc<dyn Machine>,
        sync: SyncQueue,
        alive: Alive,
    ) -> Self {
        Self {
            db,
            shard,
            machine,
            sync,
            membership: StoredMembership::default(),
            next: None,
            halted: Halted::default(),
            _alive: alive,
        }
    }

    pub(crate) fn halted(&self) -> Halted {
        Arc::clone(&self.halted)
    }

    async fn apply_some(&mut self, some: Gathered) -> io::Result<()> {
        let space = self.db.space(self.shard)?;
        self.follows(space, some.first)?;
        let applied = codec::applied_out(some.last.as_ref(), &self.membership);
        let progress = Progress::new(space, rows::encode(&applied));
        let machine = Arc::clone(&self.machine);
        let shard = self.shard;
        let after = next(some.last.as_ref());
        let expected: Vec<usize> = some.entries.iter().map(|e| e.commands.len()).collect();
        let entries = some.entries;
        // The write may wait for the disk when memory tables are full.
        let answers = blocking(move || machine.apply(shard, entries, progress)).await;
        let answers = match answers {
            Ok(Ok(answers)) => answers,
            Ok(Err(halt)) => return Err(self.halt(halt)),
            Err(panic) => return Err(self.halt(panic)),
        };
        let got: Vec<usize> = answers.iter().map(Vec::len).collect();
        if got != expected {
            return Err(self.halt("the machine did not answer every command"));
        }
        self.next = Some(after);
        for responder in some.without_commands {
            responder.send(Answers::default());
        }
        for (responder, answers) in some.responders.into_iter().zip(answers) {
            if let Some(responder) = responder {
                responder.send(Answers(answers));
            }
        }
        Ok(())
    }

    /// Fails unless the state is where this left it, and an entry is the next one: a state that
    /// lost something must not go on.
    fn follows(&self, space: Space, first: Option<u64>) -> io::Result<()> {
        let stored = self.db.get(Family::Raft, rows::applied_key(space))?;
        let stored = stored.map(|row| codec::applied_in(rows::decode(&row)?));
        let stored = stored.transpose()?.and_then(|(last, _)| last);
        let stored = next(stored.as_ref());
        let left = self.next.unwrap_or(stored);
        let first = first.unwrap_or(left);
        match stored == left && stored <= first {
            true => Ok(()),
            false => {
                let reason = format!("entry {first} came, but {left} is next, or {stored} on disk");
                Err(self.halt(reason))
            }
        }
    }

    /// What a snapshot of the state would include now.
    fn describe(&self) -> io::Result<Meta> {
        let (view, space) = self.db.view(self.shard)?;
        Ok(snapshot::describe_state(&view, space)?.unwrap_or_default())
    }

    fn halt(&self, reason: impl std::fmt::Display) -> io::Error {
        let reason = reason.to_string();
        tracing::error!(shard = %self.shard, reason, "this replica has halted");
        // Only the first reason counts; openraft stops the group on it.
        let _ = self.halted.set(reason.clone());
        io::Error::other(reason)
    }
}

/// The index behind one that is applied; 0 if none is.
fn next(applied: Option<&LogId>) -> u64 {
    applied.map_or(0, |id| id.index + 1)
}

/// Entries gathered for one call of the machine.
#[derive(Default)]
struct Gathered {
    first: Option<u64>,
    last: Option<LogId>,
    entries: Vec<CommittedEntry>,
    /// In step with `entries`.
    responders: Vec<Option<ApplyResponder<Config>>>,
    /// Those of blank entries and membership changes, which the machine never sees.
    without_commands: Vec<ApplyResponder<Config>>,
}

impl RaftStateMachine<Config> for StateMachine {
    type SnapshotData = ShardSnapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let space = self.db.space(self.shard)?;
        let Some(row) = self.db.get(Family::Raft, rows::applied_key(space))? else {
            self.next = Some(0);
            return Ok((None, StoredMembership::default()));
        };
        let (last, membership) = codec::applied_in(rows::decode(&row)?)?;
        self.membership = membership.clone();
        self.next = Some(next(last.as_ref()));
        Ok((last, membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        let mut some = Gathered::default();
        let mut count = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            some.first.get_or_insert(entry.log_id.index);
            some.last = Some(entry.log_id);
            let mut is_last = false;
            match entry.payload {
                EntryPayload::Normal(batch) => {
                    let entry = committed(self.shard, entry.log_id, batch);
                    is_last = self.machine.is_last(self.shard, &entry);
                    some.entries.push(entry);
                    some.responders.push(responder);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    some.without_commands.extend(responder);
                }
                EntryPayload::Blank => some.without_commands.extend(responder),
            }
            count += 1;
            if count == ENTRIES_AT_ONCE || is_last {
                self.apply_some(std::mem::take(&mut some)).await?;
                count = 0;
            }
        }
        if count > 0 {
            self.apply_some(some).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Read here, between two applies: openraft hears of an apply before it hears of a snapshot
        // that includes it.
        Builder(self.describe(), self.db.clone())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: ShardSnapshot) -> io::Result<()> {
        let (db, shard) = (self.db.clone(), self.shard);
        let incoming = match snapshot {
            ShardSnapshot::Incoming(incoming) => incoming,
            // Only where no network is in between, as in openraft's suite.
            ShardSnapshot::State(sender) => {
                let read = snapshot::read(sender, shard).await?;
                let (_, parts) = read.ok_or_else(|| io::Error::other("an empty snapshot"))?;
                blocking(move || snapshot::write(&db, shard, parts)).await??
            }
        };
        // The new generation is written down as one to sweep before the first row is in it.
        self.sync.synced().await?;
        let ingested = blocking(move || incoming.ingest()).await??;
        self.machine
            .accepts(ingested.space())
            .map_err(|halt| self.halt(halt))?;
        let now = meta.clone();
        blocking(move || ingested.flip(&now)).await??;
        self.sync.synced().await?;
        self.membership = meta.last_membership.clone();
        self.next = Some(next(meta.last_log_id.as_ref()));
        tracing::info!(shard = %self.shard, "a snapshot is installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let meta = self.describe()?;
        let snapshot = ShardSnapshot::State(self.db.clone());
        Ok(meta
            .last_log_id
            .is_some()
            .then_some(Snapshot { meta, snapshot }))
    }
}

/// Runs what may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    // A simulation has one thread.
    #[cfg(test)]
    if super::simulation::is_simulated() {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
}

fn committed(shard: ShardId, id: LogId, batch: Batch) -> CommittedEntry {
    let commands = (0_u32..).zip(batch.commands).map(|(number, command)| {
        let body_len = command.body.len();
        CommittedCommand {
            command: command.command,
            body_len,
            body: BodyRef {
                shard,
                index: id.index,
                number,
            },
        }
    });
    CommittedEntry {
        index: id.index,
        term: id.leader_id.term,
        time_ms: batch.time_ms,
        commands: commands.collect(),
    }
}

type Snapshot = storage::Snapshot<CommittedLeaderId, u64, openraft::BasicNode, ShardSnapshot>;

/// Describes the state, which is the snapshot; openraft purges what a snapshot includes.
pub(crate) struct Builder(io::Result<Meta>, Db);

impl RaftSnapshotBuilder<Config> for Builder {
    type SnapshotData = ShardSnapshot;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let built_before = || io::Error::other("the snapshot was built before");
        let meta = std::mem::replace(&mut self.0, Err(built_before()))?;
        Ok(Snapshot {
            meta,
            snapshot: ShardSnapshot::State(self.1.clone()),
        })
    }
}

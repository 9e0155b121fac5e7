//! From openraft's committed entries to the [`Machine`].

use std::io;
use std::sync::{Arc, OnceLock};

use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, SnapshotMeta, StoredMembership};

use super::machine::{BodyRef, CommittedCommand, CommittedEntry, Machine, Progress};
use super::types::{Answers, Batch, CommittedLeaderId, Config, LogId};
use super::{codec, rows};
use crate::db::{Db, Family, Read, Space};

/// Entries that go to the machine, and so into one write, at once.
const ENTRIES_AT_ONCE: usize = 128;

/// Why a replica has stopped applying, once it has.
pub(crate) type Halted = Arc<OnceLock<String>>;

/// One shard's state, for openraft.
pub(crate) struct StateMachine {
    db: Db,
    space: Space,
    machine: Arc<dyn Machine>,
    membership: StoredMembership<CommittedLeaderId, u64, openraft::BasicNode>,
    halted: Halted,
}

impl StateMachine {
    pub(crate) fn new(db: Db, space: Space, machine: Arc<dyn Machine>) -> Self {
        Self {
            db,
            space,
            machine,
            membership: StoredMembership::default(),
            halted: Halted::default(),
        }
    }

    pub(crate) fn halted(&self) -> Halted {
        Arc::clone(&self.halted)
    }

    async fn apply_some(&mut self, some: Gathered) -> io::Result<()> {
        let applied = codec::applied_out(some.last.as_ref(), &self.membership);
        let progress = Progress::new(self.space, rows::encode(&applied));
        let machine = Arc::clone(&self.machine);
        let shard = self.space.shard();
        let expected: Vec<usize> = some.entries.iter().map(|e| e.commands.len()).collect();
        let entries = some.entries;
        // The write may wait for the disk when memory tables are full.
        let answers =
            tokio::task::spawn_blocking(move || machine.apply(shard, entries, progress)).await;
        let answers = match answers {
            Ok(Ok(answers)) => answers,
            Ok(Err(halt)) => return Err(self.halt(halt)),
            Err(panic) => return Err(self.halt(panic)),
        };
        let got: Vec<usize> = answers.iter().map(Vec::len).collect();
        if got != expected {
            return Err(self.halt("the machine did not answer every command"));
        }
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

    fn halt(&self, reason: impl std::fmt::Display) -> io::Error {
        let reason = reason.to_string();
        tracing::error!(shard = %self.space.shard(), reason, "this replica has halted");
        // Only the first reason counts; openraft stops the group on it.
        let _ = self.halted.set(reason.clone());
        io::Error::other(reason)
    }
}

/// Entries gathered for one call of the machine.
#[derive(Default)]
struct Gathered {
    last: Option<LogId>,
    entries: Vec<CommittedEntry>,
    /// In step with `entries`.
    responders: Vec<Option<ApplyResponder<Config>>>,
    /// Those of blank entries and membership changes, which the machine never sees.
    without_commands: Vec<ApplyResponder<Config>>,
}

impl RaftStateMachine<Config> for StateMachine {
    type SnapshotData = NoSnapshot;
    type SnapshotBuilder = NoSnapshot;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(
        Option<LogId>,
        StoredMembership<CommittedLeaderId, u64, openraft::BasicNode>,
    )> {
        let Some(row) = self.db.get(Family::Raft, rows::applied_key(self.space))? else {
            return Ok((None, StoredMembership::default()));
        };
        let (last, membership) = codec::applied_in(rows::decode(&row)?)?;
        self.membership = membership.clone();
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
            some.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(batch) => {
                    some.entries
                        .push(committed(self.space, entry.log_id, batch));
                    some.responders.push(responder);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    some.without_commands.extend(responder);
                }
                EntryPayload::Blank => some.without_commands.extend(responder),
            }
            count += 1;
            if count == ENTRIES_AT_ONCE {
                self.apply_some(std::mem::take(&mut some)).await?;
                count = 0;
            }
        }
        if count > 0 {
            self.apply_some(some).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshot {
        NoSnapshot
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<CommittedLeaderId, u64, openraft::BasicNode>,
        _snapshot: NoSnapshot,
    ) -> io::Result<()> {
        Err(unsupported())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<ShardSnapshot>> {
        Ok(None)
    }
}

fn committed(space: Space, id: LogId, batch: Batch) -> CommittedEntry {
    let commands = (0_u32..).zip(batch.commands).map(|(number, command)| {
        let body_len = command.body.len();
        CommittedCommand {
            command: command.command,
            body_len,
            body: BodyRef {
                shard: space.shard(),
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

type ShardSnapshot = Snapshot<CommittedLeaderId, u64, openraft::BasicNode, NoSnapshot>;

/// Snapshots do not exist yet: the log is never purged, so none is ever needed.
pub(crate) struct NoSnapshot;

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this version makes no snapshots",
    )
}

impl RaftSnapshotBuilder<Config> for NoSnapshot {
    type SnapshotData = Self;

    async fn build_snapshot(&mut self) -> io::Result<ShardSnapshot> {
        Err(unsupported())
    }
}

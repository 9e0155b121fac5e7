//! Crashes at every fault point: what was acknowledged is there, votes are never taken back, and
//! nothing is half done.
//!
//! One replica lives through everything that its storage does. At each point, images are taken of
//! what a crash would leave, of the process and of the power; later each image is started from, and
//! held against what had been acknowledged by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream;
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use tempfile::TempDir;

use super::storage::{Guard, SHARD, bodies, build, build_on};
use super::toy;
use crate::db::{Db, Family, Image, KeyRange, Point, Read, Space, Step};
use crate::raft::apply::StateMachine;
use crate::raft::log::LogStore;
use crate::raft::types::{Batch, Body, Command, CommittedLeaderId, Entry, LogId, Vote};

const STEPS: [Step; 8] = [
    Step::Sync,
    Step::Vote,
    Step::Append,
    Step::Truncate,
    Step::Purge,
    Step::Ingest,
    Step::Flip,
    Step::Sweep,
];

/// What a replica has been asked to do, and has said to have done.
#[derive(Clone, Default)]
struct Known {
    vote: u64,
    vote_asked: u64,
    /// Entries that were acknowledged, and that nothing was asked to remove.
    entries: BTreeMap<u64, Entry>,
    /// Every entry that was ever written.
    written: Vec<Entry>,
    /// How many entries it was asked to apply, the one at index 0 included.
    applied_asked: u64,
    /// How many of them are in a snapshot that was installed.
    installed: u64,
}

/// A crash: where, what was known then, and what it left.
struct Crash {
    point: Point,
    known: Known,
    killed: Image,
    power_cut: Image,
}

#[derive(Default)]
struct Recorder {
    known: Mutex<Known>,
    crashes: Mutex<Vec<Crash>>,
}

impl Recorder {
    fn know(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap());
    }

    fn crash(&self, db: &Db, point: Point) {
        let crash = Crash {
            point,
            known: self.known.lock().unwrap().clone(),
            killed: db.image_of_kill(),
            power_cut: db.image_of_power_cut(),
        };
        self.crashes.lock().unwrap().push(crash);
    }
}

/// The term of the entry that came to be committed at an index: those from 5 on are of term 2.
fn term(index: u64) -> u64 {
    if index < 5 { 1 } else { 2 }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn command(term: u64, index: u64) -> String {
    format!("{index} of term {term}")
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Command {
        command: command(term, index).into(),
        body: Body::Inline(Bytes::from(vec![b'x'; 300])),
    };
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Batch {
            time_ms: 1,
            commands: vec![command],
        }),
    }
}

/// A replica, and what is known of it.
struct Scene {
    guard: Guard,
    log: LogStore,
    state: StateMachine,
    /// How many entries are applied: the index of the next one.
    applied: u64,
    recorder: Arc<Recorder>,
}

impl Scene {
    fn new() -> Self {
        let (guard, log, state) = build();
        Self {
            guard,
            log,
            state,
            applied: 0,
            recorder: Arc::default(),
        }
    }

    /// From now on crashes at every point.
    fn watch(&self) {
        let watcher = Arc::clone(&self.recorder);
        self.guard
            .db
            .watch(move |db, point| watcher.crash(db, point));
    }

    async fn vote(&mut self, term: u64) {
        self.recorder.know(|known| known.vote_asked = term);
        self.log.save_vote(&Vote::new(term, 1)).await.unwrap();
        self.recorder.know(|known| known.vote = term);
    }

    async fn append(&mut self, term: u64, indexes: std::ops::RangeInclusive<u64>) {
        let entries: Vec<Entry> = indexes.map(|index| entry(term, index)).collect();
        self.recorder
            .know(|known| known.written.extend(entries.clone()));
        self.log.blocking_append(entries.clone()).await.unwrap();
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry));
        self.recorder.know(|known| known.entries.extend(entries));
    }

    async fn truncate_after(&mut self, last: u64) {
        self.recorder
            .know(|known| known.entries.retain(|index, _| *index <= last));
        let last = log_id(term(last), last);
        self.log.truncate_after(Some(last)).await.unwrap();
    }

    async fn purge(&mut self, upto: u64) {
        self.recorder
            .know(|known| known.entries.retain(|index, _| *index > upto));
        self.log.purge(log_id(term(upto), upto)).await.unwrap();
    }

    async fn apply(&mut self, upto: u64) {
        self.recorder.know(|known| known.applied_asked = upto + 1);
        let entries = self.applied..=upto;
        let entries = entries.map(|index| Ok((entry(term(index), index), None)));
        self.state.apply(stream::iter(entries)).await.unwrap();
        self.applied = upto + 1;
    }

    /// Installs a snapshot of another replica that has applied all up to this one.
    async fn install(&mut self, upto: u64) {
        let mut other = Self::new();
        other.append(1, 0..=4).await;
        other.append(2, 5..=upto).await;
        other.apply(upto).await;
        let built = other.state.get_current_snapshot().await.unwrap().unwrap();
        self.recorder.know(|known| {
            known.applied_asked = upto + 1;
            known.entries.retain(|index, _| *index > upto);
        });
        let installed = self.state.install_snapshot(&built.meta, built.snapshot);
        installed.await.unwrap();
        self.recorder.know(|known| known.installed = upto + 1);
        self.applied = upto + 1;
        self.purge(upto).await;
    }
}

/// Everything that a storage does, some of it twice. Returns the crashes.
async fn live(sync: bool) -> Vec<Crash> {
    let mut scene = Scene::new();
    scene.watch();
    if !sync {
        scene.guard.db.lose_syncs();
    }
    scene.vote(1).await;
    scene.append(1, 0..=3).await;
    scene.apply(2).await;
    scene.append(1, 4..=6).await;
    // What a leader of term 2 does not have.
    scene.vote(2).await;
    scene.truncate_after(4).await;
    scene.append(2, 5..=7).await;
    scene.apply(6).await;
    scene.purge(3).await;
    scene.append(2, 8..=8).await;
    scene.install(12).await;
    scene.append(2, 13..=14).await;
    scene.vote(3).await;
    assert_eq!(scene.guard.db.sweep().unwrap(), 1);
    scene.apply(14).await;
    scene.purge(13).await;
    scene.append(2, 15..=15).await;
    let Scene {
        guard,
        log,
        state,
        recorder,
        ..
    } = scene;
    drop((log, state, guard));
    std::mem::take(&mut *recorder.crashes.lock().unwrap())
}

/// The entries of a log in a range, as it would send them.
async fn read(log: &mut LogStore, range: std::ops::Range<u64>) -> std::io::Result<Vec<Entry>> {
    let mut reader = log.get_log_reader().await;
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let some = reader.limited_get_log_entries(next, range.end).await?;
        let Some(last) = some.last() else { break };
        next = last.log_id.index + 1;
        entries.extend(some);
    }
    Ok(entries)
}

fn rows_in(db: &Db, space: Space) -> usize {
    let families = Family::ALL.into_iter();
    let count = |family| db.scan(family, KeyRange::prefix(space.key())).count();
    families.map(count).sum()
}

/// Starts from what a crash left, and says what is broken.
async fn broken(left: TempDir, known: &Known) -> Vec<String> {
    let mut broken = Vec::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    let (guard, mut log, mut state) = match build_on(left) {
        Ok(built) => built,
        Err(error) => return vec![format!("it does not start: {error}")],
    };
    let vote = log.get_log_reader().await.read_vote().await.unwrap();
    let vote = vote.map_or(0, |vote| vote.leader_id.term);
    hold(vote >= known.vote, format!("vote taken back: {vote}"));
    hold(vote <= known.vote_asked, format!("vote made up: {vote}"));

    let found = log.get_log_state().await.unwrap();
    let behind = |last: Option<LogId>| last.map_or(0, |id| id.index + 1);
    let (start, end) = (behind(found.last_purged_log_id), behind(found.last_log_id));
    let entries = match read(&mut log, start..end).await {
        Ok(entries) => entries,
        Err(error) => return vec![format!("the log cannot be read: {error}")],
    };
    let indexes = entries.iter().map(|entry| entry.log_id.index);
    hold(indexes.eq(start..end), format!("a gap in {start}..{end}"));
    for entry in &entries {
        let is_ours = known.written.contains(entry);
        hold(is_ours, format!("entry made up: {}", entry.log_id));
    }
    for (index, entry) in &known.entries {
        hold(entries.contains(entry), format!("entry lost: {index}"));
    }

    let applied = behind(state.applied_state().await.unwrap().0);
    hold(
        applied <= known.applied_asked,
        format!("applied too much: {applied}"),
    );
    hold(
        applied >= known.installed,
        format!("snapshot lost: {applied}"),
    );
    hold(
        applied >= start && applied <= end,
        format!("{applied} applied, log {start}..{end}"),
    );
    let wanted = (0..applied).map(|index| command(term(index), index));
    let wanted: Vec<String> = wanted.collect();
    let there = toy::applied(&guard.db, SHARD);
    hold(there == wanted, format!("state of {applied}: {there:?}"));
    let stored = bodies(&guard.db);
    let whole = (0..applied).all(|index| stored.contains(&index));
    hold(whole, format!("bodies of {applied}: {stored:?}"));

    guard.db.sweep().unwrap();
    let current = guard.db.space(SHARD).unwrap().generation();
    for generation in (1..=current + 2).filter(|generation| *generation != current) {
        let rows = rows_in(&guard.db, Space::new(SHARD, generation));
        hold(rows == 0, format!("{rows} rows of generation {generation}"));
    }
    let there = toy::applied(&guard.db, SHARD);
    hold(there == wanted, format!("swept too much: {there:?}"));
    drop((log, state, guard));
    broken
}

/// What is broken after which crash: of the process, and of the power.
async fn verdicts(crashes: Vec<Crash>) -> [Vec<String>; 2] {
    let (mut killed, mut power_cut) = (Vec::new(), Vec::new());
    for (number, crash) in crashes.into_iter().enumerate() {
        let at = |what: String| format!("crash {number}, {:?}: {what}", crash.point);
        let found = broken(crash.killed.directory, &crash.known).await;
        killed.extend(found.into_iter().map(at));
        let found = broken(crash.power_cut.directory, &crash.known).await;
        power_cut.extend(found.into_iter().map(at));
    }
    [killed, power_cut]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_crash_at_any_point_breaks_what_was_acknowledged() {
    let crashes = live(true).await;
    let points: BTreeSet<Point> = crashes.iter().map(|crash| crash.point).collect();
    for step in STEPS {
        for taken in [false, true] {
            assert!(points.contains(&Point { step, taken }), "{step:?}, {taken}");
        }
    }
    let [killed, power_cut] = verdicts(crashes).await;
    assert!(killed.is_empty(), "{killed:#?}");
    assert!(power_cut.is_empty(), "{power_cut:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_sync_is_caught_by_a_power_cut() {
    let [killed, power_cut] = verdicts(live(false).await).await;
    assert!(killed.is_empty(), "{killed:#?}");
    for what in ["vote taken back", "entry lost", "snapshot lost"] {
        let seen = power_cut.iter().any(|broken| broken.contains(what));
        assert!(seen, "{what} is not seen in {power_cut:#?}");
    }
}

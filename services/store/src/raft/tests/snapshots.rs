//! Snapshots between two storages, and what a crash leaves of one.

use futures::stream;
use openraft::storage::{
    RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine,
    Snapshot,
};
use openraft::{BasicNode, LogId};
use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::snapshot_part::Part;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::storage::{Guard, SHARD, bodies, build, letter, log_id};
use super::toy;
use crate::apply::checksum;
use crate::db::{Db, DbSettings, Family, KeyRange, Read, Space};
use crate::raft::apply::StateMachine;
use crate::raft::log::LogStore;
use crate::raft::snapshot::{self, Meta, ShardSnapshot, SnapshotError};
use crate::raft::types::{CommittedLeaderId, Entry};

type Built = Snapshot<CommittedLeaderId, u64, BasicNode, ShardSnapshot>;

/// A storage whose log has these letters, of which the first `applied` are applied.
async fn storage(letters: u64, applied: u64) -> (Guard, LogStore, StateMachine) {
    let (guard, mut log, mut state) = build();
    log.blocking_append((1..=letters).map(letter))
        .await
        .unwrap();
    let entries = (1..=applied).map(|index| Ok((letter(index), None)));
    state.apply(stream::iter(entries)).await.unwrap();
    (guard, log, state)
}

async fn snapshot_of(state: &mut StateMachine) -> Built {
    state.get_current_snapshot().await.unwrap().unwrap()
}

/// The parts of a snapshot, and what they are a snapshot of.
async fn parts(db: &Db) -> (Meta, Vec<proto::SnapshotPart>) {
    let (meta, mut queue) = snapshot::read(db.clone(), SHARD).await.unwrap().unwrap();
    let mut parts = Vec::new();
    while let Some(part) = queue.recv().await {
        parts.push(part);
    }
    (meta, parts)
}

/// The database as the next start finds it, once nobody uses it any more.
fn reopened(guard: Guard, users: impl Sized) -> (Db, TempDir) {
    let Guard {
        sync,
        db,
        directory,
    } = guard;
    drop((users, sync, db));
    let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
    (db, directory)
}

fn queue(parts: Vec<proto::SnapshotPart>) -> mpsc::Receiver<proto::SnapshotPart> {
    let (sender, queue) = mpsc::channel(parts.len().max(1));
    for part in parts {
        sender.try_send(part).unwrap();
    }
    queue
}

async fn write(
    db: &Db,
    parts: Vec<proto::SnapshotPart>,
) -> Result<snapshot::Incoming, SnapshotError> {
    let (db, queue) = (db.clone(), queue(parts));
    let written = tokio::task::spawn_blocking(move || snapshot::write(&db, SHARD, queue));
    written.await.unwrap()
}

fn rows_in(db: &Db, space: Space) -> usize {
    let count = |family| db.scan(family, KeyRange::prefix(space.key())).count();
    Family::ALL.into_iter().map(count).sum()
}

async fn whole(log: &mut LogStore, range: std::ops::Range<u64>) -> Vec<Entry> {
    let mut reader = log.get_log_reader().await;
    reader
        .limited_get_log_entries(range.start, range.end)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_becomes_what_the_sender_is() {
    let (sender, _, mut from) = storage(5, 4).await;
    let (receiver, mut log, mut to) = storage(2, 1).await;
    let built = snapshot_of(&mut from).await;
    assert_eq!(built.meta.last_log_id, Some(log_id(4)));
    to.install_snapshot(&built.meta, built.snapshot)
        .await
        .unwrap();

    assert_eq!(
        checksum(&receiver.db, SHARD).unwrap(),
        checksum(&sender.db, SHARD).unwrap()
    );
    assert_eq!(toy::applied(&receiver.db, SHARD).len(), 4);
    // What is not applied is the log's to bring.
    assert_eq!(bodies(&sender.db), [1, 2, 3, 4, 5]);
    assert_eq!(bodies(&receiver.db), [1, 2, 3, 4]);
    assert_eq!(to.applied_state().await.unwrap().0, Some(log_id(4)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(4)));
    assert_eq!(state.last_log_id, Some(log_id(4)));

    // The log goes on behind it, and the old generation goes.
    log.blocking_append([letter(5)]).await.unwrap();
    assert_eq!(whole(&mut log, 5..6).await, [letter(5)]);
    let old = Space::new(SHARD, Space::FIRST_GENERATION);
    assert_ne!(rows_in(&receiver.db, old), 0);
    assert_eq!(receiver.db.sweep().unwrap(), 1);
    assert_eq!(rows_in(&receiver.db, old), 0);
    assert_eq!(bodies(&receiver.db), [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_moment() {
    let (sender, _log, mut from) = storage(3, 2).await;
    let before = checksum(&sender.db, SHARD).unwrap();
    let (meta, queue) = snapshot::read(sender.db.clone(), SHARD)
        .await
        .unwrap()
        .unwrap();
    let later = stream::iter([Ok((letter(3), None))]);
    from.apply(later).await.unwrap();
    let (receiver, _log, mut to) = build();
    let db = receiver.db.clone();
    let written = tokio::task::spawn_blocking(move || snapshot::write(&db, SHARD, queue));
    let incoming = ShardSnapshot::Incoming(written.await.unwrap().unwrap());
    to.install_snapshot(&meta, incoming).await.unwrap();
    assert_eq!(checksum(&receiver.db, SHARD).unwrap(), before);
    let mut builder = from.get_snapshot_builder().await;
    let described = builder.build_snapshot().await.unwrap();
    assert_eq!(described.meta.last_log_id, Some(log_id(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_agrees_with_the_snapshot_keeps_its_tail() {
    let (_sender, _log, mut from) = storage(4, 4).await;
    let (_receiver, mut log, mut to) = storage(6, 1).await;
    let built = snapshot_of(&mut from).await;
    to.install_snapshot(&built.meta, built.snapshot)
        .await
        .unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(4)));
    assert_eq!(state.last_log_id, Some(log_id(6)));
    assert_eq!(whole(&mut log, 5..7).await, [letter(5), letter(6)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_contradicts_the_snapshot_goes() {
    let (_sender, _log, mut from) = storage(4, 4).await;
    let (_receiver, mut log, mut to) = build();
    let other = |index| Entry {
        log_id: LogId::new(CommittedLeaderId::new(0), index),
        ..letter(index)
    };
    log.blocking_append((1..=6).map(other)).await.unwrap();
    let built = snapshot_of(&mut from).await;
    to.install_snapshot(&built.meta, built.snapshot)
        .await
        .unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_flip_leaves_what_was_there() {
    let (sender, _log, _from) = storage(4, 4).await;
    let (meta, parts) = parts(&sender.db).await;
    let (receiver, log, to) = storage(2, 2).await;
    let before = checksum(&receiver.db, SHARD).unwrap();
    let ingested = write(&receiver.db, parts).await.unwrap().ingest().unwrap();
    let new = Space::new(SHARD, Space::FIRST_GENERATION + 1);
    assert_ne!(rows_in(&receiver.db, new), 0);
    assert!(meta.last_log_id.is_some());
    receiver.db.sync_wal().unwrap();

    let (db, _directory) = reopened(receiver, (ingested, log, to));
    assert_eq!(checksum(&db, SHARD).unwrap(), before);
    assert_eq!(bodies(&db), [1, 2]);
    assert_eq!(db.sweep().unwrap(), 1);
    assert_eq!(rows_in(&db, new), 0);
    assert_eq!(checksum(&db, SHARD).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_flip_leaves_the_snapshot() {
    let (sender, _log, _from) = storage(4, 4).await;
    let (meta, parts) = parts(&sender.db).await;
    let (receiver, log, to) = storage(2, 2).await;
    let incoming = write(&receiver.db, parts).await.unwrap();
    incoming.ingest().unwrap().flip(&meta).unwrap();
    receiver.db.sync_wal().unwrap();

    let (db, _directory) = reopened(receiver, (log, to));
    let expected = checksum(&sender.db, SHARD).unwrap();
    assert_eq!(checksum(&db, SHARD).unwrap(), expected);
    assert_eq!(bodies(&db), [1, 2, 3, 4]);
    let old = Space::new(SHARD, Space::FIRST_GENERATION);
    assert_eq!(db.sweep().unwrap(), 1);
    assert_eq!(rows_in(&db, old), 0);
    assert_eq!(checksum(&db, SHARD).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_taken() {
    let (sender, _log, _from) = storage(4, 4).await;
    let (_meta, parts) = parts(&sender.db).await;
    let (receiver, _log, _to) = storage(2, 2).await;
    let before = checksum(&receiver.db, SHARD).unwrap();
    let files = receiver.directory.path().join("incoming");
    let refused = async |parts: Vec<proto::SnapshotPart>| {
        let outcome = write(&receiver.db, parts).await;
        let left = std::fs::read_dir(&files).unwrap().count();
        assert_eq!(left, 0, "its files are gone");
        outcome.err().unwrap()
    };
    let broken = parts[..parts.len() - 1].to_vec();
    assert!(matches!(refused(broken).await, SnapshotError::BrokeOff));
    let mut damaged = parts.clone();
    if let Some(Part::Rows(rows)) = &mut damaged[0].part {
        rows.rows[0].value = b"other".as_slice().into();
    }
    assert!(matches!(refused(damaged).await, SnapshotError::Damaged));
    let mut shorter = parts.clone();
    shorter.remove(0);
    assert!(matches!(refused(shorter).await, SnapshotError::Damaged));
    let mut strange = parts;
    if let Some(Part::Rows(rows)) = &mut strange[0].part {
        // The log, and who this node is, are nobody else's to say.
        rows.family = "meta".to_owned();
    }
    let error = refused(strange).await;
    assert!(matches!(error, SnapshotError::UnknownFamily(_)));
    assert_eq!(checksum(&receiver.db, SHARD).unwrap(), before);
    assert_eq!(receiver.db.sweep().unwrap(), 4);
}

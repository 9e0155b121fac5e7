//! openraft's own tests of a storage, and what it does not know about ours: bodies.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use openraft::EntryPayload;
use openraft::StorageError;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use postino_types::ShardId;
use tempfile::TempDir;

use super::toy::Toy;
use crate::db::{Db, DbError, DbSettings, Family, KeyRange, Read};
use crate::raft::apply::StateMachine;
use crate::raft::codec;
use crate::raft::counters::Counters;
use crate::raft::log::LogStore;
use crate::raft::retention::{Extent, Retention};
use crate::raft::rows;
use crate::raft::sync::SyncThread;
use crate::raft::types::{
    Batch, Body, Command, CommittedLeaderId, Config, Entry, LogId, StoredMembership,
};

pub(super) const SHARD: ShardId = ShardId::new(3);
const MESSAGE_BYTES: usize = 1000;

pub(super) struct Guard {
    // Dropped in this order: the thread, the database, its directory.
    pub(super) sync: SyncThread,
    pub(super) db: Db,
    pub(super) directory: TempDir,
}

pub(super) fn build() -> (Guard, LogStore, StateMachine) {
    build_on(tempfile::tempdir().unwrap()).unwrap()
}

/// On what is in a directory; an error if the database does not open.
pub(super) fn build_on(directory: TempDir) -> Result<(Guard, LogStore, StateMachine), DbError> {
    let db = Db::open(directory.path(), &DbSettings::default())?;
    let counters = Arc::new(Counters::default());
    let sync = SyncThread::start(db.clone(), Arc::clone(&counters)).unwrap();
    let limits = Extent {
        entries: 1000,
        bytes: 1 << 20,
    };
    let retention = Arc::new(Retention::new(limits));
    let queue = sync.queue();
    let log = LogStore::new(
        db.clone(),
        SHARD,
        queue.clone(),
        counters,
        retention,
        MESSAGE_BYTES,
        tokio::sync::mpsc::channel(1).0,
    );
    let machine = Arc::new(Toy::new(db.clone()));
    let alive = tokio::sync::mpsc::channel(1).0;
    let state = StateMachine::new(db.clone(), SHARD, machine, queue, alive);
    let guard = Guard {
        sync,
        db,
        directory,
    };
    Ok((guard, log, state))
}

struct Builder;

impl StoreBuilder<Config, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<Config>> {
        Ok(build())
    }
}

/// Every test of the suite.
#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite() {
    type S = Suite<Config, LogStore, StateMachine, Builder, Guard>;
    macro_rules! run {
        ($($test:ident),* $(,)?) => {$(
            let (_guard, log, state) = build();
            let outcome = S::$test(log, state).await;
            assert!(outcome.is_ok(), "{}: {outcome:?}", stringify!($test));
        )*};
    }
    run!(
        last_membership_in_log_initial,
        last_membership_in_log,
        last_membership_in_log_multi_step,
        get_membership_initial,
        get_membership_from_log_and_empty_sm,
        get_membership_from_empty_log_and_sm,
        get_membership_from_log_le_sm_last_applied,
        get_membership_from_log_gt_sm_last_applied_1,
        get_membership_from_log_gt_sm_last_applied_2,
        get_initial_state_without_init,
        get_initial_state_membership_from_empty_log_and_sm,
        get_initial_state_membership_from_sm_inlog_is_smaller,
        get_initial_state_membership_from_log_insm_is_smaller,
        get_initial_state_with_state,
        get_initial_state_last_log_gt_sm,
        get_initial_state_last_log_lt_sm,
        get_initial_state_inverted_log_order,
        get_initial_state_conflict_at_same_index,
        get_initial_state_log_ids,
        get_initial_state_re_apply_committed,
        save_vote,
        get_log_entries,
        limited_get_log_entries,
        leader_bounded_stream,
        entries_stream,
        try_get_log_entry,
        log_reader_reads_new_entries,
        initial_logs,
        get_log_state,
        get_log_id,
        last_id_in_log,
        last_applied_state,
        purge_logs_upto_0,
        purge_logs_upto_5,
        purge_logs_upto_20,
        delete_logs_after_11,
        delete_logs_after_5,
        delete_logs_after_0,
        delete_logs_after_none,
        append_to_log,
        snapshot_meta,
        snapshot_meta_optional,
        apply_single,
        apply_multiple,
    );
    S::transfer_snapshot(&Builder).await.unwrap();
}

pub(super) fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1), index)
}

pub(super) fn entry(index: u64, body: Body) -> Entry {
    Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(Batch {
            time_ms: 1,
            commands: vec![Command {
                command: Bytes::from_static(b"c"),
                body,
            }],
        }),
    }
}

pub(super) fn letter(index: u64) -> Entry {
    entry(index, Body::Inline(Bytes::from(vec![b'x'; 400])))
}

pub(super) fn bodies(db: &Db) -> Vec<u64> {
    let space = db.space(SHARD).unwrap();
    db.scan(Family::Bodies, KeyRange::prefix(space.key()))
        .map(|row| u64::from_be_bytes(row.unwrap().key[8..16].try_into().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn truncation_deletes_bodies_and_purge_keeps_them() {
    let (guard, mut log, _state) = build();
    log.blocking_append((1..=4).map(letter)).await.unwrap();
    assert_eq!(bodies(&guard.db), [1, 2, 3, 4]);
    log.truncate_after(Some(log_id(2))).await.unwrap();
    assert_eq!(bodies(&guard.db), [1, 2]);
    log.purge(log_id(1)).await.unwrap();
    assert_eq!(bodies(&guard.db), [1, 2]);
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1)));
    assert_eq!(state.last_log_id, Some(log_id(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_reads_no_bodies_and_replication_reads_them_by_bytes() {
    let (_guard, mut log, _state) = build();
    log.blocking_append((1..=4).map(letter)).await.unwrap();
    let mut reader = log.get_log_reader().await;
    let lean: Vec<_> = reader.entries_stream(1..3).await.collect().await;
    let lean: Vec<_> = lean.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        lean,
        [entry(1, Body::Stored(400)), entry(2, Body::Stored(400))]
    );
    // Two letters of 400 bytes fit into a message of 1000, three do not.
    let whole = reader.limited_get_log_entries(1, 5).await.unwrap();
    assert_eq!(whole, [letter(1), letter(2)]);
    // One that exceeds the limit goes alone.
    let large = entry(5, Body::Inline(Bytes::from(vec![b'y'; 4000])));
    log.blocking_append([large.clone()]).await.unwrap();
    let whole = reader.limited_get_log_entries(5, 6).await.unwrap();
    assert_eq!(whole, [large]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_state_let_go_is_told_from_one_that_is_lost() {
    let (guard, mut log, _state) = build();
    log.blocking_append([letter(1)]).await.unwrap();
    let space = guard.db.space(SHARD).unwrap();
    let mut batch = guard.db.batch();
    batch.delete(Family::Bodies, rows::body_key(space, 1, 0));
    guard.db.write(batch).unwrap();
    let mut reader = log.get_log_reader().await;
    assert!(reader.limited_get_log_entries(1, 2).await.is_err());

    let applied = codec::applied_out(Some(&log_id(1)), &StoredMembership::default());
    let mut batch = guard.db.batch();
    batch.put(
        Family::Raft,
        rows::applied_key(space),
        rows::encode(&applied),
    );
    guard.db.write(batch).unwrap();
    let whole = reader.limited_get_log_entries(1, 2).await.unwrap();
    assert_eq!(whole, [entry(1, Body::Gone(400))]);
    // A replica takes it as it is.
    let (_other, mut log, _state) = build();
    log.blocking_append(whole).await.unwrap();
    let mut reader = log.get_log_reader().await;
    let lean = reader.try_get_log_entries(1..2).await.unwrap();
    assert_eq!(lean, [entry(1, Body::Gone(400))]);
    // It may come to send it on before it has applied it.
    let whole = reader.limited_get_log_entries(1, 2).await.unwrap();
    assert_eq!(whole, [entry(1, Body::Gone(400))]);
}

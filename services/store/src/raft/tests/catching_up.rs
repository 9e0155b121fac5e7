//! Replicas that the log no longer reaches: they heal by a snapshot, while the others go on.

use postino_types::NodeId;

use super::sandbox::{DEADLINE, Node, SHARD, Volume, eventually, leader, settings, three_with};
use crate::apply::checksum;
use crate::db::{Family, KeyRange, Read};
use crate::raft::{Proposal, RaftSettings};

/// A log that is purged soon.
fn short_log() -> RaftSettings {
    RaftSettings {
        log_entries: 16,
        ..settings()
    }
}

/// Proposes letters `from` to `to`, one entry each. Returns the index of the last.
async fn write(node: &Node, from: u32, to: u32) -> u64 {
    let mut last = 0;
    for number in from..to {
        let letter = Proposal::new(format!("letter {number}")).with_body(vec![b'b'; 2000]);
        last = node.group().propose(letter).await.unwrap().index;
    }
    last
}

fn purged(node: &Node) -> u64 {
    node.group().status().purged_index
}

fn applied(node: &Node) -> u64 {
    node.group().status().applied_index
}

/// Keys and values of the bodies, without the space.
fn bodies(node: &Node) -> Vec<(Vec<u8>, Vec<u8>)> {
    let space = node.db.space(SHARD).unwrap();
    let rows = node.db.scan(Family::Bodies, KeyRange::prefix(space.key()));
    rows.map(|row| {
        let row = row.unwrap();
        (row.key[8..].to_vec(), row.value.to_vec())
    })
    .collect()
}

/// Waits until a node has applied what the leader has, up to `last`, and compares all that they
/// hold.
async fn caught_up(node: &Node, leading: &Node, last: u64) {
    eventually("the node has caught up", || applied(node) >= last).await;
    assert_eq!(
        checksum(&node.db, SHARD).unwrap(),
        checksum(&leading.db, SHARD).unwrap()
    );
    assert_eq!(bodies(node), bodies(leading));
}

fn generation(node: &Node) -> u32 {
    node.db.space(SHARD).unwrap().generation()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_past_the_purge_heals_by_a_snapshot() {
    let (mut volumes, mut nodes) = three_with(1, short_log()).await;
    let first = leader(&nodes).await;
    write(&nodes[first], 0, 10).await;
    let away = (first + 1) % 3;
    let (volume, lost) = (volumes.remove(away), nodes.remove(away));
    let last = lost.group().status().last_index;
    lost.stop().await;
    let first = leader(&nodes).await;
    write(&nodes[first], 10, 200).await;
    eventually("the log is purged past the one that is away", || {
        nodes.iter().all(|node| purged(node) > last)
    })
    .await;
    // Not for nothing is the log kept: the bodies of what is purged stay.
    assert_eq!(bodies(&nodes[first]).len(), 200);

    let back = volume.start().await;
    let last = write(&nodes[first], 200, 210).await;
    caught_up(&back, &nodes[first], last).await;
    assert_eq!(back.applied().len(), 210);
    assert_eq!(generation(&back), 2);
    // It follows the log from there on, and its own log is purged as the others' are.
    let last = write(&nodes[first], 210, 300).await;
    caught_up(&back, &nodes[first], last).await;
    assert_eq!(generation(&back), 2);
    eventually("its log is purged", || purged(&back) > 240).await;

    // It can restart, and lead.
    back.stop().await;
    let back = volume.start().await;
    caught_up(&back, &nodes[first], last).await;
    let gone = nodes.remove(first);
    gone.stop().await;
    nodes.push(back);
    let first = leader(&nodes).await;
    write(&nodes[first], 300, 310).await;
    assert_eq!(nodes[first].applied().len(), 310);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_empty_disk_joins_by_a_snapshot_under_a_new_id() {
    let (volumes, nodes) = three_with(1, short_log()).await;
    let first = leader(&nodes).await;
    let last = write(&nodes[first], 0, 100).await;
    eventually("the log is purged", || purged(&nodes[first]) > 0).await;
    let mut empty = Volume::new(volumes[0].identity.cluster, 4, 1);
    empty.settings = short_log();
    let new = empty.start().await;
    let group = nodes[first].group();
    group.enlist(new.me(), DEADLINE).await.unwrap();
    caught_up(&new, &nodes[first], last).await;
    assert_eq!(new.applied().len(), 100);
    let voters = group.status().voters;
    assert!(voters.iter().any(|voter| voter.id == NodeId::new(4)));
    for node in nodes.into_iter().chain([new]) {
        node.stop().await;
    }
}

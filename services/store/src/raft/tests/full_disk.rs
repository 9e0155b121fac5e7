//! Disks that run full: nothing new is taken, everything else goes on.

use std::time::Duration;

use tokio::time::Instant;

use super::sandbox::{DEADLINE, Node, Volume, eventually, leader, leads, proposal, three};
use crate::db::Room;
use crate::identity::ClusterId;
use crate::raft::ProposeError;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_reads_on_and_recovers() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 1);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    leads(node.group()).await;
    node.group().propose(proposal("one")).await.unwrap();
    node.db.pretend_room(Room::Low);
    let refused = node.group().propose(proposal("no")).await.unwrap_err();
    assert_eq!(refused, ProposeError::DiskFull);
    assert!(refused.is_temporary() && !refused.may_have_been_submitted());
    node.group().read_barrier().await.unwrap();
    assert_eq!(node.applied(), ["one"]);
    node.db.pretend_room(Room::Ample);
    node.group().propose(proposal("two")).await.unwrap();
    assert_eq!(node.applied(), ["one", "two"]);
    node.stop().await;
}

/// Has a command done by a node that is to lead: after it was handed over, the lead can move once
/// more.
async fn proposed_at(nodes: &[Node], place: usize, text: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match nodes[place].group().propose(proposal(text)).await {
            Err(ProposeError::NotLeader { .. }) if Instant::now() < deadline => {
                let leading = &nodes[leader(nodes).await];
                if leading.me() != nodes[place].me() {
                    leading.raft.transfer_leaderships(DEADLINE).await;
                }
            }
            outcome => {
                outcome.unwrap();
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_goes_to_one_that_has_room() {
    let (_volumes, nodes) = three(1).await;
    let first = leader(&nodes).await;
    let [full, free] = [(first + 1) % 3, (first + 2) % 3];
    for node in [first, full] {
        nodes[node].db.pretend_room(Room::Low);
    }
    let group = nodes[first].group();
    let full = nodes[full].me().id;
    eventually("the leader has heard of the other full disk", || {
        group.addresses().has_full_disk(full)
    })
    .await;
    let give_up = nodes[first]
        .raft
        .transfer_leaderships(Duration::from_secs(5));
    give_up.await;
    assert_eq!(leader(&nodes).await, free);
    proposed_at(&nodes, free, "on").await;

    // With nowhere to go, it stays where it can be read.
    nodes[free].db.pretend_room(Room::Low);
    let group = nodes[free].group();
    eventually("all disks are full", || {
        let others = nodes
            .iter()
            .filter(|node| node.me().id != nodes[free].me().id);
        others
            .map(|node| node.me().id)
            .all(|id| group.addresses().has_full_disk(id))
    })
    .await;
    let give_up = nodes[free]
        .raft
        .transfer_leaderships(Duration::from_secs(5));
    give_up.await;
    group.read_barrier().await.unwrap();
    nodes[free].db.pretend_room(Room::Ample);
    proposed_at(&nodes, free, "again").await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_hardly_any_room_takes_nothing_and_catches_up_later() {
    let (_volumes, nodes) = three(1).await;
    let first = leader(&nodes).await;
    let away = &nodes[(first + 1) % 3];
    nodes[first].group().propose(proposal("one")).await.unwrap();
    eventually("all have the first", || away.applied() == ["one"]).await;
    away.db.pretend_room(Room::Critical);
    nodes[first].group().propose(proposal("two")).await.unwrap();
    nodes[first].group().read_barrier().await.unwrap();
    assert_eq!(away.applied(), ["one"]);
    away.db.pretend_room(Room::Ample);
    eventually("it has caught up", || away.applied() == ["one", "two"]).await;
    for node in nodes {
        node.stop().await;
    }
}

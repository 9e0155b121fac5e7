//! Replicas that are let go when their node is a member no longer: nothing is left of them but what
//! keeps the node from voting wrongly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{BasicNode, EntryPayload};
use postino_proto::raft::v1::message::Kind;
use postino_types::NodeId;

use super::sandbox::{
    DEADLINE, Node, SHARD, Volume, eventually, leader, leads, proposal, settings, three_with,
};
use crate::apply::checksum;
use crate::db::{Family, KeyRange, Read, Room};
use crate::raft::network::{self, message};
use crate::raft::release::{Place, removed_at};
use crate::raft::rows::vote_key;
use crate::raft::types::{CommittedLeaderId, Config, Entry, LogId, Membership, Vote};
use crate::raft::{Exchange, Exchanged, Group, MembershipError, RaftSettings};

/// Three nodes whose leader stays, however busy the machine is.
async fn calm() -> (Vec<Volume>, Vec<Node>) {
    let settings = RaftSettings {
        election_min: Duration::from_secs(3),
        election_max: Duration::from_secs(4),
        ..settings()
    };
    three_with(1, settings).await
}

/// Rows that a node has of the shard, in all families, whatever their generation.
fn rows(node: &Node) -> usize {
    let families = Family::ALL
        .into_iter()
        .filter(|family| ![Family::Meta, Family::Raft].contains(family));
    let prefix = KeyRange::prefix(crate::db::Key::new().u32(SHARD.get()));
    families
        .map(|family| node.db.scan(family, prefix.clone()).count())
        .sum()
}

async fn exchange(leading: &Node, exchange: Exchange) {
    let group = leading.group();
    while group.exchange(&exchange, DEADLINE).await.unwrap() != Exchanged::Done {}
}

async fn write(node: &Node, from: u32, to: u32) -> u64 {
    let mut last = 0;
    for number in from..to {
        let letter = proposal(&format!("letter {number}")).with_body(vec![b'b'; 500]);
        last = node.group().propose(letter).await.unwrap().index;
    }
    last
}

/// Three nodes, of which one, at the place that is returned, has left the shard: the one that made
/// it, and was its only member at first.
async fn left() -> (Vec<Volume>, Vec<Node>, usize, usize) {
    let (volumes, nodes) = calm().await;
    let gone = 0;
    let last = write(&nodes[leader(&nodes).await], 0, 20).await;
    let status = || nodes[gone].group().status();
    eventually("it has everything", || status().applied_index >= last).await;
    let leaving = Exchange {
        coming: None,
        leaving: Some(nodes[gone].me().id),
    };
    // It leads, and gives the lead away first; which may move once more while the votes settle.
    let first = loop {
        let first = leader(&nodes).await;
        match nodes[first].group().exchange(&leaving, DEADLINE).await {
            Ok(Exchanged::Done) => break first,
            Ok(Exchanged::UnderWay) | Err(MembershipError::NotLeader { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_ne!(first, gone);
    write(&nodes[first], 20, 30).await;
    (volumes, nodes, first, gone)
}

async fn confirmed(leading: &Node, node: NodeId) -> Option<Place> {
    leading.group().without(node).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_left_is_let_go_and_comes_back_whole() {
    let (_volumes, nodes, first, gone) = left().await;
    let (leading, left) = (&nodes[first], &nodes[gone]);
    let me = left.me().id;
    assert!(rows(left) > 20);
    let term = left.group().status().leadership.term;
    let vote = || left.db.get(Family::Raft, vote_key(SHARD)).unwrap();
    let voted = vote();
    assert!(voted.is_some());
    let renewed = left.raft.renewed();
    let confirm = || confirmed(leading, me);
    assert!(left.raft.release(SHARD, confirm).await.unwrap());
    eventually("the rows are swept", || rows(left) == 0).await;
    assert_eq!(renewed.len(), 1);
    let status = left.group().status();
    assert_eq!((status.last_index, status.applied_index), (0, 0));
    assert_eq!(vote(), voted);
    // The group tells it once it has looked around.
    let known = || left.group().status().leadership.term;
    eventually("its vote is known again", || known() > 0).await;
    assert_eq!(known(), term);
    let place = removed_at(&left.db, SHARD).unwrap();
    assert_eq!(place.index, leading.group().status().membership_index);
    assert!(left.group().is_mute());
    // There is nothing more to let go.
    let never = || async { unreachable!("asked for nothing") };
    assert!(!left.raft.release(SHARD, never).await.unwrap());

    let coming = Exchange {
        coming: Some(left.me()),
        leaving: None,
    };
    exchange(leading, coming).await;
    let last = write(leading, 30, 40).await;
    let applied = || left.group().status().applied_index;
    eventually("it has come back", || applied() >= last).await;
    assert!(!left.group().is_mute());
    assert_eq!(
        checksum(&left.db, SHARD).unwrap(),
        checksum(&leading.db, SHARD).unwrap()
    );
    // It counts again: with it alone, the leader goes on.
    let other = (0..3).find(|n| ![first, gone].contains(n)).unwrap();
    let leaving = Exchange {
        coming: None,
        leaving: Some(nodes[other].me().id),
    };
    exchange(leading, leaving).await;
    write(leading, 40, 45).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_never_let_go() {
    let (_volumes, nodes) = calm().await;
    let first = leader(&nodes).await;
    let last = write(&nodes[first], 0, 10).await;
    let member = &nodes[(first + 1) % 3];
    let me = member.me().id;
    let applied = || member.group().status().applied_index;
    eventually("it has everything", || applied() >= last).await;
    let confirm = || confirmed(&nodes[first], me);
    assert!(!member.raft.release(SHARD, confirm).await.unwrap());
    // It has gone on where it was.
    let last = write(&nodes[first], 10, 20).await;
    eventually("it follows again", || applied() >= last).await;
    assert_eq!(member.applied(), nodes[first].applied());
    assert_eq!(removed_at(&member.db, SHARD).unwrap(), Place::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_let_go_votes_for_nobody_who_may_lack_something() {
    let (volumes, mut nodes, first, gone) = left().await;
    let me = nodes[gone].me().id;
    let confirm = || confirmed(&nodes[first], me);
    assert!(nodes[gone].raft.release(SHARD, confirm).await.unwrap());
    // After a restart, too.
    nodes.remove(gone).stop().await;
    let node = volumes[gone].start().await;
    assert!(node.group().is_mute());
    // Somebody with an empty log, of a later term, asks in the name of members of before.
    let request = VoteRequest {
        vote: Vote::new(1_000, 2),
        last_log_id: None,
        leadership_transfer: false,
    };
    let request = message::vote_request_out(&request);
    for kind in [Kind::Vote(request), Kind::PreVote(request)] {
        let answered = network::answer(Some(node.group()), Room::Ample, kind).await;
        assert!(matches!(answered, Kind::Refused(_)), "{answered:?}");
    }
    assert!(node.group().status().leadership.term < 1_000);
}

/// The first entry of a shard, as its leader sends it: the membership of the node that made it.
fn first_entry(maker: &Node, leader: &Node) -> AppendEntriesRequest<Config> {
    let (maker, leader_id) = (maker.me(), leader.me().id.get());
    let id = maker.id.get();
    let nodes = BTreeMap::from([(id, BasicNode::new(maker.endpoint))]);
    let membership = Membership::new(vec![BTreeSet::from([id])], nodes).unwrap();
    let log_id = LogId::new(CommittedLeaderId::new(0), 0);
    let term = leader.group().status().leadership.term;
    AppendEntriesRequest {
        vote: Vote::new_committed(term, leader_id),
        prev_log_id: None,
        entries: vec![Entry {
            log_id,
            payload: EntryPayload::Membership(membership),
        }],
        leader_commit: Some(log_id),
    }
}

/// Has a replica that does not lead time enough to try.
async fn never_leads(group: &Group) {
    let mut leadership = group.leadership();
    let leads = leadership.wait_for(|now| now.is_leader);
    // The only voter of a group does not wait for silence.
    let patience = settings().heartbeat * 10;
    assert!(tokio::time::timeout(patience, leads).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_does_not_lead_by_a_membership_of_long_ago() {
    let (volumes, mut nodes, first, gone) = left().await;
    let term = nodes[first].group().status().leadership.term;
    let me = nodes[gone].me().id;
    let confirm = || confirmed(&nodes[first], me);
    assert!(nodes[gone].raft.release(SHARD, confirm).await.unwrap());
    // It is to learn the log again, and has got as far as where it was the only member.
    let request = first_entry(&nodes[gone], &nodes[first]);
    let group = nodes[gone].group();
    group.raft().append_entries(request).await.unwrap();
    let alone = || group.status().voters.len() == 1;
    eventually("it is the only member that it knows", alone).await;
    never_leads(&group).await;
    drop(group);
    nodes.remove(gone).stop().await;
    let node = volumes[gone].start().await;
    never_leads(&node.group()).await;

    let leading = &nodes[first - 1];
    let coming = Exchange {
        coming: Some(node.me()),
        leaving: None,
    };
    exchange(leading, coming).await;
    let last = write(leading, 30, 40).await;
    let applied = || node.group().status().applied_index;
    eventually("it has come back", || applied() >= last).await;
    assert!(!node.group().is_mute());
    assert_eq!(leading.group().status().leadership.term, term);
    // And leads when it is asked to.
    leading
        .group()
        .give_lead(node.me().id, DEADLINE)
        .await
        .unwrap();
    leads(node.group()).await;
}

//! Three nodes: they elect, lose their leader, and take it back.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::raft_client::RaftClient;

use super::sandbox::{Node, SHARD, Volume, eventually, leader, leads, proposal, three};
use crate::db::{Family, Read};
use crate::identity::ClusterId;
use crate::raft::{BodyRef, Exchange, Exchanged, MembershipError, ProposeError, ReadError};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_proposes_reads_and_restarts() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 2);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    leads(node.group()).await;
    let body = Bytes::from(vec![b'b'; 100_000]);
    let letter = proposal("one").with_body(body.clone());
    let applied = node.group().propose(letter).await.unwrap();
    assert_eq!(applied.answer, "1");
    assert!(applied.fsync.is_some());
    node.group().read_barrier().await.unwrap();
    node.stop().await;

    let node = volume.start().await;
    leads(node.group()).await;
    node.group().read_barrier().await.unwrap();
    assert_eq!(node.applied(), ["one"]);
    let lies = BodyRef {
        shard: SHARD,
        index: applied.index,
        number: 0,
    };
    let space = node.db.space(SHARD).unwrap();
    let kept = node.db.get(Family::Bodies, lies.key(space)).unwrap();
    assert_eq!(kept, Some(body));
    let again = node.group().propose(proposal("two")).await.unwrap();
    assert_eq!(again.answer, "2");
    assert!(again.term > applied.term);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_their_leader_and_take_it_back() {
    let (mut volumes, mut nodes) = three(1).await;
    let first = leader(&nodes).await;
    let body = Bytes::from(vec![b'b'; 200_000]);
    let letter = proposal("one").with_body(body.clone());
    let one = nodes[first].group().propose(letter).await.unwrap();

    // A follower says who leads, and that nothing was submitted.
    let follower = &nodes[(first + 1) % 3];
    let refused = follower.group().propose(proposal("no")).await.unwrap_err();
    let leader_is = Some(nodes[first].me());
    assert!(!refused.may_have_been_submitted());
    assert_eq!(
        refused,
        ProposeError::NotLeader {
            leader: leader_is.clone()
        }
    );
    let refused = follower.group().read_barrier().await.unwrap_err();
    assert_eq!(refused, ReadError::NotLeader { leader: leader_is });

    let (volume, lost) = (volumes.remove(first), nodes.remove(first));
    let old_address = lost.address;
    lost.stop().await;
    let second = leader(&nodes).await;
    let two = nodes[second]
        .group()
        .propose(proposal("two"))
        .await
        .unwrap();
    assert!(two.term > one.term);
    nodes[second].group().read_barrier().await.unwrap();
    assert_eq!(nodes[second].applied(), ["one", "two"]);

    // It comes back on another port, catches up, and has the body too.
    let back = volume.start().await;
    assert_ne!(back.address, old_address);
    eventually("the lost node has caught up", || {
        back.applied() == ["one", "two"]
    })
    .await;
    let space = back.db.space(SHARD).unwrap();
    let lies = BodyRef {
        shard: SHARD,
        index: one.index,
        number: 0,
    };
    for node in nodes.iter().chain([&back]) {
        let kept = node.db.get(Family::Bodies, lies.key(space)).unwrap();
        assert_eq!(kept.as_ref(), Some(&body));
    }
    nodes.push(back);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_hands_the_lead_over() {
    let (_volumes, nodes) = three(1).await;
    let first = leader(&nodes).await;
    nodes[first]
        .raft
        .transfer_leaderships(Duration::from_secs(5))
        .await;
    // The lead may move once more while the votes settle. The proposal is told, before anything
    // is submitted, and goes to whoever leads then, as a client's would.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let second = leader(&nodes).await;
        assert_ne!(first, second);
        match nodes[second].group().propose(proposal("on")).await {
            Err(ProposeError::NotLeader { .. }) if tokio::time::Instant::now() < deadline => {}
            outcome => break drop(outcome.unwrap()),
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_exchanged_one_for_another_and_the_leader_last() {
    let (volumes, mut nodes) = three(1).await;
    let fourth = Volume::new(volumes[0].identity.cluster, 4, 1);
    nodes.push(fourth.start().await);
    let first = leader(&nodes[..3]).await;
    nodes[first].group().propose(proposal("one")).await.unwrap();
    let patience = Duration::from_secs(20);
    let voters = |nodes: &[Node], at: usize| -> Vec<u64> {
        let status = nodes[at].group().status();
        assert!(status.learners.is_empty(), "{status:?}");
        status.voters.iter().map(|node| node.id.get()).collect()
    };

    // A follower goes, a node that knew nothing comes.
    let gone = (first + 1) % 3;
    let exchange = Exchange {
        coming: Some(nodes[3].me()),
        leaving: Some(nodes[gone].me().id),
    };
    let refused = nodes[gone].group().exchange(&exchange, patience).await;
    assert!(matches!(refused, Err(MembershipError::NotLeader { .. })));
    let group = nodes[first].group();
    let done = group.exchange(&exchange, patience).await.unwrap();
    assert_eq!(done, Exchanged::Done);
    // Asked again, it is done already.
    let done = group.exchange(&exchange, patience).await.unwrap();
    assert_eq!(done, Exchanged::Done);
    assert!(!voters(&nodes, first).contains(&nodes[gone].me().id.get()));
    eventually("the new member has everything", || {
        nodes[3].applied() == ["one"]
    })
    .await;
    // The one that left knows, and asks nobody for votes.
    let left = nodes[gone].group().status();
    assert!(
        left.voters
            .iter()
            .all(|voter| voter.id != nodes[gone].me().id)
    );

    // Now back again, in place of the leader, which gives the lead away first.
    let back = Exchange {
        coming: Some(nodes[gone].me()),
        leaving: Some(nodes[first].me().id),
    };
    let mut leading = first;
    loop {
        match nodes[leading].group().exchange(&back, patience).await {
            Ok(done) => break assert_eq!(done, Exchanged::Done),
            Err(MembershipError::NotLeader { .. }) => leading = leader(&nodes).await,
            Err(error) => panic!("{error}"),
        }
    }
    assert_ne!(leading, first);
    assert!(!voters(&nodes, leading).contains(&nodes[first].me().id.get()));
    assert_eq!(voters(&nodes, leading).len(), 3);
    nodes[leading]
        .group()
        .propose(proposal("two"))
        .await
        .unwrap();
    eventually("the returned member has everything", || {
        nodes[gone].applied() == ["one", "two"]
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_voter_hands_its_shard_to_another_node() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 1);
    let old = volume.start().await;
    old.raft.initialize().await.unwrap();
    leads(old.group()).await;
    old.group().propose(proposal("one")).await.unwrap();
    let new = Volume::new(volume.identity.cluster, 2, 1).start().await;
    let exchange = Exchange {
        coming: Some(new.me()),
        leaving: Some(old.me().id),
    };
    let patience = Duration::from_secs(20);
    let given = old.group().exchange(&exchange, patience).await;
    assert!(matches!(given, Err(MembershipError::NotLeader { .. })));
    leads(new.group()).await;
    // A new leader changes nothing before a majority has acknowledged it.
    let deadline = tokio::time::Instant::now() + patience;
    let done = loop {
        match new.group().exchange(&exchange, patience).await {
            Err(MembershipError::NotLeader { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!(done, Exchanged::Done);
    let status = new.group().status();
    assert_eq!((status.voters, status.learners), (vec![new.me()], vec![]));
    old.stop().await;
    new.group().propose(proposal("two")).await.unwrap();
    assert_eq!(new.applied(), ["one", "two"]);
    // It cannot go while it is the last one.
    let last = Exchange {
        coming: None,
        leaving: Some(new.me().id),
    };
    let refused = new.group().exchange(&last, patience).await;
    assert!(matches!(refused, Err(MembershipError::Senseless(_))));
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_proposals_share_entries_and_syncs() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 4);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    for group in node.raft.groups() {
        leads(group).await;
    }
    let before = node.raft.counters().snapshot();
    // Many rounds, since in a single one each shard may happen to get a sync of its own.
    let writers = (0..64).map(async |number| {
        let group = &node.raft.groups()[1 + number % 4];
        for _ in 0..30 {
            group.propose(proposal("letter")).await.unwrap();
        }
    });
    join_all(writers).await;
    let after = node.raft.counters().snapshot();
    let (entries, syncs) = (after.entries - before.entries, after.syncs - before.syncs);
    println!("1920 proposals: {entries} entries, {syncs} syncs");
    assert!(entries < 960, "proposals share entries");
    assert!(syncs < entries, "the shards share syncs");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_anything_is_submitted() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 1);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    leads(node.group()).await;
    let large = proposal("x").with_body(vec![0; 9 << 20]);
    let refused = node.group().propose(large).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }));
    let group = node.group();
    let many = (0..4).map(|_| group.propose(proposal("x").with_body(vec![0; 7 << 20])));
    let outcomes = join_all(many).await;
    let overloaded = |outcome: &&Result<_, _>| **outcome == Err(ProposeError::Overloaded);
    assert_eq!(outcomes.iter().filter(overloaded).count(), 2);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_halts_the_replica() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 2);
    let node = volume.start().await;
    node.raft.initialize().await.unwrap();
    leads(node.group()).await;
    let outcome = node.group().propose(proposal("halt")).await.unwrap_err();
    assert_eq!(outcome, ProposeError::Unknown);
    eventually("the group has stopped", || !node.group().is_leader()).await;
    let halted = node.group().status().halted.unwrap();
    assert!(halted.contains("unknown command"), "{halted}");
    let next = node.group().propose(proposal("more")).await.unwrap_err();
    assert_eq!(next, ProposeError::Stopped);
    // The other shards go on.
    let other = &node.raft.groups()[2];
    leads(other.clone()).await;
    other.propose(proposal("fine")).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_and_another_node_are_refused() {
    let volume = Volume::new(ClusterId::random().unwrap(), 1, 1);
    let node = volume.start().await;
    let hello = |cluster: ClusterId, to: u64| proto::Frame {
        hello: Some(proto::Hello {
            protocol: 1,
            cluster_id: cluster.to_bytes(),
            from: 2,
            to,
            endpoint: String::new(),
        }),
        messages: Vec::new(),
    };
    let open = async |frame: proto::Frame| {
        let mut client = RaftClient::connect(node.me().endpoint).await.unwrap();
        client.stream(tokio_stream::iter([frame])).await
    };
    let ours = volume.identity.cluster;
    open(hello(ours, 1)).await.unwrap();
    let stranger = open(hello(ClusterId::random().unwrap(), 1))
        .await
        .unwrap_err();
    assert_eq!(stranger.code(), tonic::Code::FailedPrecondition);
    let mistaken = open(hello(ours, 2)).await.unwrap_err();
    assert_eq!(mistaken.code(), tonic::Code::FailedPrecondition);
    let silent = open(proto::Frame::default()).await.unwrap_err();
    assert_eq!(silent.code(), tonic::Code::InvalidArgument);
    node.stop().await;
}

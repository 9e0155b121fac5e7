//! Following the leader, and repeating only what may be repeated.

use futures::StreamExt;
use postino_client::{CallError, Channels, StoreClient, StoreClientConfig};
use postino_config::GrpcConfig;
use postino_net::{Shutdown, serve_grpc_incoming};
use postino_proto::store::v1::{
    Account, SettleRequest, ShardLeader, StoreFlagsRequest, Topology, WatchRequest,
};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tonic::{Code, Status};

use crate::support::{Act, Node, client, closed_endpoint};

fn settle() -> SettleRequest {
    SettleRequest {
        shard: 1,
        ..SettleRequest::default()
    }
}

fn store_flags() -> StoreFlagsRequest {
    let account = Some(Account {
        account: 9,
        shard: 1,
    });
    StoreFlagsRequest {
        account,
        ..StoreFlagsRequest::default()
    }
}

fn refuse(fault: Fault) -> Act {
    Act::Refuse(Status::from(fault))
}

fn led_by(endpoint: &str, term: u64) -> Topology {
    Topology {
        mail_shards: 2,
        leaders: vec![ShardLeader {
            shard: 1,
            term,
            endpoint: endpoint.to_owned(),
        }],
        endpoints: vec![endpoint.to_owned()],
        ..Topology::default()
    }
}

#[tokio::test]
async fn a_hint_is_followed_and_remembered() {
    let (old, new) = (Node::default(), Node::default());
    let (old_at, new_at) = (old.start().await, new.start().await);
    old.script("store_flags", [refuse(Fault::not_leader(Some(new_at)))]);
    let client = client(&[&old_at]);
    for _ in 0..2 {
        client.store_flags(store_flags()).await.expect("done");
    }
    assert_eq!((old.count("store_flags"), new.count("store_flags")), (1, 2));
}

#[tokio::test]
async fn without_a_hint_the_topology_is_asked_again() {
    let (old, new) = (Node::default(), Node::default());
    let (old_at, new_at) = (old.start().await, new.start().await);
    old.topology(led_by(&old_at, 1));
    old.script("settle", [refuse(Fault::not_leader(None))]);
    let client = client(&[&old_at]);
    assert_eq!(client.mail_shards().await, Ok(2));
    old.topology(led_by(&new_at, 2));
    // The refresh is not repeated within 100 ms, so let the first one be that old.
    tokio::time::sleep(std::time::Duration::from_millis(110)).await;
    client.settle(settle()).await.expect("done");
    assert_eq!((old.count("settle"), new.count("settle")), (1, 1));
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    for status in [
        Status::from(Fault::new(FaultKind::Unknown, "lost")),
        Status::unavailable("gone"),
    ] {
        node.script("store_flags", [Act::Refuse(status)]);
        let error = client.store_flags(store_flags()).await.expect_err("lost");
        assert!(error.is_unknown(), "{error:?}");
    }
    assert_eq!(node.count("store_flags"), 2);
}

#[tokio::test]
async fn what_is_the_same_twice_is_done_again_even_after_silence() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let lost = refuse(Fault::new(FaultKind::Unknown, "lost"));
    node.script(
        "settle",
        [lost, Act::Hang, Act::Refuse(Status::unavailable("gone"))],
    );
    client.settle(settle()).await.expect("done in the end");
    assert_eq!(node.count("settle"), 4);
}

#[tokio::test]
async fn a_closed_port_proves_that_nothing_was_done() {
    let node = Node::default();
    let (alive, dead) = (node.start().await, closed_endpoint());
    node.topology(led_by(&dead, 1));
    let client = client(&[&alive]);
    // The topology names a dead leader; the call must come to the node that lives.
    client.store_flags(store_flags()).await.expect("done");
    assert_eq!(node.count("store_flags"), 1);
}

#[tokio::test]
async fn an_answer_is_handed_on_as_it_is() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    node.script(
        "settle",
        [refuse(Fault::new(FaultKind::LeaseLost, "stale epoch"))],
    );
    let error = client.settle(settle()).await.expect_err("refused");
    assert_eq!(error.fault(), Some(FaultKind::LeaseLost));
    node.script(
        "store_flags",
        [Act::Refuse(Status::not_found("no mailbox"))],
    );
    let error = client
        .store_flags(store_flags())
        .await
        .expect_err("refused");
    assert_eq!(
        (error.code(), error.is_temporary()),
        (Some(Code::NotFound), false)
    );
    assert_eq!(node.count("settle") + node.count("store_flags"), 2);
    let nobody = client
        .store_flags(StoreFlagsRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(nobody.code(), Some(Code::InvalidArgument));
}

#[tokio::test]
async fn an_overloaded_leader_is_asked_three_times() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let busy = refuse(Fault::new(FaultKind::Overloaded, "disk is full"));
    node.script("settle", vec![busy; 9]);
    let error = client.settle(settle()).await.expect_err("overloaded");
    assert_eq!(error.fault(), Some(FaultKind::Overloaded));
    assert_eq!(node.count("settle"), 3);
}

#[tokio::test]
async fn without_a_leader_the_deadline_ends_it() {
    let node = Node::default();
    let endpoint = node.start().await;
    node.script("store_flags", vec![refuse(Fault::not_leader(None)); 1000]);
    let config = StoreClientConfig {
        endpoints: vec![endpoint],
        call_timeout: postino_config::Duration::millis(300),
        ..StoreClientConfig::default()
    };
    let client = StoreClient::new(config, Channels::new(GrpcConfig::default()));
    let error = client
        .store_flags(store_flags())
        .await
        .expect_err("no leader");
    assert!(matches!(error, CallError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn ids_are_minted_where_there_is_a_leader() {
    let node = Node::default();
    let endpoint = node.start().await;
    node.topology(led_by(&endpoint, 1));
    let client = client(&[&endpoint]);
    let preferred = Some(ShardId::new(2));
    let first = client.mint_queue_id(preferred).await.expect("minted");
    let second = client.mint_queue_id(preferred).await.expect("minted");
    assert_eq!(first.shard(), ShardId::new(1));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_silent_stream_ends_with_an_error() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let account = Some(Account {
        account: 9,
        shard: 1,
    });
    let mut events = client
        .watch(WatchRequest {
            account,
            since: None,
        })
        .await
        .expect("open");
    assert_eq!(
        events
            .next()
            .await
            .expect("an item")
            .expect("an event")
            .mod_seq,
        5
    );
    let error = events.next().await.expect("an item").expect_err("silence");
    assert!(error.is_temporary());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn in_one_process_the_same_stubs_reconnect() {
    const ENDPOINT: &str = "http://store.in-process:1";
    let (node, channels) = (Node::default(), Channels::new(GrpcConfig::default()));
    let serve = |routes, listener| {
        let shutdown = Shutdown::new(std::time::Duration::ZERO);
        let until = shutdown.clone();
        let task = tokio::spawn(async move {
            serve_grpc_incoming(listener, routes, &GrpcConfig::default(), until).await
        });
        (shutdown, task)
    };
    let config = StoreClientConfig {
        endpoints: vec![ENDPOINT.to_owned()],
        call_timeout: postino_config::Duration::secs(2),
        ..StoreClientConfig::default()
    };
    let (stop, task) = serve(node.routes(), channels.listen_in_process(ENDPOINT));
    let client = StoreClient::new(config, channels.clone());
    client.store_flags(store_flags()).await.expect("done");
    stop.abort();
    task.await.expect("ended").expect("in order");
    // Nobody listens: proven not done, so it waits for the next listener.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.store_flags(store_flags()).await }
    });
    tokio::task::yield_now().await;
    let _running = serve(node.routes(), channels.listen_in_process(ENDPOINT));
    waiting
        .await
        .expect("ended")
        .expect("done after the restart");
    assert_eq!(node.count("store_flags"), 2);
}

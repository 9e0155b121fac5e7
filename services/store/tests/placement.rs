//! Store nodes in one process, over real gRPC: they join, share shards and leads, and leave.

#![expect(clippy::unwrap_used, reason = "what fails here shall fail the test")]

use std::time::Duration;

use postino_client::Channels;
use postino_config::{AuthConfig, GrpcConfig};
use postino_proto::admin::v1::admin_client::AdminClient;
use postino_proto::admin::v1::{AddAccountRequest, AddDomainRequest};
use postino_proto::cluster::v1::placement_client::PlacementClient;
use postino_proto::cluster::v1::*;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::{
    Account, CreateMailboxRequest, Credential, ListMailboxesRequest, NodeState,
};
use postino_store::{RaftConfig, Store, StoreConfig};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

/// Nothing here takes this long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node on an empty directory.
struct Node {
    store: Store,
    endpoint: String,
    channel: Channel,
    client: PlacementClient<Channel>,
    _directory: tempfile::TempDir,
}

impl Node {
    async fn start(zone: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut config = StoreConfig {
            shards: 3,
            zone: zone.to_owned(),
            raft: RaftConfig {
                heartbeat: postino_config::Duration::millis(100),
                election_min: postino_config::Duration::millis(300),
                election_max: postino_config::Duration::millis(600),
                ..RaftConfig::default()
            },
            ..StoreConfig::default()
        };
        config.placement.interval = postino_config::Duration::millis(100);
        let channels = Channels::new(GrpcConfig::default());
        let store = Store::start(config, directory.path(), endpoint.clone(), channels);
        let store = store.await.unwrap();
        let server = Server::builder().add_routes(store.routes(&AuthConfig::default(), 16 << 20));
        tokio::spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let channel = Endpoint::from_shared(endpoint.clone())
            .unwrap()
            .connect_lazy();
        Self {
            store,
            client: PlacementClient::new(channel.clone()),
            channel,
            endpoint,
            _directory: directory,
        }
    }

    fn id(&self) -> u64 {
        self.store.cluster().node().unwrap().identity().node.get()
    }

    async fn overview(&self) -> Result<Overview, Status> {
        let answer = self
            .client
            .clone()
            .get_overview(GetOverviewRequest {})
            .await;
        answer.map(tonic::Response::into_inner)
    }

    /// Lets this node join the cluster of another.
    async fn join(&self, other: &Self) -> u64 {
        let endpoint = self.endpoint.clone();
        let answer = again(async || {
            let endpoint = endpoint.clone();
            other.client.clone().join(JoinRequest { endpoint }).await
        });
        answer.await.unwrap().into_inner().node.unwrap().id
    }

    async fn drain(&self, node: u64) -> Result<(), Status> {
        let request = DrainRequest {
            node,
            ..DrainRequest::default()
        };
        let drained = again(async || self.client.clone().drain(request).await);
        drained.await.map(drop)
    }

    async fn remove(&self, node: u64) -> Result<(), Status> {
        let removed = again(async || self.client.clone().remove(RemoveRequest { node }).await);
        removed.await.map(drop)
    }

    /// Waits until the overview at this node looks as it should.
    async fn until(&self, what: &str, holds: impl Fn(&Overview) -> bool) -> Overview {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let seen = self.overview().await;
            if let Ok(overview) = &seen
                && holds(overview)
            {
                return seen.unwrap();
            }
            assert!(
                tokio::time::Instant::now() < end,
                "in vain: {what}; {seen:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Makes a call again while a lead is on its way.
async fn again<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        match call().await {
            Err(status)
                if status.code() == Code::Unavailable && tokio::time::Instant::now() < end =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
        }
    }
}

/// The nodes that hold a shard.
fn holders(shard: &ShardOverview) -> Vec<u64> {
    shard.replicas.iter().map(|replica| replica.node).collect()
}

/// Whether every shard has so many voters and nothing moves, and active nodes lead alike.
fn settled(overview: &Overview, replicas: usize) -> bool {
    let active = overview.nodes.iter();
    let active = active.filter(|node| node.state() == NodeState::Active);
    let leads: Vec<u32> = active.map(|node| node.leads).collect();
    let even = match (leads.iter().min(), leads.iter().max()) {
        (Some(least), Some(most)) => most - least <= 1,
        _ => false,
    };
    let full = |shard: &ShardOverview| {
        shard.leader != 0
            && !shard.changing
            && shard.replicas.len() == replicas
            && shard.replicas.iter().all(|replica| replica.voter)
    };
    let all = overview.shards.len() == 4 && overview.shards.iter().all(full);
    all && even && overview.moves.is_empty()
}

/// Writes at a shard's leader, and reads at once at each of its replicas.
async fn every_replica_reads_what_was_written(nodes: [&Node; 3]) {
    let channels = nodes.map(|node| node.channel.clone());
    let mut admin = AdminClient::new(channels[0].clone());
    let domain = AddDomainRequest {
        domain: "example.org".into(),
    };
    admin.add_domain(domain).await.unwrap();
    let credential = Credential {
        password_hash: "$argon2id$x".into(),
        ..Credential::default()
    };
    let account = AddAccountRequest {
        address: "alice@example.org".into(),
        credential: Some(credential),
    };
    let added = admin.add_account(account).await.unwrap().into_inner();
    let account = Account {
        account: added.account,
        shard: added.shard,
    };
    for number in 0..20 {
        let name = format!("box {number}");
        let create = CreateMailboxRequest {
            account: Some(account),
            name: name.clone(),
            ..CreateMailboxRequest::default()
        };
        let created = again(async || {
            let mut outcome = Err(Status::unavailable("nobody leads"));
            for channel in &channels {
                let mut mail = MailStoreClient::new(channel.clone());
                outcome = mail.create_mailbox(create.clone()).await;
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        });
        created.await.unwrap();
        for channel in &channels {
            let request = ListMailboxesRequest {
                account: Some(account),
                ..ListMailboxesRequest::default()
            };
            let mut mail = MailStoreClient::new(channel.clone());
            let listed = mail.list_mailboxes(request).await.unwrap().into_inner();
            let mut names = listed.mailboxes.iter().map(|mailbox| &mailbox.name);
            assert!(names.any(|listed| *listed == name), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_share_the_work_and_leave() {
    let first = Node::start("a").await;
    first.store.cluster().init(0).await.unwrap();
    first.until("it leads", |seen| settled(seen, 1)).await;

    // A second node gets no replica: two would bear no more failures than one. But it serves.
    let second = Node::start("b").await;
    assert_eq!(
        second.overview().await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let id = second.join(&first).await;
    assert_eq!(second.join(&first).await, id, "it can be repeated");
    assert_eq!(id, second.id());
    tokio::time::timeout(DEADLINE, second.store.ready())
        .await
        .unwrap();
    let third = Node::start("c").await;
    third.join(&second).await;
    let seen = third.until("three of each", |seen| settled(seen, 3)).await;
    let zones: Vec<&str> = seen.nodes.iter().map(|node| node.zone.as_str()).collect();
    assert_eq!(zones, ["a", "b", "c"]);
    assert!(
        seen.nodes
            .iter()
            .all(|node| node.alive && node.replicas == 4)
    );

    every_replica_reads_what_was_written([&first, &second, &third]).await;

    // A fourth one in the zone of the first: those two share what is in their zone.
    let fourth = Node::start("a").await;
    fourth.join(&third).await;
    let shared = |seen: &Overview| {
        let counts: Vec<u32> = seen.nodes.iter().map(|node| node.replicas).collect();
        settled(seen, 3) && counts == [2, 4, 4, 2]
    };
    fourth.until("two of four each", shared).await;
    for node in [&first, &second, &third, &fourth] {
        tokio::time::timeout(DEADLINE, node.store.ready())
            .await
            .unwrap();
    }

    // By command: a replica moves where its zone is shared no more than before.
    let seen = fourth.overview().await.unwrap();
    let (one, four) = (first.id(), fourth.id());
    let on_first = seen
        .shards
        .iter()
        .find(|shard| holders(shard).contains(&one));
    let shard = on_first.unwrap().shard;
    let request = MoveReplicaRequest {
        shard,
        from: four,
        to: one,
    };
    let refused = again(async || second.client.clone().move_replica(request).await).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);

    // The node that made the cluster leaves.
    let refused = second.remove(one).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    second.drain(one).await.unwrap();
    let empty = |seen: &Overview| {
        let left = seen.nodes.iter().find(|node| node.node == one);
        settled(seen, 3) && left.is_some_and(|node| node.replicas == 0 && node.leads == 0)
    };
    second.until("the first node is empty", empty).await;
    second.remove(one).await.unwrap();
    second
        .until("it is gone", |seen| seen.nodes.len() == 3)
        .await;
    second.remove(one).await.unwrap();
    let back = second.drain(one).await.unwrap_err();
    assert_eq!(back.code(), Code::FailedPrecondition);
    let unknown = second.drain(99).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    first.store.shutdown(Duration::from_secs(1)).await;

    // One that stops gives its leads away, and gets none while it is there.
    second.store.hand_over(Duration::from_secs(5)).await;
    let two = second.id();
    let handed_over = |seen: &Overview| {
        let led = seen
            .shards
            .iter()
            .all(|shard| shard.leader != 0 && shard.leader != two);
        let stopping = seen
            .nodes
            .iter()
            .any(|node| node.node == two && node.stopping);
        led && stopping
    };
    third
        .until("the second node leads nothing", handed_over)
        .await;
    for node in [second, third, fourth] {
        node.store.shutdown(Duration::from_millis(100)).await;
    }
}

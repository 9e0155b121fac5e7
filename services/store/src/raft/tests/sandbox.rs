//! Nodes in one process, over real gRPC on port 0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postino_types::{NodeId, ShardId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::toy::{self, Toy};
use crate::db::{Db, DbSettings};
use crate::identity::{ClusterId, Identity};
use crate::raft::{Group, NodeAddress, Proposal, RaftNode, RaftService, RaftSettings};

pub(super) const SHARD: ShardId = ShardId::new(1);
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Faster than in production, so that tests of failures take less time.
pub(super) fn settings() -> RaftSettings {
    RaftSettings {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        ..RaftSettings::default()
    }
}

/// The data of a node, which outlives its process.
pub(super) struct Volume {
    pub(super) identity: Identity,
    pub(super) settings: RaftSettings,
    directory: TempDir,
}

impl Volume {
    pub(super) fn new(cluster: ClusterId, node: u64, shards: u32) -> Self {
        Self {
            identity: Identity::new(cluster, NodeId::new(node), shards).unwrap(),
            settings: settings(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a process on this volume, on a port of its own.
    pub(super) async fn start(&self) -> Node {
        let db = Db::open(self.directory.path(), &DbSettings::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = RaftService::new();
        let server = Server::builder().add_service(service.clone().into_server());
        let server =
            server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let server = tokio::spawn(async move { server.await.unwrap() });
        let machine = Arc::new(Toy::new(db.clone()));
        let endpoint = format!("http://{address}");
        let settings = self.settings.clone();
        let raft = RaftNode::start(db.clone(), self.identity, endpoint, settings, machine);
        let raft = raft.await.unwrap();
        service.attach(raft.clone());
        Node {
            db,
            raft,
            address,
            server,
        }
    }
}

/// A running node.
pub(super) struct Node {
    pub(super) db: Db,
    pub(super) raft: RaftNode,
    pub(super) address: SocketAddr,
    server: JoinHandle<()>,
}

impl Node {
    pub(super) fn group(&self) -> Group {
        self.raft.group(SHARD).unwrap()
    }

    pub(super) fn me(&self) -> NodeAddress {
        self.raft.address()
    }

    pub(super) fn applied(&self) -> Vec<String> {
        toy::applied(&self.db, SHARD)
    }

    /// Ends it without handing anything over.
    pub(super) async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
        self.raft.shutdown().await;
        let path = self.db.path().to_owned();
        drop((self.db, self.raft));
        // The database is free when the last task has let go of it.
        eventually("the database is closed", || {
            Db::open(&path, &DbSettings::default()).is_ok()
        })
        .await;
    }
}

/// Three nodes that share every group, the first one made them.
pub(super) async fn three(shards: u32) -> (Vec<Volume>, Vec<Node>) {
    three_with(shards, settings()).await
}

/// The same with these settings.
pub(super) async fn three_with(shards: u32, settings: RaftSettings) -> (Vec<Volume>, Vec<Node>) {
    let cluster = ClusterId::random().unwrap();
    let volume = |id| Volume {
        settings: settings.clone(),
        ..Volume::new(cluster, id, shards)
    };
    let volumes: Vec<_> = (1..=3).map(volume).collect();
    let mut nodes = Vec::new();
    for volume in &volumes {
        nodes.push(volume.start().await);
    }
    nodes[0].raft.initialize().await.unwrap();
    for group in nodes[0].raft.groups() {
        leads(group.clone()).await;
        for node in &nodes[1..] {
            group.enlist(node.me(), DEADLINE).await.unwrap();
        }
    }
    (volumes, nodes)
}

pub(super) fn proposal(text: &str) -> Proposal {
    Proposal::new(text.to_owned())
}

pub(super) async fn leads(group: Group) {
    let mut leadership = group.leadership();
    let leads = leadership.wait_for(|now| now.is_leader);
    tokio::time::timeout(DEADLINE, leads)
        .await
        .unwrap()
        .unwrap();
}

/// The place of the node that leads the mail shard, once the nodes agree.
pub(super) async fn leader(nodes: &[Node]) -> usize {
    let found = std::cell::Cell::new(0);
    eventually("all nodes know the leader", || {
        let mut leaders = nodes.iter().map(|node| node.group().leader());
        let Some(Some(first)) = leaders.next() else {
            return false;
        };
        let place = nodes.iter().position(|node| node.me() == first);
        found.set(place.unwrap_or(0));
        place.is_some_and(|place| nodes[place].group().is_leader())
            && leaders.all(|leader| leader.as_ref() == Some(&first))
    })
    .await;
    found.get()
}

/// Waits for a condition, up to a deadline.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

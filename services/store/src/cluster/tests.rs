use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postino_proto::cluster::v1 as proto;
use postino_types::ShardId;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::admission::connect;
use super::*;
use crate::db::{DbSettings, Family};
use crate::model::encode;
use crate::model::spool::{self, ShardRow};
use crate::raft::{ApplyHalt, CommittedEntry, Progress, Proposal};

/// Applies nothing and answers with the index.
struct Blind(Db);

impl Machine for Blind {
    fn apply(
        &self,
        _shard: ShardId,
        entries: Vec<CommittedEntry>,
        progress: Progress,
    ) -> Result<Vec<Vec<Bytes>>, ApplyHalt> {
        let mut batch = self.0.batch();
        progress.put(&mut batch);
        self.0.write(batch)?;
        let answer = |entry: CommittedEntry| {
            let index = Bytes::from(entry.index.to_string());
            entry.commands.iter().map(|_| index.clone()).collect()
        };
        Ok(entries.into_iter().map(answer).collect())
    }
}

struct Ids;

impl NodeIds for Ids {
    fn allocate(
        &self,
        control: Group,
        endpoint: String,
    ) -> BoxFuture<'static, Result<NodeId, ProposeError>> {
        Box::pin(async move {
            let applied = control.propose(Proposal::new(endpoint)).await?;
            Ok(NodeId::new(applied.index))
        })
    }

    fn refusal(&self, _: NodeId) -> Result<Option<String>, DbError> {
        Ok(None)
    }
}

struct Process {
    cluster: Cluster,
    endpoint: String,
    _directory: TempDir,
}

async fn process() -> Process {
    process_up_to(2).await
}

/// Of a build that supports feature levels up to this one.
async fn process_up_to(highest: u32) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let db = Db::open(&directory.path().join("db"), &DbSettings::default()).unwrap();
    let cluster = Cluster::open(ClusterParts {
        levels: Levels::up_to(highest),
        machine: Arc::new(Blind(db.clone())),
        db,
        directory: directory.path().to_owned(),
        endpoint: endpoint.clone(),
        settings: RaftSettings {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            ..RaftSettings::default()
        },
        shard_count: 4,
        replicas: 3,
        node_ids: Arc::new(Ids),
    })
    .await
    .unwrap();
    let server = Server::builder()
        .add_service(cluster.clone().into_server())
        .add_service(cluster.raft_service().into_server())
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(server);
    Process {
        cluster,
        endpoint,
        _directory: directory,
    }
}

async fn status(process: &Process) -> proto::StatusResponse {
    let mut client = connect(&process.endpoint).await.unwrap();
    let status = client.status(proto::StatusRequest {}).await.unwrap();
    status.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_become_one_cluster_by_an_explicit_act() {
    let processes = [process().await, process().await, process().await];
    for process in &processes {
        assert_eq!(status(process).await.identity, None);
    }
    let members: Vec<_> = processes.iter().map(|p| p.endpoint.clone()).collect();
    let identity = form(&members, 0).await.unwrap();
    assert_eq!((identity.node_id, identity.shard_count), (1, 4));
    let known = status(&processes[0]).await;
    assert_eq!(known.groups.len(), 5);
    for group in &known.groups {
        assert_eq!(group.voters.len(), 3, "{group:?}");
        assert_eq!(group.learners.len(), 0);
    }
    let ids: Vec<_> = known.groups[0].voters.iter().map(|node| node.id).collect();
    assert!(ids[0] == 1 && ids[1] > 1 && ids[2] > ids[1], "{ids:?}");
    for process in &processes {
        let theirs = status(process).await.identity.unwrap();
        assert_eq!(theirs.cluster_id, identity.cluster_id);
    }

    // Asking again changes nothing; another cluster is not taken in.
    assert_eq!(form(&members, 0).await.unwrap(), identity);
    let stranger = process().await;
    stranger.cluster.init(4).await.unwrap();
    let both = [members[0].clone(), stranger.endpoint.clone()];
    let refused = form(&both, 0).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_build_is_too_old_for_the_cluster_is_not_taken_in() {
    let first = process().await;
    first.cluster.init(1).await.unwrap();
    let old = process_up_to(1).await;
    assert_eq!(status(&old).await.highest_level, 1);
    let db = &first.cluster.inner.parts.db;
    let mut batch = db.batch();
    let row = ShardRow {
        feature_level: 2,
        ..ShardRow::default()
    };
    let space = db.space(ShardId::CONTROL).unwrap();
    batch.put(Family::Spool, spool::shard(space), encode(&row));
    db.write(batch).unwrap();
    assert_eq!(status(&first).await.groups[0].level, 2);
    let both = [first.endpoint.clone(), old.endpoint.clone()];
    let refused = form(&both, 0).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("run a newer build"));
    assert_eq!(status(&old).await.identity, None);
    let new = process().await;
    let both = [first.endpoint, new.endpoint];
    form(&both, 0).await.unwrap();
}

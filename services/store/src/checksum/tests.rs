//! Three stores in one process, over real gRPC, that are compared, and tampered with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postino_client::Channels;
use postino_config::{AuthConfig, GrpcConfig};
use postino_proto::store::v1::checksums_client::ChecksumsClient;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{
    CompareRequest, CompareResponse, InitAccountCommand, UploadChunkCommand,
};
use postino_types::ShardId;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use crate::db::{Db, Family, Key, KeyRange, Read};
use crate::levels::Levels;
use crate::{Store, StoreConfig};

const SHARD: ShardId = ShardId::new(1);
const DEADLINE: Duration = Duration::from_secs(60);

struct Node {
    store: Store,
    serving: tokio::task::JoinHandle<()>,
    endpoint: String,
    client: ChecksumsClient<Channel>,
    _directory: tempfile::TempDir,
}

impl Node {
    /// Of a build that supports feature levels up to this one.
    async fn start(highest: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let config = StoreConfig::default();
        let channels = Channels::new(GrpcConfig::default());
        let levels = Levels::up_to(highest);
        let path = directory.path();
        let store = Store::start_at(levels, config, path, endpoint.clone(), channels);
        let store = store.await.unwrap();
        let server = Server::builder().add_routes(store.routes(&AuthConfig::default(), 16 << 20));
        let serving = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        let channel = Endpoint::from_shared(endpoint.clone()).unwrap();
        Self {
            store,
            serving,
            client: ChecksumsClient::new(channel.connect_lazy()),
            endpoint,
            _directory: directory,
        }
    }

    fn id(&self) -> u64 {
        self.store.cluster().node().unwrap().identity().node.get()
    }

    fn db(&self) -> &Db {
        self.store.context().shards.db()
    }

    /// The key of a row in a shard, on this node.
    fn key(&self, shard: ShardId) -> Key {
        self.db().space(shard).unwrap().key()
    }

    fn write(&self, family: Family, key: Key, value: &[u8]) {
        let mut batch = self.db().batch();
        batch.put(family, key, value);
        self.db().write(batch).unwrap();
    }

    fn delete(&self, family: Family, key: Key) {
        let mut batch = self.db().batch();
        batch.delete(family, key);
        self.db().write(batch).unwrap();
    }

    /// Compares the replicas of a shard, wherever its leader is.
    async fn compare(&self, shard: ShardId) -> CompareResponse {
        let request = CompareRequest {
            shard: shard.get(),
            patience_ms: 20_000,
        };
        let compared = self.client.clone().compare(request).await;
        compared.unwrap().into_inner()
    }

    async fn do_it(&self, kind: Kind, body: Option<Bytes>) {
        let shards = &self.store.context().shards;
        let done = shards.propose_until_done(SHARD, kind, body, DEADLINE);
        done.await.unwrap();
    }

    /// Adds an account to the shard.
    async fn add(&self, account: u64) {
        let command = InitAccountCommand {
            account,
            address: format!("a{account}@example.org"),
            ..InitAccountCommand::default()
        };
        self.do_it(Kind::InitAccount(command), None).await;
    }
}

/// Three nodes that share all shards, whose feature level has risen to this one.
async fn three(level: u32) -> Vec<Node> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(level).await);
    }
    let endpoints: Vec<String> = nodes.iter().map(|node| node.endpoint.clone()).collect();
    crate::cluster::form(&endpoints, 1).await.unwrap();
    for node in &nodes {
        let ready = tokio::time::timeout(DEADLINE, node.store.ready());
        ready.await.unwrap();
    }
    // A shard without rows has no level.
    nodes[0].add(1_000_000_000).await;
    let end = tokio::time::Instant::now() + DEADLINE;
    let risen = |node: &Node| node.store.cluster().level(SHARD) == level;
    while !nodes.iter().all(risen) {
        assert!(tokio::time::Instant::now() < end, "the level does not rise");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nodes
}

/// The nodes that are said to differ.
fn odd(compared: &CompareResponse) -> Vec<u64> {
    let odd = compared.replicas.iter().filter(|replica| replica.differs);
    odd.map(|replica| replica.node).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_and_one_that_was_tampered_with_is_named() {
    let mut nodes = three(2).await;
    for account in 1..4 {
        nodes[0].add(account).await;
    }
    let chunk = UploadChunkCommand {
        upload_id: "u".into(),
        number: 0,
    };
    let octets = Bytes::from(vec![b'x'; 5000]);
    nodes[0].do_it(Kind::UploadChunk(chunk), Some(octets)).await;
    for node in &nodes {
        for shard in [ShardId::CONTROL, SHARD] {
            let compared = node.compare(shard).await;
            assert!(compared.agree, "{compared:#?}");
            assert_eq!(compared.replicas.len(), 3);
        }
    }
    let compared = nodes[0].compare(SHARD).await;
    let counted = compared.replicas[0].checksum.clone().unwrap();
    assert_eq!(counted.body_count, 1);
    assert!(counted.row_count >= 3, "{counted:?}");

    // A row that the others do not have, and which goes again.
    let extra = || nodes[1].key(SHARD).u8(200);
    nodes[1].write(Family::Dedupe, extra(), b"");
    let compared = nodes[2].compare(SHARD).await;
    assert!(!compared.agree);
    assert_eq!(odd(&compared), [nodes[1].id()]);
    nodes[1].delete(Family::Dedupe, extra());
    assert!(nodes[2].compare(SHARD).await.agree);

    // Octets of a letter.
    let tampered = &nodes[2];
    let bodies = KeyRange::prefix(tampered.key(SHARD));
    let body = tampered
        .db()
        .first(Family::Bodies, bodies)
        .unwrap()
        .unwrap();
    let mut octets = body.value.to_vec();
    octets[77] ^= 1;
    let key = || Key::new().bytes(&body.key);
    tampered.write(Family::Bodies, key(), &octets);
    let compared = nodes[0].compare(SHARD).await;
    assert_eq!(odd(&compared), [tampered.id()]);
    tampered.delete(Family::Bodies, key());
    let compared = nodes[0].compare(SHARD).await;
    assert_eq!(odd(&compared), [tampered.id()]);
    tampered.write(Family::Bodies, key(), &body.value);
    assert!(nodes[0].compare(SHARD).await.agree);

    // One that cannot be asked.
    let gone = nodes.pop().unwrap();
    let id = gone.id();
    gone.store.shutdown(Duration::from_secs(5)).await;
    gone.serving.abort();
    let end = tokio::time::Instant::now() + DEADLINE;
    let compared = loop {
        let request = CompareRequest {
            shard: 1,
            patience_ms: 5000,
        };
        match nodes[0].client.clone().compare(request).await {
            Ok(compared) => break compared.into_inner(),
            // It led, or was thought to.
            Err(status) => assert!(tokio::time::Instant::now() < end, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(!compared.agree);
    for replica in compared.replicas {
        assert_eq!(replica.problem.is_empty(), replica.node != id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_meet_at_a_mark_while_they_are_written_to() {
    compare_under_load(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_an_old_level_meet_without_a_mark_while_they_are_written_to() {
    compare_under_load(1).await;
}

async fn compare_under_load(level: u32) {
    let nodes = three(level).await;
    let stop = AtomicBool::new(false);
    let (writer, stop) = (&nodes[0], &stop);
    let write = |worker: u64| async move {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            written += 1;
            writer.add(worker * 1_000_000 + written).await;
        }
        written
    };
    let compare = async {
        let mut last = 0;
        for node in nodes.iter().cycle().take(10) {
            let compared = node.compare(SHARD).await;
            assert!(compared.agree, "{compared:#?}");
            assert!(compared.index > last, "the log goes on");
            last = compared.index;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let writers = futures::future::join_all((1..9).map(write));
    let ((), written) = tokio::join!(compare, writers);
    assert!(written.iter().sum::<u64>() > 10, "{written:?}");
}

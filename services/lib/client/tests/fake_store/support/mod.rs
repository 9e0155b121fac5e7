//! A stand-in for store nodes whose answers a test scripts: what is tested is the client, so the
//! store must be able to fail in exactly the way that the test says. The real store is tested
//! against the real client in the end-to-end tests.

mod services;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use postino_client::{Channels, StoreClient, StoreClientConfig};
use postino_config::GrpcConfig;
use postino_net::{Listeners, Shutdown, serve_grpc};
use postino_proto::store::v1::{Credential, LookupResponse, Topology};
use postino_types::{QueueId, ShardId};
use tonic::Status;
use tonic::service::Routes;

/// How a node answers one call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// As it should.
    Serve,
    /// With this status, before it reads the request's stream.
    Refuse(Status),
    /// With this status, after it has read the request's stream.
    ReadThenRefuse(Status),
    /// Never.
    Hang,
}

/// What happened on a node.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Names of calls, in order.
    pub(crate) calls: Vec<&'static str>,
    /// For each stream that was read to its end: its octets, and whether a finish came.
    pub(crate) uploads: Vec<(Vec<u8>, bool)>,
}

#[derive(Default)]
struct State {
    script: HashMap<&'static str, VecDeque<Act>>,
    log: Log,
    topology: Topology,
    directory: HashMap<String, LookupResponse>,
    credential: Option<Credential>,
    /// Whether letters of which somebody asks were accepted.
    accepted: bool,
}

/// One scripted node.
#[derive(Clone, Default)]
pub(crate) struct Node(Arc<Mutex<State>>);

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// The next calls of this name are answered so; later ones are served.
    pub(crate) fn script(&self, call: &'static str, acts: impl IntoIterator<Item = Act>) {
        self.state().script.entry(call).or_default().extend(acts);
    }

    /// Letters of which somebody asks were accepted, or not.
    pub(crate) fn has_accepted(&self, accepted: bool) {
        self.state().accepted = accepted;
    }

    /// What GetTopology answers.
    pub(crate) fn topology(&self, topology: Topology) {
        self.state().topology = topology;
    }

    /// What Lookup answers for an address.
    pub(crate) fn directory(&self, address: &str, answer: LookupResponse) {
        self.state().directory.insert(address.to_owned(), answer);
    }

    /// What GetCredential answers.
    pub(crate) fn credential(&self, credential: Credential) {
        self.state().credential = Some(credential);
    }

    /// How often a call came.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.state()
            .log
            .calls
            .iter()
            .filter(|name| **name == call)
            .count()
    }

    /// The streams read so far.
    pub(crate) fn uploads(&self) -> Vec<(Vec<u8>, bool)> {
        self.state().log.uploads.clone()
    }

    async fn act(&self, call: &'static str) -> Result<(), Status> {
        match self.next(call) {
            Act::Serve => Ok(()),
            Act::Refuse(status) | Act::ReadThenRefuse(status) => Err(status),
            Act::Hang => std::future::pending().await,
        }
    }

    fn next(&self, call: &'static str) -> Act {
        let mut state = self.state();
        state.log.calls.push(call);
        let script = state.script.get_mut(call).and_then(VecDeque::pop_front);
        script.unwrap_or(Act::Serve)
    }

    pub(crate) fn routes(&self) -> Routes {
        services::routes(self)
    }

    /// Serves on a port of its own until the test ends.
    pub(crate) async fn start(&self) -> String {
        let mut listeners = Listeners::new();
        let any = "127.0.0.1:0".parse().expect("an address");
        let address = listeners.bind("grpc", any).expect("bound");
        let (listener, routes) = (listeners.take("grpc").expect("bound"), self.routes());
        tokio::spawn(async move {
            let shutdown = Shutdown::new(Duration::ZERO);
            serve_grpc(listener, routes, &GrpcConfig::default(), shutdown).await
        });
        format!("http://{address}")
    }
}

/// An endpoint where nobody listens.
pub(crate) fn closed_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// A client with short deadlines.
pub(crate) fn client(endpoints: &[&str]) -> StoreClient {
    let config = StoreClientConfig {
        endpoints: endpoints
            .iter()
            .map(|endpoint| (*endpoint).to_owned())
            .collect(),
        call_timeout: postino_config::Duration::secs(20),
        attempt_timeout: postino_config::Duration::secs(1),
        watch_timeout: postino_config::Duration::millis(200),
        replay_limit: postino_config::ByteSize::kib(4),
        ..StoreClientConfig::default()
    };
    StoreClient::new(config, Channels::new(GrpcConfig::default()))
}

pub(crate) fn queue_id() -> QueueId {
    QueueId::mint(ShardId::new(1), 1, 2).expect("fits")
}

/// `size` octets in chunks of 1 KiB.
pub(crate) fn chunks(size: usize) -> Vec<Bytes> {
    let octets: Vec<u8> = (0..size)
        .map(|place| u8::try_from(place % 251).expect("small"))
        .collect();
    octets.chunks(1024).map(Bytes::copy_from_slice).collect()
}

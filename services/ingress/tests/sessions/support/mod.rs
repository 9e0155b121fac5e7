//! A scripted node in place of store and routing: what is tested is ingress, so they must be able
//! to fail in exactly the way that a test says. The real ones stand behind ingress in the
//! end-to-end tests.

mod services;
mod talk;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postino_client::credential::{Authenticator, Checker, Params, make};
use postino_client::{
    Channels, DirectoryCache, RoutingClient, RoutingClientConfig, StoreClient, StoreClientConfig,
};
use postino_config::{Argon2Params, AuthConfig, ByteSize, GrpcConfig, PlaintextPolicy, TlsConfig};
use postino_ingress::{Clients, IngressConfig, IngressListeners, Surroundings};
use postino_net::{Listeners, NetConfig, Shutdown, TlsAcceptor, serve_grpc};
use postino_proto::mail::v1::{LocalTarget, Recipient};
use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{
    AcceptFinish, AccountEntry, AccountState, Credential, LookupResponse, ShardLeader, Topology,
};
use postino_telemetry::Registry;
use postino_types::Secret;
use tonic::Status;

pub(crate) use talk::{Talk, plain};

/// How the store answers one Accept.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// With this status, before it reads the letter.
    Refuse(Status),
    /// With this status, after it has read (and maybe kept) the letter.
    ReadThenRefuse(Status),
}

/// A letter that the store was given.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) queue_id: String,
    pub(crate) body: Vec<u8>,
    pub(crate) chunks: usize,
    pub(crate) finish: AcceptFinish,
}

impl Accepted {
    /// The accepted message.
    pub(crate) fn message(&self) -> String {
        let octets = [&self.finish.prefix[..], &self.body].concat();
        String::from_utf8(octets).expect("ASCII")
    }
}

#[derive(Default)]
struct State {
    accepts: VecDeque<Act>,
    letters: Vec<Accepted>,
    endpoint: String,
    credential: Option<Credential>,
    recipients: HashMap<String, Recipient>,
}

/// The scripted node.
#[derive(Clone, Default)]
pub(crate) struct Node(Arc<Mutex<State>>);

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// How the next letters are answered; later ones are taken.
    pub(crate) fn accepts(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().accepts.extend(acts);
    }

    /// Every letter that came whole, taken or not.
    pub(crate) fn letters(&self) -> Vec<Accepted> {
        self.state().letters.clone()
    }

    /// A recipient that is a local account's.
    pub(crate) fn local(&self, recipient: &str, account: u64, shard: u32) {
        let target = Recipient {
            address: format!("account{account}@example.org"),
            original: recipient.to_owned(),
            local: Some(LocalTarget { account, shard }),
            ..Recipient::default()
        };
        self.state().recipients.insert(recipient.to_owned(), target);
    }

    fn topology(&self) -> Topology {
        let endpoint = self.state().endpoint.clone();
        let leader = |shard| ShardLeader {
            shard,
            term: 1,
            endpoint: endpoint.clone(),
        };
        Topology {
            mail_shards: 4,
            leaders: (0..=4).map(leader).collect(),
            endpoints: vec![endpoint.clone()],
            ..Topology::default()
        }
    }

    fn lookup(&self, address: &str) -> LookupResponse {
        let entry = AccountEntry {
            account: 7,
            shard: 3,
            address: "alice@example.org".to_owned(),
            state: AccountState::Active.into(),
            moving: None,
        };
        LookupResponse {
            domain_is_local: true,
            entry: (address == "alice@example.org").then_some(Entry::Account(entry)),
        }
    }
}

/// Ingress on free ports, and the node behind it.
pub(crate) struct Ingress {
    pub(crate) node: Node,
    pub(crate) smtp: std::net::SocketAddr,
    pub(crate) submission: std::net::SocketAddr,
    pub(crate) submissions: std::net::SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: tokio::task::JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl Ingress {
    pub(crate) async fn start() -> Self {
        Self::with(IngressConfig::default(), PlaintextPolicy::Never).await
    }

    pub(crate) async fn with(config: IngressConfig, plaintext: PlaintextPolicy) -> Self {
        let node = Node::default();
        let mut listeners = Listeners::new();
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut bind = |name| listeners.bind(name, any).expect("bound");
        let grpc = bind("grpc");
        let (smtp, submission, submissions) =
            (bind("smtp"), bind("submission"), bind("submissions"));
        let endpoint = format!("http://{grpc}");
        node.state().endpoint.clone_from(&endpoint);
        let (listener, routes) = (
            listeners.take("grpc").expect("bound"),
            services::routes(&node),
        );
        tokio::spawn(async move {
            let shutdown = Shutdown::new(Duration::ZERO);
            serve_grpc(listener, routes, &GrpcConfig::default(), shutdown).await
        });
        let data = tempfile::tempdir().expect("a directory");
        let handshake = Duration::from_secs(10);
        let tls = TlsAcceptor::load(
            &TlsConfig::default(),
            data.path(),
            "mx.example.org",
            handshake,
        );
        let surroundings = Surroundings {
            hostname: "mx.example.org".parse().expect("valid"),
            net: NetConfig::default(),
            plaintext,
            tls: Some(tls.expect("made")),
            registry: Registry::new(),
        };
        let clients = clients(&node, endpoint);
        let shutdown = Shutdown::new(Duration::from_secs(10));
        let listeners = IngressListeners::take(&mut listeners);
        let service =
            postino_ingress::run(config, listeners, clients, surroundings, shutdown.clone());
        Self {
            node,
            smtp,
            submission,
            submissions,
            shutdown,
            running: tokio::spawn(service),
            _data: data,
        }
    }
}

/// Clients with short deadlines.
fn clients(node: &Node, endpoint: String) -> Clients {
    let channels = Channels::new(GrpcConfig::default());
    let store = StoreClientConfig {
        endpoints: vec![endpoint.clone()],
        call_timeout: postino_config::Duration::millis(600),
        attempt_timeout: postino_config::Duration::millis(300),
        ..StoreClientConfig::default()
    };
    let store = StoreClient::new(store, channels.clone());
    let routing = RoutingClientConfig {
        endpoints: vec![endpoint],
        call_timeout: postino_config::Duration::secs(1),
        ..RoutingClientConfig::default()
    };
    let argon2 = Argon2Params {
        memory: ByteSize::kib(64),
        passes: 1,
        lanes: 1,
    };
    let auth = AuthConfig {
        argon2,
        ..AuthConfig::default()
    };
    let made = make(&Secret::new("postino-dev"), &Params::new(&auth)).expect("made");
    node.state().credential = Some(Credential { epoch: 1, ..made });
    let checker = Checker::new(&auth).expect("made");
    Clients {
        authenticator: Authenticator::new(DirectoryCache::new(store.clone()), checker),
        routing: RoutingClient::new(routing, channels),
        store,
    }
}

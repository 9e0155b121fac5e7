//! Stores in this process, each on a directory and a port of its own, as one cluster.

use std::iter::repeat_with;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures::future::join_all;
use postino_client::{AdminClient, Channels, StoreClient, StoreClientConfig};
use postino_config::{AuthConfig, GrpcConfig};
use postino_proto::admin::v1::{AddAccountRequest, AddAccountResponse, AddDomainRequest};
use postino_proto::store::v1::Credential;
use postino_store::cluster::form;
use postino_store::{Store, StoreConfig};
use postino_types::{QueueId, ShardId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an orderly stop may take; what is measured is over by then.
const STOP: Duration = Duration::from_millis(200);

/// Where all accounts are.
const DOMAIN: &str = "example.org";

/// The stores of a cluster, on a runtime that ends with them.
pub(crate) struct Nodes {
    stores: Vec<Store>,
    endpoints: Vec<String>,
    channels: Channels,
    runtime: Runtime,
}

impl Nodes {
    /// Starts `replicas` stores below `directory`; empty ones become a cluster.
    pub(crate) fn start(directory: &Path, replicas: u32, config: &StoreConfig) -> Result<Self> {
        let runtime = Runtime::new()?;
        let channels = Channels::new(GrpcConfig::default());
        let (mut stores, mut endpoints) = (Vec::new(), Vec::new());
        for replica in 0..replicas {
            let directory = directory.join(format!("store-{replica}"));
            std::fs::create_dir_all(&directory)?;
            let started = serve(&directory, config, &channels);
            let (store, endpoint) = runtime.block_on(started)?;
            stores.push(store);
            endpoints.push(endpoint);
        }
        let nodes = Self {
            stores,
            endpoints,
            channels,
            runtime,
        };
        nodes.runtime.block_on(nodes.form())?;
        Ok(nodes)
    }

    async fn form(&self) -> Result<()> {
        form(&self.endpoints, 0).await?;
        let ready = join_all(self.stores.iter().map(Store::ready));
        tokio::time::timeout(PATIENCE, ready)
            .await
            .context("not all shards have a leader")?;
        Ok(())
    }

    pub(crate) fn stores(&self) -> &[Store] {
        &self.stores
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A client of these stores.
    pub(crate) fn client(&self) -> StoreClient {
        let config = StoreClientConfig {
            endpoints: self.endpoints.clone(),
            ..StoreClientConfig::default()
        };
        StoreClient::new(config, self.channels.clone())
    }

    /// An administrator of these stores.
    pub(crate) fn admin(&self) -> Admin {
        let endpoints = self.endpoints.clone();
        Admin(AdminClient::new(endpoints, self.channels.clone(), PATIENCE))
    }

    /// How often the logs of all stores were synced.
    pub(crate) fn syncs(&self) -> f64 {
        let counts = self.stores.iter().map(|store| store.statistics().0.syncs);
        counts.sum::<u64>() as f64
    }

    /// Stops them, and waits until their databases are closed.
    pub(crate) fn stop(self) {
        let Self {
            stores, runtime, ..
        } = self;
        runtime.block_on(join_all(stores.iter().map(|store| store.shutdown(STOP))));
        drop(stores);
        runtime.shutdown_timeout(PATIENCE);
    }
}

/// An id for a new letter on a shard.
pub(crate) fn mint(shard: ShardId) -> Result<QueueId> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let id = QueueId::mint(shard, u64::try_from(now.as_millis())?, fastrand::u64(..));
    id.context("a shard that letters can name")
}

async fn serve(
    directory: &Path,
    config: &StoreConfig,
    channels: &Channels,
) -> Result<(Store, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let config = config.clone();
    let store = Store::start(config, directory, endpoint.clone(), channels.clone()).await?;
    let routes = store.routes(&AuthConfig::default(), channels.max_message());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .add_routes(routes)
        .serve_with_incoming(incoming);
    tokio::spawn(serving);
    Ok((store, endpoint))
}

/// Makes accounts.
pub(crate) struct Admin(AdminClient);

impl Admin {
    pub(crate) async fn add_domain(&self) -> Result<()> {
        let domain = DOMAIN.to_owned();
        self.0.add_domain(AddDomainRequest { domain }).await?;
        Ok(())
    }

    /// Adds an account with a credential of the usual size, that nobody can log in with.
    pub(crate) async fn add_account(&self, number: usize) -> Result<AddAccountResponse> {
        let mut random = [0; 80];
        fastrand::fill(&mut random);
        let (salt, keys) = random.split_at(16);
        let (stored, server) = keys.split_at(32);
        // A salt and a hash, as long as they are in base64.
        let hash: String = repeat_with(fastrand::alphanumeric).take(66).collect();
        let credential = Credential {
            password_hash: format!("$argon2id$v=19$m=19456,t=2,p=1${hash}"),
            has_scram: true,
            scram_salt: salt.to_vec().into(),
            scram_iterations: 4096,
            scram_stored_key: stored.to_vec().into(),
            scram_server_key: server.to_vec().into(),
            ..Credential::default()
        };
        let request = AddAccountRequest {
            address: format!("user{number}@{DOMAIN}"),
            credential: Some(credential),
        };
        Ok(self.0.add_account(request).await?)
    }
}

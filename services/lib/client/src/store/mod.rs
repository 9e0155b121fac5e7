//! The client of the replicated store.

mod directory;
mod homes;
mod mailbox;
mod settings;
mod spool;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::Stream;
use postino_proto::store::v1::directory_client::DirectoryClient;
use postino_proto::store::v1::{GetTopologyRequest, Topology};
use postino_types::{QueueId, ShardId};
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::retry::{Backoff, Repeat, Verdict, judge};
use crate::topology::View;
use crate::{CallError, Channel, Channels};

use homes::Homes;
pub(crate) use homes::{MOVES, Place};
pub use settings::StoreClientConfig;

/// Octets of a message as they come; it ends after an error.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>;

/// How often an overloaded leader is asked again before its answer is handed on.
const BUSY_ATTEMPTS: u32 = 3;
/// How long one node may take to tell the topology.
const TOPOLOGY_TIMEOUT: Duration = Duration::from_secs(2);

/// The store, whatever node leads what. Cheap to clone; clones share what they know.
///
/// Each call goes to the leader of its shard and follows it when it changes. A call that failed is
/// made again until its deadline if that is safe: if the failure proves that nothing was submitted,
/// or if the call does the same twice as once (reads; Accept, Deliver, Append and Settle, which the
/// store knows by their ids). Everything else that may have been done ends in
/// [`CallError::Unknown`].
#[derive(Clone)]
pub struct StoreClient(Arc<Inner>);

struct Inner {
    config: StoreClientConfig,
    channels: Channels,
    view: Mutex<View>,
    /// Where accounts live that have moved since their users looked them up.
    homes: Homes,
    /// When the view was last refreshed; held while it is, so that one refresh serves all.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
}

/// How long a call may take, and each attempt of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) call: Duration,
    pub(crate) attempt: Duration,
    /// Whether a call waits until an account that is moving is where it moves to; or is handed back
    /// to somebody who has other work meanwhile.
    pub(crate) waits_for_moves: bool,
}

impl StoreClient {
    /// The store behind the endpoints of `config`. Connects when it is first used, within tokio.
    pub fn new(config: StoreClientConfig, channels: Channels) -> Self {
        let view = Mutex::new(View::new(&config.endpoints));
        Self(Arc::new(Inner {
            config,
            channels,
            view,
            homes: Homes::default(),
            refreshed: tokio::sync::Mutex::default(),
        }))
    }

    /// The settings.
    pub fn config(&self) -> &StoreClientConfig {
        &self.0.config
    }

    /// How many mail shards the cluster has: shards 1 to that number. Waits for the first answer.
    pub async fn mail_shards(&self) -> Result<u32, CallError> {
        self.known_view().await.map(|view| view.mail_shards())
    }

    /// An id for a new letter, on the preferred shard if that has a leader, or on another that has
    /// one.
    pub async fn mint_queue_id(&self, preferred: Option<ShardId>) -> Result<QueueId, CallError> {
        let view = self.known_view().await?;
        let mut random = [0; 8];
        // Ids must not repeat across processes: no seeded generator.
        getrandom::fill(&mut random).map_err(|error| CallError::Unavailable(error.to_string()))?;
        let random = u64::from_ne_bytes(random);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let shard = view.choose(preferred, fastrand::u64(..));
        shard
            .and_then(|shard| QueueId::mint(shard, u64::try_from(now).unwrap_or(0), random))
            .ok_or_else(|| CallError::Unavailable("the cluster has no mail shard".to_owned()))
    }

    /// What the cluster looks like, asked now.
    pub async fn topology(&self) -> Result<Topology, CallError> {
        let deadline = Instant::now() + self.0.config.call_timeout.get();
        let mut backoff = Backoff::new();
        loop {
            let error = match self.ask_topology().await {
                Ok(topology) => return Ok(topology),
                Err(error) => error,
            };
            let wait = backoff.wait(fastrand::f64());
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Makes a call on the leader of a shard.
    pub(crate) async fn call<R, A, F>(
        &self,
        shard: ShardId,
        repeat: Repeat,
        limits: Limits,
        attempt: A,
    ) -> Result<R, CallError>
    where
        A: Fn(Channel, Duration) -> F,
        F: Future<Output = Result<R, Status>>,
    {
        let deadline = Instant::now() + limits.call;
        let (mut backoff, mut busy, mut turn) = (Backoff::new(), 0, fastrand::usize(..));
        let mut maybe_done = false;
        self.refresh_if_old().await;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let endpoint = self.endpoint(shard, &mut turn)?;
            let limit = match repeat {
                Repeat::Always => left.min(limits.attempt),
                Repeat::Unsubmitted => left,
            };
            let verdict = match self.attempt(&endpoint, limit, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(verdict) => verdict,
            };
            let (wait, reason) = match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::Moving(fault) if limits.waits_for_moves => {
                    (backoff.wait(fastrand::f64()), fault.message)
                }
                Verdict::Busy(fault) | Verdict::Moving(fault) => {
                    busy += 1;
                    if busy >= BUSY_ATTEMPTS {
                        return Err(fault.into());
                    }
                    (backoff.wait(fastrand::f64()), fault.message)
                }
                Verdict::Elsewhere(Some(leader)) if leader != endpoint => {
                    self.update(|view| view.hint(shard, leader));
                    (
                        backoff.redirect(fastrand::f64()),
                        "the leader changed".to_owned(),
                    )
                }
                Verdict::Elsewhere(_) => {
                    self.update(|view| view.forget(shard, &endpoint));
                    self.refresh().await;
                    (
                        backoff.wait(fastrand::f64()),
                        "the shard has no leader".to_owned(),
                    )
                }
                Verdict::NodeDown(text) => {
                    self.update(|view| view.forget(shard, &endpoint));
                    self.refresh().await;
                    (backoff.wait(fastrand::f64()), text)
                }
                Verdict::Lost(text) if repeat == Repeat::Unsubmitted => {
                    self.update(|view| view.forget(shard, &endpoint));
                    return Err(CallError::Unknown(text));
                }
                Verdict::Lost(text) => {
                    maybe_done = true;
                    self.update(|view| view.forget(shard, &endpoint));
                    self.refresh().await;
                    (backoff.wait(fastrand::f64()), text)
                }
            };
            tracing::debug!(%shard, %endpoint, %reason, "call to the store is made again");
            if Instant::now() + wait >= deadline {
                return Err(match maybe_done {
                    true => CallError::Unknown(reason),
                    false => CallError::Unavailable(reason),
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt<R, A, F>(
        &self,
        endpoint: &str,
        limit: Duration,
        attempt: &A,
    ) -> Result<R, Verdict>
    where
        A: Fn(Channel, Duration) -> F,
        F: Future<Output = Result<R, Status>>,
    {
        let channel = match self.0.channels.get(endpoint) {
            Ok(channel) => channel,
            Err(error) => return Err(Verdict::NodeDown(error.to_string())),
        };
        match timeout(limit, attempt(channel, limit)).await {
            Ok(answer) => answer.map_err(|status| judge(&status)),
            Err(_) => Err(Verdict::Lost("no answer in time".to_owned())),
        }
    }

    /// The leader, if known; otherwise the nodes in turn, each of which may know it.
    fn endpoint(&self, shard: ShardId, turn: &mut usize) -> Result<String, CallError> {
        let view = self.view();
        if let Some(leader) = view.leader(shard) {
            return Ok(leader.to_owned());
        }
        let endpoints = view.endpoints();
        *turn = turn.wrapping_add(1);
        match endpoints.is_empty() {
            true => Err(CallError::Unavailable(
                "no store endpoint is configured".to_owned(),
            )),
            false => Ok(endpoints[*turn % endpoints.len()].clone()),
        }
    }

    /// For the limits of stubs.
    pub(crate) fn max_message(&self) -> usize {
        self.0.channels.max_message()
    }

    pub(crate) fn quick(&self) -> Limits {
        let config = &self.0.config;
        Limits {
            call: config.call_timeout.get(),
            attempt: config.attempt_timeout.get(),
            waits_for_moves: true,
        }
    }

    pub(crate) fn slow(&self) -> Limits {
        let whole = self.0.config.upload_timeout.get();
        Limits {
            call: whole,
            attempt: whole,
            waits_for_moves: false,
        }
    }

    fn view(&self) -> View {
        self.0
            .view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn known_view(&self) -> Result<View, CallError> {
        self.refresh_if_old().await;
        let view = self.view();
        if view.mail_shards() > 0 {
            return Ok(view);
        }
        let topology = self.topology().await?;
        self.update(|view| view.merge(topology));
        Ok(self.view())
    }

    /// Asks for the topology if the view is old: in the background, except for the first time.
    async fn refresh_if_old(&self) {
        let interval = self.0.config.topology_refresh.get();
        let Ok(refreshed) = self.0.refreshed.try_lock() else {
            return;
        };
        match *refreshed {
            Some(at) if at.elapsed() < interval => {}
            Some(_) => {
                drop(refreshed);
                let client = self.clone();
                tokio::spawn(async move { client.refresh().await });
            }
            None => {
                drop(refreshed);
                self.refresh().await;
            }
        }
    }

    /// Asks for the topology, unless that was done a moment ago.
    async fn refresh(&self) {
        const PAUSE: Duration = Duration::from_millis(100);
        let mut refreshed = self.0.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        match self.ask_topology().await {
            Ok(topology) => self.update(|view| view.merge(topology)),
            Err(error) => tracing::debug!(%error, "no topology"),
        }
        *refreshed = Some(Instant::now());
    }

    /// Asks the nodes in turn, from a random one on, until one answers.
    async fn ask_topology(&self) -> Result<Topology, CallError> {
        let endpoints = self.view().endpoints();
        let first = fastrand::usize(..endpoints.len().max(1));
        let mut last = CallError::Unavailable("no store endpoint is configured".to_owned());
        for step in 0..endpoints.len() {
            let endpoint = &endpoints[(first + step) % endpoints.len()];
            let ask = async |channel: Channel, _: Duration| {
                let mut stub = DirectoryClient::new(channel);
                stub.get_topology(GetTopologyRequest {})
                    .await
                    .map(tonic::Response::into_inner)
            };
            match self.attempt(endpoint, TOPOLOGY_TIMEOUT, &ask).await {
                Ok(topology) => return Ok(topology),
                Err(verdict) => last = CallError::Unavailable(format!("{endpoint}: {verdict:?}")),
            }
        }
        Err(last)
    }
}

/// Unary calls of one service: each is made on the leader of its shard.
macro_rules! unary {
    ($stub:ident: $($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty,
        $repeat:ident, $place:expr;)*) => {
        impl StoreClient {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: $request) -> Result<$response, CallError> {
                    let max = self.max_message();
                    self.placed(request, $place, |request, shard| async move {
                        self.call(shard, Repeat::$repeat, self.quick(), |channel, limit| {
                            let request = timed(request.clone(), limit);
                            async move {
                                let mut stub = $stub::new(channel)
                                    .max_decoding_message_size(max)
                                    .max_encoding_message_size(max);
                                stub.$name(request).await.map(tonic::Response::into_inner)
                            }
                        })
                        .await
                    })
                    .await
                }
            )*
        }
    };
}

/// Reads that come as a stream: opening is repeated, the stream is not.
macro_rules! streaming {
    ($stub:ident: $($(#[$doc:meta])* $name:ident($request:ty) -> $item:ty,
        $patience:ident, $place:expr;)*) => {
        impl StoreClient {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: $request) -> Result<Items<$item>, CallError> {
                    let max = self.max_message();
                    let patience = self.config().$patience.get();
                    self.placed(request, $place, |request, shard| async move {
                        self.call(shard, Repeat::Always, self.quick(), |channel, _| {
                            // No deadline of its own: that would be one for the whole stream.
                            let request = request.clone();
                            async move {
                                let mut stub = $stub::new(channel)
                                    .max_decoding_message_size(max)
                                    .max_encoding_message_size(max);
                                let stream = stub.$name(request).await?.into_inner();
                                Ok(Items::new(stream, patience))
                            }
                        })
                        .await
                    })
                    .await
                }
            )*
        }
    };
}
use {streaming, unary};

/// A request that tells the server how long it will be waited for.
fn timed<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

/// The shard that a queue-id names.
fn shard_of(queue_id: &str) -> Result<ShardId, CallError> {
    match queue_id.parse::<QueueId>() {
        Ok(queue_id) => Ok(queue_id.shard()),
        Err(error) => Err(CallError::invalid(error.to_string())),
    }
}

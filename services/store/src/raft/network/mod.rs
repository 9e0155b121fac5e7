//! Between the nodes: one stream per peer and direction, for all shards.
//!
//! The node that has something to ask opens a stream to the peer (`link`) and
//! says hello; the peer (`service`) refuses one that names another cluster or
//! another node. Requests carry a number that their answers repeat. What waits
//! for a peer leaves in one frame (`frame`), so the heartbeats of many shards are
//! one message. A `snapshot` goes over a connection of its own, at the pace that the node
//! allows for all of them (`pacer`). openraft sees a `client` per shard and peer.

mod client;
mod frame;
mod link;
pub(super) mod message;
mod pacer;
mod service;
mod snapshot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::raft_client::RaftClient;
use postino_types::NodeId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

pub(crate) use client::Factory;
use link::Link;
pub(crate) use pacer::Pacer;
pub use service::RaftService;
#[cfg(test)]
pub(in crate::raft) use service::answer;

use super::address::AddressBook;
use super::settings::RaftSettings;
use super::shipments::Shipments;
use crate::identity::{ClusterId, Identity};

/// Raised when a peer could misread us.
const PROTOCOL: u32 = 1;

/// Bytes that a frame may have; an entry alone may be as large as a proposal, and
/// a proposal that large must still pass.
const FRAME_LIMIT: usize = 64 << 20;

/// This node's side of all connections.
pub(crate) struct Network {
    cluster: ClusterId,
    node: NodeId,
    endpoint: String,
    settings: Arc<RaftSettings>,
    addresses: Arc<AddressBook>,
    links: Mutex<HashMap<NodeId, Arc<Link>>>,
    /// Of which a snapshot that is sent takes one.
    sending: Semaphore,
    pacer: Pacer,
    shipments: Arc<Shipments>,
    closed: CancellationToken,
}

impl Network {
    pub(crate) fn new(
        identity: &Identity,
        endpoint: String,
        settings: Arc<RaftSettings>,
        addresses: Arc<AddressBook>,
    ) -> Self {
        Self {
            cluster: identity.cluster,
            node: identity.node,
            endpoint,
            sending: Semaphore::new(settings.snapshots_at_once),
            pacer: Pacer::new(settings.snapshot_rate),
            shipments: Arc::default(),
            settings,
            addresses,
            links: Mutex::default(),
            closed: CancellationToken::new(),
        }
    }

    /// The link to a peer, which is made at the first call and then kept up.
    fn link(self: &Arc<Self>, peer: NodeId, recorded: &str) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(peer).or_insert_with(|| {
            let link = Arc::new(Link::new(peer, recorded.to_owned(), &self.settings));
            tokio::spawn(link::keep_up(Arc::clone(self), Arc::clone(&link)));
            link
        });
        link.record(recorded);
        Arc::clone(link)
    }

    /// The snapshots that this node is sending.
    pub(crate) fn shipments(&self) -> Arc<Shipments> {
        Arc::clone(&self.shipments)
    }

    /// Takes down whether a peer's disk is full.
    fn heard_of_disk(&self, peer: NodeId, full: bool) {
        self.addresses.announce_disk(peer, full);
    }

    /// Takes down where a peer says it is; its link, if it waits, tries at once.
    fn announced(&self, peer: NodeId, endpoint: &str) {
        if self.addresses.announce(peer, endpoint) {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(link) = links.get(&peer) {
                link.wake();
            }
        }
    }

    /// Cancelled once every connection is to end.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// How this node says hello to another.
    fn hello(&self, to: NodeId) -> proto::Hello {
        proto::Hello {
            protocol: PROTOCOL,
            cluster_id: self.cluster.to_bytes(),
            from: self.node.get(),
            to: to.get(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// A new connection to a peer.
    async fn connect(&self, endpoint: String) -> Result<RaftClient<Channel>, tonic::Status> {
        let unavailable =
            |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let channel = Endpoint::from_shared(endpoint)
            .map_err(unavailable)?
            .connect_timeout(self.settings.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.settings.keep_alive)
            .keep_alive_timeout(self.settings.keep_alive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .connect()
            .await
            .map_err(unavailable)?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(FRAME_LIMIT)
            .max_encoding_message_size(FRAME_LIMIT))
    }

    /// Ends every connection, in both directions.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}

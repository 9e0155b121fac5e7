//! Between the nodes: one stream per peer and direction, for all shards.
//!
//! The node that has something to ask opens a stream to the peer (`link`) and
//! says hello; the peer (`service`) refuses one that names another cluster or
//! another node. Requests carry a number that their answers repeat. What waits
//! for a peer leaves in one frame (`frame`), so the heartbeats of many shards are
//! one message. openraft sees a `client` per shard and peer.

mod client;
mod frame;
mod link;
mod message;
mod service;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postino_types::NodeId;
use tokio_util::sync::CancellationToken;

pub(crate) use client::Factory;
use link::Link;
pub use service::RaftService;

use super::address::AddressBook;
use super::settings::RaftSettings;
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

    /// Takes down where a peer says it is; its link, if it waits, tries at once.
    fn announced(&self, peer: NodeId, endpoint: &str) {
        if self.addresses.announce(peer, endpoint) {
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(link) = links.get(&peer) {
                link.wake();
            }
        }
    }

    /// Ends every connection, in both directions.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}

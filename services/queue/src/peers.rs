//! Who works the queue: this process tells the control group that it lives, and learns of others.

use std::sync::Arc;

use postino_proto::store::v1::{AnnounceRequest, Peer};
use tokio::sync::watch;

use crate::config::QueueConfig;
use crate::ports::Store;
use crate::rendezvous;

/// The role under which queue processes announce themselves.
const ROLE: &str = "queue";

/// This process among its peers.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique per start of a process: a process that comes back is somebody else, so a lease of
    /// its former life is never taken for its own.
    pub instance: Arc<str>,
    /// Where its gRPC answers; empty if nobody can reach it.
    pub endpoint: String,
}

impl Identity {
    fn announcement(&self, ttl_ms: u64) -> AnnounceRequest {
        AnnounceRequest {
            role: ROLE.to_owned(),
            instance: self.instance.to_string(),
            endpoint: self.endpoint.clone(),
            ttl_ms,
        }
    }
}

/// The live queue processes, this one always included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    own: Arc<str>,
    source: Source,
    instances: Vec<String>,
    endpoints: Vec<(String, String)>,
}

/// How the peers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nobody was asked yet.
    Assumed,
    /// The control group has named them.
    Told,
}

/// Who works a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteOwner {
    /// This process.
    Here,
    /// Another one, at this endpoint.
    There(String),
}

impl Peers {
    /// Only this process.
    pub fn alone(identity: &Identity) -> Self {
        Self {
            source: Source::Assumed,
            ..Self::of(identity, Vec::new())
        }
    }

    /// Whether the control group has named the peers, be it none.
    pub fn is_told(&self) -> bool {
        self.source == Source::Told
    }

    /// This process and those that the control group names.
    pub fn of(identity: &Identity, peers: Vec<Peer>) -> Self {
        let own = Arc::clone(&identity.instance);
        let mut endpoints: Vec<(String, String)> = peers
            .into_iter()
            .filter(|peer| peer.role == ROLE && *peer.instance != *own)
            .map(|peer| (peer.instance, peer.endpoint))
            .collect();
        endpoints.sort();
        endpoints.dedup_by(|a, b| a.0 == b.0);
        let mut instances: Vec<String> = endpoints.iter().map(|(name, _)| name.clone()).collect();
        instances.push(own.to_string());
        Self {
            own,
            source: Source::Told,
            instances,
            endpoints,
        }
    }

    /// Whether a shard is this process's to work, as far as hashing suggests.
    pub fn suggests_shard(&self, shard: u32) -> bool {
        let owner = rendezvous::owner(&rendezvous::shard_key(shard), &self.instances);
        owner.is_none_or(|owner| **owner == *self.own)
    }

    /// Who works a site. Processes that nobody can reach are passed over.
    pub fn site_owner(&self, site: &str) -> SiteOwner {
        let reachable = |name: &&String| {
            ***name == *self.own
                || self
                    .endpoints
                    .iter()
                    .any(|(n, endpoint)| n == *name && !endpoint.is_empty())
        };
        let reachable: Vec<&String> = self.instances.iter().filter(reachable).collect();
        let owner = rendezvous::owner(&rendezvous::site_key(site), &reachable);
        let endpoint =
            owner.and_then(|owner| self.endpoints.iter().find(|(name, _)| name == *owner));
        match endpoint {
            Some((_, endpoint)) => SiteOwner::There(endpoint.clone()),
            None => SiteOwner::Here,
        }
    }
}

/// Announces this process until it is dropped, and publishes its peers. While the control group
/// does not answer, the last view stays.
pub async fn announce(
    store: Arc<dyn Store>,
    identity: Identity,
    config: QueueConfig,
    view: watch::Sender<Peers>,
) {
    let request = identity.announcement(config.announce_ttl.as_millis());
    loop {
        match store.announce(request.clone()).await {
            Ok(peers) => {
                let peers = Peers::of(&identity, peers);
                view.send_if_modified(|old| {
                    let changed = *old != peers;
                    *old = peers;
                    changed
                });
            }
            Err(error) => tracing::debug!(%error, "the control group does not answer"),
        }
        tokio::time::sleep(config.announce_interval.get()).await;
    }
}

/// Says that this process goes, so that its peers take its shards without waiting for its
/// announcement to run out. If nobody hears it, that still happens.
pub async fn leave(store: &dyn Store, identity: &Identity) {
    if let Err(error) = store.announce(identity.announcement(0)).await {
        tracing::debug!(%error, "the control group does not answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            instance: name.into(),
            endpoint: format!("http://{name}"),
        }
    }

    fn peer(name: &str, role: &str, endpoint: &str) -> Peer {
        Peer {
            role: role.into(),
            instance: name.into(),
            endpoint: endpoint.into(),
        }
    }

    #[test]
    fn peers_agree_on_who_works_what() {
        let all = ["a", "b", "c"].map(|name| peer(name, "queue", &format!("http://{name}")));
        let views = ["a", "b", "c"].map(|name| Peers::of(&identity(name), all.to_vec()));
        for shard in 1..100 {
            assert_eq!(
                views.iter().filter(|v| v.suggests_shard(shard)).count(),
                1,
                "{shard}"
            );
            let site = format!("mx{shard}.example");
            let here = views
                .iter()
                .filter(|v| v.site_owner(&site) == SiteOwner::Here)
                .count();
            assert_eq!(here, 1, "{site}");
        }
    }

    #[test]
    fn alone_everything_is_ours() {
        let me = identity("me");
        let others = vec![peer("x", "ingress", "http://x"), peer("y", "queue", "")];
        for view in [Peers::alone(&me), Peers::of(&me, others[..1].to_vec())] {
            assert!((1..50).all(|shard| view.suggests_shard(shard)));
        }
        // One that nobody can reach works shards, but no sites for others.
        let view = Peers::of(&me, others);
        assert!(!(1..50).all(|shard| view.suggests_shard(shard)));
        assert!((1..50).all(|n| view.site_owner(&n.to_string()) == SiteOwner::Here));
    }
}

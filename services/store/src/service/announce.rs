//! Which processes live, as they say themselves: in the memory of the control group's leader.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postino_proto::store::v1::{AnnounceRequest, Peer};
use tokio::time::Instant;

/// The processes that announced themselves, by role and instance.
#[derive(Debug, Default)]
pub(super) struct Announced {
    peers: Mutex<HashMap<(String, String), (String, Instant)>>,
}

/// Longest that an announcement holds, and how many are kept.
const LONGEST: Duration = Duration::from_secs(60);
const MOST: usize = 10_000;

impl Announced {
    /// Notes a process, and returns those that live. A time of 0 takes the process off.
    pub(super) fn announce(&self, request: AnnounceRequest, now: Instant) -> Vec<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, (_, until)| *until > now);
        let until = now + Duration::from_millis(request.ttl_ms).min(LONGEST);
        let key = (request.role, request.instance);
        if request.ttl_ms == 0 {
            peers.remove(&key);
        } else if peers.len() < MOST {
            peers.insert(key, (request.endpoint, until));
        }
        let peer =
            |((role, instance), (endpoint, _)): (&(String, String), &(String, Instant))| Peer {
                role: role.clone(),
                instance: instance.clone(),
                endpoint: endpoint.clone(),
            };
        let mut living: Vec<Peer> = peers.iter().map(peer).collect();
        living.sort_by(|a, b| (&a.role, &a.instance).cmp(&(&b.role, &b.instance)));
        living
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_go_after_their_time() {
        let (announced, now) = (Announced::default(), Instant::now());
        let request = |instance: &str| AnnounceRequest {
            role: "queue".into(),
            instance: instance.into(),
            endpoint: "http://a:1".into(),
            ttl_ms: 1000,
        };
        assert_eq!(announced.announce(request("a"), now).len(), 1);
        let later = now + Duration::from_millis(600);
        assert_eq!(announced.announce(request("b"), later).len(), 2);
        let end = now + Duration::from_millis(1200);
        let left = announced.announce(request("b"), end);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].instance, "b");
        let leaving = AnnounceRequest {
            ttl_ms: 0,
            ..request("b")
        };
        assert!(announced.announce(leaving, end).is_empty());
    }
}

//! A lease as its holder sees it: the holder's own deadline on the monotonic clock, always earlier
//! than the store's, and the signal that ends all work under it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postino_types::{LeaseEpoch, ShardId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a holder trusts its own lease.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What is asked of the store.
    pub ttl: Duration,
    /// How much earlier the holder stops: for its clock's rate and the last reply's way.
    pub margin: Duration,
}

impl Terms {
    /// The holder's own deadline for a grant that was *asked for* at `asked`. The store counts from
    /// when it got the question, which is later.
    pub fn deadline(&self, asked: Instant) -> Instant {
        asked + self.ttl.saturating_sub(self.margin)
    }

    /// When to renew a tenure that ends at `deadline`: with two thirds of its length left for trying
    /// again.
    pub fn renewal(&self, deadline: Instant) -> Instant {
        let length = self.ttl.saturating_sub(self.margin);
        deadline.checked_sub(length * 2 / 3).unwrap_or(deadline)
    }
}

/// How long somebody may work on a shard's letters: until a deadline that moves while the lease is
/// renewed, or until it is lost. Clones share it. An attempt that runs in another process has one of
/// its own, kept up by the lease holder.
#[derive(Debug, Clone)]
pub struct Tenure {
    deadline: Arc<Mutex<Instant>>,
    lost: CancellationToken,
}

impl Tenure {
    /// Until this deadline, at first.
    pub fn until(deadline: Instant, lost: CancellationToken) -> Self {
        Self {
            deadline: Arc::new(Mutex::new(deadline)),
            lost,
        }
    }

    /// The deadline, as of the last renewal.
    pub fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether work may start, and a final dot be sent, at `now`. A process that was stopped and
    /// continued finds out here, before it has heard anything from anyone.
    pub fn holds(&self, now: Instant) -> bool {
        now < self.deadline() && !self.lost.is_cancelled()
    }

    /// Moves the deadline; never back.
    pub fn extend(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = deadline.max(*current);
    }

    /// Ends it: all work under it stops.
    pub fn lose(&self) {
        self.lost.cancel();
    }

    /// Cancelled once it is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

/// A lease that was granted; clones share its fate.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that every write under the lease carries.
    pub epoch: LeaseEpoch,
    /// The holder's name.
    pub holder: Arc<str>,
    /// How long it holds.
    pub tenure: Tenure,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        ttl: Duration::from_secs(10),
        margin: Duration::from_secs(2),
    };

    fn tenure(deadline: Instant) -> Tenure {
        Tenure::until(deadline, CancellationToken::new())
    }

    #[test]
    fn the_holder_stops_before_the_store_does() {
        let asked = Instant::now();
        let tenure = tenure(TERMS.deadline(asked));
        assert!(tenure.holds(asked + Duration::from_millis(7_999)));
        assert!(!tenure.holds(asked + Duration::from_secs(8)));
        let renewal = TERMS.renewal(TERMS.deadline(asked));
        assert!(
            renewal > asked + Duration::from_secs(2) && renewal < asked + Duration::from_secs(3)
        );
    }

    #[test]
    fn a_renewal_moves_the_deadline_for_all_clones_and_never_back() {
        let asked = Instant::now();
        let first = tenure(TERMS.deadline(asked));
        let second = first.clone();
        second.extend(TERMS.deadline(asked + Duration::from_secs(5)));
        assert!(first.holds(asked + Duration::from_secs(12)));
        second.extend(asked);
        assert!(first.holds(asked + Duration::from_secs(12)));
        second.lose();
        assert!(!first.holds(asked));
    }

    #[test]
    fn a_margin_longer_than_the_ttl_holds_nothing() {
        let asked = Instant::now();
        let terms = Terms {
            margin: Duration::from_secs(99),
            ..TERMS
        };
        assert!(!tenure(terms.deadline(asked)).holds(asked));
    }
}

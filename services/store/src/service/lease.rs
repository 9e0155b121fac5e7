//! When leases end: by this node's monotonic clock, while it leads the shard.
//!
//! The row in the shard says who holds the lease and under which epoch. How long it still lasts is
//! kept here, in memory, so that a renewal writes nothing. A new leader does not know of renewals,
//! and gives the holder of record its full time from when it took over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postino_types::ShardId;
use tokio::time::Instant;

use crate::model::spool::LeaseRow;

/// The leases of the shards that this node leads.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<ShardId, Held>>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    /// Of the leadership in which this was noted.
    term: u64,
    epoch: u64,
    until: Instant,
}

impl Leases {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ShardId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the lease of record still lasts; zero if it has ended or there is none. The first
    /// look of a new leader starts its time.
    pub(crate) fn remaining(
        &self,
        shard: ShardId,
        term: u64,
        row: &LeaseRow,
        now: Instant,
    ) -> Duration {
        if row.holder.is_empty() {
            return Duration::ZERO;
        }
        let mut held = self.lock();
        let known = held.get(&shard).copied();
        let until = match known.filter(|held| held.term == term && held.epoch == row.epoch) {
            Some(held) => held.until,
            None => {
                let until = now + Duration::from_millis(row.ttl_ms);
                let epoch = row.epoch;
                held.insert(shard, Held { term, epoch, until });
                until
            }
        };
        until.saturating_duration_since(now)
    }

    /// The holder has shown up: the lease lasts `ttl` from now.
    pub(crate) fn renew(&self, shard: ShardId, term: u64, epoch: u64, ttl: Duration, now: Instant) {
        let until = now + ttl;
        self.lock().insert(shard, Held { term, epoch, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::new(1);

    fn row(holder: &str, epoch: u64) -> LeaseRow {
        LeaseRow {
            holder: holder.into(),
            epoch,
            ttl_ms: 1000,
        }
    }

    #[test]
    fn a_lease_ends_unless_renewed() {
        let (leases, start) = (Leases::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let left =
            |term, row: &LeaseRow, ms| leases.remaining(SHARD, term, row, at(ms)).as_millis();
        assert_eq!(left(1, &row("", 1), 0), 0);
        assert_eq!(left(1, &row("a", 1), 0), 1000);
        assert_eq!(left(1, &row("a", 1), 600), 400);
        leases.renew(SHARD, 1, 1, Duration::from_millis(1000), at(600));
        assert_eq!(left(1, &row("a", 1), 1000), 600);
        assert_eq!(left(1, &row("a", 1), 1700), 0);
    }

    #[test]
    fn a_new_leader_gives_the_holder_its_full_time() {
        let (leases, start) = (Leases::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let left =
            |term, row: &LeaseRow, ms| leases.remaining(SHARD, term, row, at(ms)).as_millis();
        assert_eq!(left(1, &row("a", 1), 0), 1000);
        assert_eq!(left(2, &row("a", 1), 900), 1000);
        assert_eq!(left(2, &row("b", 2), 1000), 1000);
    }
}

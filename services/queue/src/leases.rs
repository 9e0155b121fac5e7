//! Taking shards: for each one, the lease is asked for, kept, and given back.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use postino_proto::store::v1::{AcquireLeaseRequest, ReleaseLeaseRequest, RenewLeaseRequest};
use postino_types::{LeaseEpoch, ShardId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::lease::{Lease, Tenure, Terms};
use crate::peers::Peers;
use crate::ports::Store;

/// Works a shard under its lease: until the lease is lost, or `draining` is cancelled and what was
/// begun has ended.
pub(crate) type Work =
    Arc<dyn Fn(Lease, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// Takes the shards that hashing suggests, and works them.
pub(crate) struct Leases {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// This process's name.
    pub(crate) holder: Arc<str>,
    /// How long leases hold.
    pub(crate) terms: Terms,
    /// How often shards are looked for.
    pub(crate) interval: Duration,
    /// Who is there.
    pub(crate) peers: watch::Receiver<Peers>,
    /// What is done under a lease.
    pub(crate) work: Work,
}

impl Leases {
    /// Runs until `draining` is cancelled and every lease is given back.
    pub(crate) async fn run(self, draining: CancellationToken) {
        let shards = loop {
            match self.store.mail_shards().await {
                Ok(shards) => break shards,
                Err(error) => tracing::debug!(%error, "the shards are not known yet"),
            }
            tokio::select! {
                () = draining.cancelled() => return,
                () = sleep(self.interval.min(Duration::from_millis(200))) => {}
            }
        };
        // Who does not know its peers would take their shards, only to give them back.
        let mut peers = self.peers.clone();
        tokio::select! {
            () = draining.cancelled() => return,
            _ = timeout(self.interval * 3, peers.wait_for(Peers::is_told)) => {}
        }
        let this = Arc::new(self);
        let mut shards_at_work = JoinSet::new();
        for shard in shards {
            let keeper = Arc::clone(&this).keep(shard, draining.clone());
            shards_at_work.spawn(postino_telemetry::in_current_role(keeper));
        }
        while shards_at_work.join_next().await.is_some() {}
    }

    /// Takes and works one shard, again and again.
    async fn keep(self: Arc<Self>, shard: u32, draining: CancellationToken) {
        let mut peers = self.peers.clone();
        while !draining.is_cancelled() {
            if !peers.borrow_and_update().suggests_shard(shard) {
                tokio::select! {
                    _ = peers.changed() => {}
                    () = sleep(self.interval) => {}
                    () = draining.cancelled() => {}
                }
                continue;
            }
            match self.acquire(shard).await {
                Ok(lease) => self.hold(lease, &mut peers, &draining).await,
                Err(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = draining.cancelled() => {}
                },
            }
        }
    }

    /// The lease, or how long to wait before asking again.
    async fn acquire(&self, shard: u32) -> Result<Lease, Duration> {
        let asked = Instant::now();
        let ttl_ms = crate::schedule::millis(self.terms.ttl);
        let request = AcquireLeaseRequest {
            shard,
            holder: self.holder.to_string(),
            ttl_ms,
        };
        match self.store.acquire(request).await {
            Ok(granted) if granted.granted => {
                tracing::info!(shard, epoch = granted.lease_epoch, "shard taken");
                Ok(Lease {
                    shard: ShardId::new(shard),
                    epoch: LeaseEpoch::new(granted.lease_epoch),
                    holder: Arc::clone(&self.holder),
                    tenure: Tenure::until(self.terms.deadline(asked), CancellationToken::new()),
                })
            }
            Ok(held) => {
                // It may be given back early; asking costs little.
                let left = Duration::from_millis(held.remaining_ms);
                Err(left.clamp(Duration::from_millis(50), self.interval))
            }
            Err(error) => {
                tracing::debug!(shard, %error, "no answer to the request for a lease");
                Err(self.interval.min(Duration::from_millis(500)))
            }
        }
    }

    /// Works a shard while the lease lasts and is wanted; then gives it back.
    async fn hold(
        &self,
        lease: Lease,
        peers: &mut watch::Receiver<Peers>,
        draining: &CancellationToken,
    ) {
        let leave = draining.child_token();
        let work = (self.work)(lease.clone(), leave.clone());
        let mut work = tokio::spawn(postino_telemetry::in_current_role(work));
        let shard = lease.shard.get();
        let ended = async {
            loop {
                tokio::select! {
                    _ = &mut work => return,
                    () = self.renewed(&lease) => {}
                    Ok(()) = peers.changed() => {
                        if !peers.borrow().suggests_shard(shard) {
                            tracing::info!(shard, "another process is to take the shard");
                            leave.cancel();
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = lost(&lease.tenure) => {}
        }
        if !lease.tenure.holds(Instant::now()) {
            // The memory of a lost shard goes at once; what is under way finds its tenure gone.
            lease.tenure.lose();
            work.abort();
            let _ = work.await;
            tracing::warn!(shard, epoch = lease.epoch.get(), "lease lost");
            return;
        }
        lease.tenure.lose();
        let request = ReleaseLeaseRequest {
            shard,
            holder: self.holder.to_string(),
            lease_epoch: lease.epoch.get(),
        };
        match self.store.release(request).await {
            Ok(()) => tracing::info!(shard, "shard given back"),
            Err(error) => tracing::debug!(shard, %error, "the lease runs out by itself"),
        }
    }

    /// Waits for the time to renew and renews once.
    async fn renewed(&self, lease: &Lease) {
        sleep_until(self.terms.renewal(lease.tenure.deadline())).await;
        let asked = Instant::now();
        let request = RenewLeaseRequest {
            shard: lease.shard.get(),
            holder: self.holder.to_string(),
            lease_epoch: lease.epoch.get(),
            ttl_ms: crate::schedule::millis(self.terms.ttl),
        };
        match self.store.renew(request).await {
            Ok(true) => lease.tenure.extend(self.terms.deadline(asked)),
            Ok(false) => lease.tenure.lose(),
            Err(error) => {
                tracing::debug!(shard = lease.shard.get(), %error, "lease not renewed yet");
                sleep(self.terms.ttl / 20).await;
            }
        }
    }
}

/// Waits until a tenure is over.
async fn lost(tenure: &Tenure) {
    loop {
        let deadline = tenure.deadline();
        tokio::select! {
            () = tenure.lost().cancelled() => return,
            () = sleep_until(deadline) => {
                if !tenure.holds(Instant::now()) {
                    return;
                }
            }
        }
    }
}

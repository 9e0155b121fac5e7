//! Where replicas and leads are, and how they move.
//!
//! Every node reports about once a second to the leader of the control group (`reporter`), and
//! learns in return who leads what: a node that holds no replica of a shard knows it from there.
//! The leader keeps the reports in memory (`reports`) and the nodes, the members of shards and the
//! moves in the control group's rows (`facts`). From both it draws a picture (`picture`), plans the
//! next few steps (`plan`, of `leads` and `replicas`: pure functions), and has them done
//! (`conductor`): leads are given away at once, moves are recorded, so that the next leader goes on
//! with them, and driven to their end (`driver`). The feature levels of shards are raised on the
//! way, once every node supports more (`levels`).
//!
//! What a shard's members are is decided in its own log alone. A move is one exchange of members
//! (`raft/exchange`): learner, caught up, one joint change.

mod conductor;
mod driver;
mod facts;
mod leads;
mod levels;
mod overview;
mod picture;
mod plan;
mod replicas;
mod reporter;
mod reports;
mod service;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

pub(crate) use conductor::conduct;
use facts::Facts;
pub(crate) use reporter::run as report;
use reports::Reports;

/// What a node keeps in memory for placement.
#[derive(Default)]
pub(crate) struct Placement {
    /// What nodes reported to this one, while it leads the control group.
    reports: Reports,
    /// The rows as the conductor last saw them.
    facts: Mutex<Arc<Facts>>,
    /// Something is to be reported before its time.
    report_now: Notify,
    /// Something is to be planned before its time.
    plan_now: Notify,
    /// The latest term in which somebody who led the control group gave orders.
    control_term: AtomicU64,
    /// This node is about to stop: it wants no leads.
    stopping: AtomicBool,
    /// Somebody asked to even out; until that is done.
    rebalancing: AtomicBool,
}

impl Placement {
    /// From now on this node gives its leads away, and wants no more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.report_soon();
    }

    /// Whether an order of this term of the control group is the latest that was heard of: one that
    /// leads no longer may not know it.
    fn is_latest(&self, term: u64) -> bool {
        self.control_term.fetch_max(term, Ordering::Relaxed) <= term
    }

    /// There is news to report.
    pub(crate) fn report_soon(&self) {
        self.report_now.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn rebalance(&self) {
        self.rebalancing.store(true, Ordering::Relaxed);
    }

    fn rebalanced(&self) {
        self.rebalancing.store(false, Ordering::Relaxed);
    }

    fn is_rebalancing(&self) -> bool {
        self.rebalancing.load(Ordering::Relaxed)
    }

    fn remember(&self, facts: Facts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
    }

    fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

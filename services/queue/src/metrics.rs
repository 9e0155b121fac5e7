//! What the queue counts.

use std::time::Duration;

use postino_telemetry::metric::{
    Counter, EncodeLabelSet, Family, Gauge, Histogram, exponential_buckets,
};
use postino_telemetry::{Registry, Role};

use crate::outcome::Outcome;

/// Where recipients of an attempt are, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    to: &'static str,
    outcome: &'static str,
}

/// What became of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Notification {
    outcome: &'static str,
}

/// Where an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Into a local mailbox.
    Local,
    /// To another server.
    Remote,
}

/// Metrics of the queue; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    attempts: Family<Attempt, Counter>,
    notifications: Family<Notification, Counter>,
    commits: Counter,
    settled: Counter,
    /// Shards held.
    pub(crate) shards: Gauge,
    /// Letters waiting in memory.
    pub(crate) waiting: Gauge,
    /// Letters worked on.
    pub(crate) active: Gauge,
    connections: Counter,
    delay: Histogram,
}

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notified {
    /// Spooled.
    Sent,
    /// Not made: the letter was a notification itself.
    NullReversePath,
    /// Not made: its recipient does not exist.
    Undeliverable,
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub(crate) fn new(registry: &Registry) -> Self {
        fn add<M: prometheus_client::registry::Metric + Clone>(
            registry: &Registry,
            name: &str,
            help: &str,
            metric: M,
        ) -> M {
            registry.register(Role::Queue, name, help, metric)
        }
        let delays = || exponential_buckets(0.01, 4.0, 12);
        Self {
            attempts: add(registry, "attempts", "Recipients tried", Family::default()),
            notifications: add(
                registry,
                "notifications",
                "Notifications",
                Family::default(),
            ),
            commits: add(
                registry,
                "settle_commits",
                "Commits of outcomes",
                Counter::default(),
            ),
            settled: add(
                registry,
                "settled_letters",
                "Outcomes recorded",
                Counter::default(),
            ),
            shards: add(registry, "shards", "Shards held", Gauge::default()),
            waiting: add(
                registry,
                "waiting_letters",
                "Letters in memory",
                Gauge::default(),
            ),
            active: add(
                registry,
                "active_letters",
                "Letters worked on",
                Gauge::default(),
            ),
            connections: add(
                registry,
                "connections",
                "SMTP connections made",
                Counter::default(),
            ),
            delay: registry.register(
                Role::Queue,
                "delivery_delay_seconds",
                "From acceptance to delivery",
                Histogram::new(delays()),
            ),
        }
    }

    pub(crate) fn attempted(&self, to: To, outcome: Outcome) {
        let to = match to {
            To::Local => "local",
            To::Remote => "remote",
        };
        let outcome = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Temporary => "temporary",
            Outcome::Permanent => "permanent",
        };
        self.attempts.get_or_create(&Attempt { to, outcome }).inc();
    }

    pub(crate) fn delivered_after(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }

    pub(crate) fn notified(&self, what: Notified) {
        let outcome = match what {
            Notified::Sent => "sent",
            Notified::NullReversePath => "null_reverse_path",
            Notified::Undeliverable => "undeliverable",
        };
        self.notifications
            .get_or_create(&Notification { outcome })
            .inc();
    }

    pub(crate) fn settled(&self, letters: usize) {
        self.commits.inc();
        self.settled.inc_by(letters as u64);
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }
}

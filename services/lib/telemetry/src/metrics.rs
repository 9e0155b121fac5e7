//! Metrics: one registry per process, named `postino_<role>_<thing>_<unit>`.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::registry::Metric;

use crate::Role;

/// The kinds of metrics, and the means to label them.
pub mod metric {
    pub use prometheus_client::collector::Collector;
    pub use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
    pub use prometheus_client::metrics::counter::Counter;
    pub use prometheus_client::metrics::family::Family;
    pub use prometheus_client::metrics::gauge::Gauge;
    pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
}

/// The process's metrics; clones share them.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<prometheus_client::registry::Registry>>);

impl Registry {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric as `postino_<role>_<name>` and gives it back. `name` ends in its unit, such as
    /// `session_duration_seconds`; counters get `_total` appended when they are written.
    pub fn register<M: Metric + Clone>(&self, role: Role, name: &str, help: &str, metric: M) -> M {
        let full = format!("postino_{role}_{name}");
        self.lock().register(full, help, metric.clone());
        metric
    }

    /// Adds metrics that are computed when they are asked for.
    pub fn collector(&self, collector: Box<dyn metric::Collector>) {
        self.lock().register_collector(collector);
    }

    /// The text of `/metrics`, in OpenMetrics format.
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        match text::encode(&mut encoded, &self.lock()) {
            Ok(()) => encoded,
            // Writing to a String does not fail; a collector may.
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                String::new()
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, prometheus_client::registry::Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_under_its_role() {
        let registry = Registry::new();
        let counter: metric::Counter = registry.register(
            Role::Ingress,
            "accepted_messages",
            "Letters",
            Default::default(),
        );
        counter.inc();
        assert!(
            registry
                .encode()
                .contains("postino_ingress_accepted_messages_total 1\n")
        );
    }
}

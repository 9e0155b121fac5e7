//! The store's numbers in `/metrics`, read when they are asked for.

use std::fmt;

use postino_store::Store;
use postino_telemetry::metric::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

pub(crate) struct StoreMetrics(pub(crate) Store);

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreMetrics")
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (log, groups) = self.0.statistics();
        let leading = groups
            .iter()
            .filter(|group| group.leadership.is_leader)
            .count();
        let halted = groups.iter().filter(|group| group.halted.is_some()).count();
        let counters = [
            (
                "postino_store_syncs",
                "Syncs of the write-ahead log",
                log.syncs,
            ),
            (
                "postino_store_sync_microseconds",
                "Time spent in syncs",
                log.sync_micros,
            ),
            (
                "postino_store_synced_writes",
                "Appends and votes made durable",
                log.synced_writes,
            ),
            (
                "postino_store_log_entries",
                "Log entries appended",
                log.entries,
            ),
            (
                "postino_store_log_bytes",
                "Bytes appended to logs",
                log.bytes,
            ),
        ];
        for (name, help, value) in counters {
            encode(&mut encoder, name, help, &ConstCounter::new(value))?;
        }
        let gauges = [
            ("postino_store_groups", "Groups on this node", groups.len()),
            (
                "postino_store_groups_leading",
                "Groups that this node leads",
                leading,
            ),
            (
                "postino_store_groups_halted",
                "Groups that have stopped",
                halted,
            ),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            encode(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

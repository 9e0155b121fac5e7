//! What a cluster costs that has nothing to do.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::report::{Report, rounded};
use super::space;
use crate::Cluster;
use crate::cluster::Node;
use crate::load::cost::processor_time;
use crate::process::resident_memory;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Mail shards.
    pub shards: u32,
    /// How long each measurement takes.
    pub length: Duration,
    /// How long the cluster is left alone before.
    pub settle: Duration,
}

const COLUMNS: [&str; 6] = [
    "running",
    "node",
    "shards",
    "cpu_percent_of_a_core",
    "written_KiB_per_s",
    "resident_MiB",
];

/// Room for data and logs of three stores.
const SPACE: u64 = 4 << 30;

/// Measures and prints: first with every role at rest, then with stores alone.
pub async fn run(plan: Plan) -> Result<()> {
    space::require(&std::env::temp_dir(), SPACE)?;
    let builder = Cluster::builder()
        .stores(3)
        .set("store.shards", plan.shards);
    let cluster = builder.start().await?;
    let nodes = cluster.nodes()?;
    let (stores, others): (Vec<_>, Vec<_>) = nodes
        .iter()
        .partition(|node| node.name.starts_with("store"));
    let mut report = Report::new("idle", &COLUMNS);
    measure(plan, "all roles", &stores, &mut report).await?;
    for other in others.iter().rev() {
        cluster.stop(&other.name).await?;
    }
    measure(plan, "stores alone", &stores, &mut report).await?;
    cluster.down().await?;
    report.print();
    Ok(())
}

async fn measure(plan: Plan, running: &str, stores: &[&Node], report: &mut Report) -> Result<()> {
    // Leads spread, caches fill, logs are flushed: none of it is rest.
    tokio::time::sleep(plan.settle).await;
    let used = || {
        let used = |store: &&Node| anyhow::Ok((processor_time(&[store.pid])?, written(store.pid)?));
        stores.iter().map(used).collect::<Result<Vec<_>>>()
    };
    let (before, begin) = (used()?, Instant::now());
    tokio::time::sleep(plan.length).await;
    let (after, took) = (used()?, begin.elapsed().as_secs_f64());
    for ((store, before), after) in stores.iter().zip(before).zip(after) {
        let cpu = after.0.saturating_sub(before.0).as_secs_f64();
        let bytes = after.1.saturating_sub(before.1) as f64;
        report.row([
            json!(running),
            json!(store.name),
            json!(plan.shards),
            rounded(cpu / took * 100.0),
            rounded(bytes / took / 1024.0),
            rounded(resident_memory(store.pid)? as f64 / f64::from(1 << 20)),
        ]);
    }
    Ok(())
}

/// Bytes that a process has sent to the disk (proc(5), `io`).
fn written(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(number.context("write_bytes")?.parse()?)
}

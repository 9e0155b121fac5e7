//! The store in this process.

use std::time::Duration;

use anyhow::{Context, Result};
use postino_store::{Readiness, Store};

use super::grpc::Grpc;
use super::process::Process;
use super::store_metrics::StoreMetrics;
use super::tiers::Place;

/// How long leaderships may take to move when the process stops.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn start(process: &mut Process, grpc: &mut Grpc) -> Result<()> {
    let endpoint = process
        .endpoint
        .clone()
        .context("a store needs its gRPC port: listen.admin")?;
    let config = process.config.store.clone();
    let store = Store::start(config, &process.data.join("store"), endpoint).await?;
    *grpc = Grpc::from(store.routes());
    process
        .registry
        .collector(Box::new(StoreMetrics(store.clone())));
    let (readiness, shutdown) = (
        process.readiness.clone(),
        process.tiers.shutdown(Place::Base),
    );
    readiness.wait_for("leaders of all shards");
    process.tiers.spawn(Place::Base, "store", async move {
        // Never ends by itself.
        let watch = async {
            loop {
                match store.readiness() {
                    Readiness::Ready => readiness.ready("leaders of all shards"),
                    Readiness::NoCluster | Readiness::NoLeader(_) => {
                        readiness.wait_for("leaders of all shards");
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        shutdown.until_begun(watch).await;
        store.shutdown(HAND_OVER).await;
        anyhow::Ok(())
    });
    Ok(())
}

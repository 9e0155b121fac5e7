//! The store in this process.

use std::time::Duration;

use anyhow::{Context, Result};
use postino_store::{Readiness, Store};

use crate::demo;

use super::grpc::Grpc;
use super::process::Process;
use super::store_metrics::StoreMetrics;
use super::tiers::Place;

/// How long leads that came back meanwhile may take to move when the groups end.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn start(process: &mut Process, grpc: &mut Grpc) -> Result<()> {
    let endpoint = process
        .endpoint
        .clone()
        .context("a store needs its gRPC port: listen.admin")?;
    let config = process.config.store.clone();
    let hand_over = config.hand_over.get();
    let channels = process.channels.clone();
    let max_message = channels.max_message();
    let directory = process.data.path().join("store");
    let store = Store::start(config, &directory, endpoint, channels).await?;
    store.cluster().guard(demo::gate(process.authenticator()?));
    *grpc = Grpc::from(store.routes(&process.config.auth, max_message));
    process
        .registry
        .collector(Box::new(StoreMetrics(store.clone())));
    let (readiness, shutdown) = (
        process.readiness.clone(),
        process.tiers.shutdown(Place::Base),
    );
    readiness.wait_for("leaders of all shards");
    let (leading, leads) = (store.clone(), process.tiers.shutdown(Place::Leads));
    process.tiers.spawn(Place::Leads, "leads", async move {
        leads.begun().await;
        leads.drain(leading.hand_over(hand_over)).await;
        anyhow::Ok(())
    });
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
        store.shutdown(LAST_CHANCE).await;
        anyhow::Ok(())
    });
    Ok(())
}

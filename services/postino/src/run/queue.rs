//! The queue in this process.

use std::sync::Arc;

use anyhow::Result;
use postino_queue::{Clients, DeliveryQueue};

use super::grpc::Grpc;
use super::process::Process;
use super::tiers::Place;

pub(crate) fn start(process: &mut Process, grpc: &mut Grpc) -> Result<()> {
    let clients = Clients {
        store: Arc::new(process.store.clone()),
        routing: Arc::new(process.routing.clone()),
        channels: process.channels.clone(),
    };
    let queue = DeliveryQueue::new(
        process.config.queue.clone(),
        process.hostname.clone(),
        process.endpoint.clone().unwrap_or_default(),
        clients,
        &process.registry,
    )?;
    grpc.add(queue.service().server(process.channels.max_message()));
    let shutdown = process.tiers.shutdown(Place::Queue);
    process.tiers.spawn(Place::Queue, "queue", async move {
        queue.run(shutdown).await;
        anyhow::Ok(())
    });
    Ok(())
}

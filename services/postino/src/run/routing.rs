//! Routing in this process.

use anyhow::Result;

use super::grpc::Grpc;
use super::process::Process;

pub(crate) fn start(process: &mut Process, grpc: &mut Grpc) -> Result<()> {
    let routing = postino_routing::routing(
        &process.config.routing,
        &process.hostname,
        process.directory.clone(),
        &process.registry,
    )?;
    grpc.add(routing.server(process.channels.max_message()));
    Ok(())
}

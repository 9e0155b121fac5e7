//! SMTP in this process.

use anyhow::Result;
use postino_ingress::{Clients, IngressListeners, Surroundings};

use super::process::Process;
use super::tiers::Place;

pub(crate) fn start(process: &mut Process) -> Result<()> {
    let listeners = IngressListeners::take(&mut process.listeners);
    let clients = Clients {
        store: process.store.clone(),
        routing: process.routing.clone(),
        authenticator: process.authenticator()?,
    };
    let surroundings = Surroundings {
        hostname: process.hostname.clone(),
        net: process.config.net.clone(),
        plaintext: process.config.auth.plaintext,
        tls: Some(process.tls()?),
        registry: process.registry.clone(),
    };
    let (config, shutdown) = (
        process.config.ingress.clone(),
        process.tiers.shutdown(Place::Front),
    );
    process.tiers.spawn(Place::Front, "ingress", async move {
        postino_ingress::run(config, listeners, clients, surroundings, shutdown).await;
        anyhow::Ok(())
    });
    Ok(())
}

//! IMAP and POP3 in this process.

use anyhow::Result;
use postino_access::{AccessListeners, Clients, Surroundings};

use super::process::Process;
use super::tiers::Place;

pub(crate) fn start(process: &mut Process) -> Result<()> {
    let listeners = AccessListeners::take(&mut process.listeners);
    let clients = Clients {
        store: process.store.clone(),
        authenticator: process.authenticator()?,
    };
    let surroundings = Surroundings {
        hostname: process.hostname.to_string(),
        net: process.config.net.clone(),
        plaintext: process.config.auth.plaintext,
        tls: Some(process.tls()?),
        registry: process.registry.clone(),
    };
    let (config, shutdown) = (
        process.config.access.clone(),
        process.tiers.shutdown(Place::Front),
    );
    process.tiers.spawn(Place::Front, "access", async move {
        postino_access::run(config, listeners, clients, surroundings, shutdown).await;
        anyhow::Ok(())
    });
    Ok(())
}

//! Running roles: `postino dev` and `postino serve`.

mod access;
mod descriptors;
mod directory;
mod grpc;
mod ingress;
mod process;
mod queue;
mod routing;
mod store;
mod store_metrics;
mod tiers;

use anyhow::{Context, Result};
use postino_client::AdminClient;
use postino_telemetry::Role;
use tokio::time::{Duration, Instant, sleep};

use crate::cli::{RunArgs, ServeArgs};
use crate::config::Config;
use crate::ports::PortsFile;
use crate::{demo, run::process::Process};

/// How long an all-in-one may take until its shards have leaders.
const START: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// How long one admin call may take.
const ADMIN: Duration = Duration::from_secs(30);

/// Everything in one process, with demo accounts.
pub(crate) async fn dev(arguments: RunArgs) -> Result<()> {
    let mut config = Config::load(&arguments)?;
    config
        .routing
        .postmaster
        .get_or_insert_with(|| demo::POSTMASTER.to_owned());
    let auth = config.auth.clone();
    let mut process = Process::prepare(config, Role::ALL.to_vec()).await?;
    process.start().await?;
    let endpoint = process
        .endpoint
        .clone()
        .context("dev needs its admin port")?;
    let identity = postino_store::cluster::form(std::slice::from_ref(&endpoint), 0).await?;
    tracing::debug!(
        shards = identity.shard_count,
        "the one-node store is formed"
    );
    all_led(&process).await?;
    let admin = AdminClient::new(vec![endpoint], process.channels.clone(), ADMIN);
    demo::make_once(process.data.path(), &admin, &auth).await?;
    all_ready(&process).await?;
    let ports = process.ports();
    let file = PortsFile::write(process.data.path(), &ports).context("ports.json")?;
    println!("{}", demo::greeting(&ports));
    process.until_stopped(file).await
}

/// Some roles of a system.
pub(crate) async fn serve(arguments: ServeArgs) -> Result<()> {
    let config = Config::load(&arguments.run)?;
    let mut roles = arguments.roles;
    roles.sort_unstable();
    roles.dedup();
    let mut process = Process::prepare(config, roles).await?;
    process.start().await?;
    let file = PortsFile::write(process.data.path(), &process.ports()).context("ports.json")?;
    process.until_stopped(file).await
}

/// Waits until `/readyz` says so, too: whoever finds `ports.json` may rely on it.
async fn all_ready(process: &Process) -> Result<()> {
    until(async || {
        let missing = process.readiness.missing();
        anyhow::ensure!(missing.is_empty(), "not ready: {missing:?}");
        Ok(())
    })
    .await
}

/// Waits until every shard has a leader.
async fn all_led(process: &Process) -> Result<()> {
    until(async || {
        // The client's own view may be old: ask the store.
        let topology = process.store.topology().await?;
        let leaders = topology.leaders.iter();
        let led = leaders.filter(|leader| !leader.endpoint.is_empty()).count();
        // The control group comes on top of the mail shards.
        anyhow::ensure!(
            led > topology.mail_shards as usize,
            "the store's shards have no leaders"
        );
        Ok(())
    })
    .await
}

/// Looks again and again until a condition holds; after [`START`] the error says what is missing.
async fn until(mut holds: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + START;
    loop {
        match holds().await {
            Err(_) if Instant::now() < deadline => sleep(LOOK).await,
            outcome => return outcome,
        }
    }
}

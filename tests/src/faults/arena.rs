//! Where a run takes place: a cluster whose processes can be reached by every kind of fault.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::sleep;

use super::clock::Clocks;
use super::disk::Disk;
use super::network::Network;
use super::proxy::Proxy;
use super::{Plan, RECOVERY};
use crate::process::Ports;
use crate::wait::{seconds, until};
use crate::{BOB, Cluster, PASSWORD};

/// What each store keeps free on its disk.
pub(super) const RESERVE: u64 = 64 << 20;
/// Of that, the file that it gives up when little is left.
const BALLAST: u64 = 16 << 20;
/// Writes that it keeps in memory, at most.
const WRITES: u64 = RESERVE / 2;
/// Room on the small disk, besides what letters take.
const ROOM: u64 = 512 << 20;
/// What letters and their compaction take each second, at most.
const GROWTH: u64 = 4 << 20;

/// The processes that are no stores.
const OTHERS: [&str; 4] = ["queue-1", "ingress-1", "access-1", "routing-1"];

/// The cluster, and what faults are made with. Fields are dropped in this order.
pub struct Arena {
    pub(super) cluster: Cluster,
    pub(super) disk: Disk,
    pub(super) proxy: Proxy,
    pub(super) clocks: Clocks,
    pub(super) network: Network,
    pub(super) stores: usize,
    /// How often a store ended for lack of room.
    pub(super) without_room: AtomicUsize,
}

impl Arena {
    /// Starts it. `network` is the one that this process lives in.
    pub async fn start(plan: &Plan, network: Network) -> Result<Self> {
        let directory = TempDir::with_prefix("postino-cluster-")?;
        let path = directory.path().to_owned();
        let growth = GROWTH.saturating_mul(plan.length.as_secs());
        // The last one, so that it is no more likely to lead than others.
        let small = path.join(format!("store-{}", plan.stores));
        let disk = Disk::mount(small, ROOM.saturating_add(growth))?;
        let clocks = Clocks::new()?;
        let find = move |store: usize| admin(&path.join(format!("store-{store}")));
        let proxy = Proxy::start(plan.seed, plan.stores, network.hub_address(), find).await?;
        network.divert()?;
        let cluster = Cluster::builder()
            .stores(plan.stores)
            .directory(directory)
            .hosts(&hosts(plan.stores, &network, &clocks)?)
            .set("grpc.insecure", "true")
            .set("store.database.reserve", format!("{RESERVE}B"))
            .set("store.database.ballast", format!("{BALLAST}B"))
            .set("store.database.write_buffer", format!("{WRITES}B"))
            .start()
            .await?;
        Ok(Self {
            cluster,
            disk,
            proxy,
            clocks,
            network,
            stores: plan.stores,
            without_room: AtomicUsize::new(0),
        })
    }

    /// The store whose disk is small.
    pub(super) fn small(&self) -> String {
        format!("store-{}", self.stores)
    }

    /// Waits until everything is as it was before the first fault.
    pub async fn recover(&self) -> Result<()> {
        self.all_run()?;
        let empty = async || {
            let list = self.cluster.command(&["queue", "list", "--json"]).await;
            if list.ok()?.success().ok()?.trim() == "[]" {
                return Some(());
            }
            // What was put off while a clock was wrong is due at a wrong time.
            let _ = self.cluster.command(&["queue", "retry"]).await;
            sleep(seconds(2)).await;
            None
        };
        until("the queue is empty", RECOVERY, empty).await?;
        self.settle().await?;
        let reads = async || {
            let imap = crate::imap::Imap::login(self.cluster.imap().ok()?, BOB, PASSWORD);
            imap.await.ok().map(drop)
        };
        until("mail is read", seconds(30), reads).await?;
        self.catch_up().await
    }

    /// Waits until every replica is where the furthest one is now, and none is halted.
    async fn catch_up(&self) -> Result<()> {
        let mut wanted = None;
        let mut last = String::new();
        let caught_up = async || {
            let mut all = Vec::new();
            for store in 1..=self.stores {
                let status = self.cluster.status_at(&format!("store-{store}")).await;
                all.push(groups(&status.ok()?)?);
            }
            last = format!("{all:?}");
            let furthest = wanted.get_or_insert_with(|| {
                let shards = all.iter().flatten().map(|group| group.shard).max();
                let applied = |shard| {
                    let groups = all.iter().flatten().filter(|group| group.shard == shard);
                    groups.map(|group| group.applied).max().unwrap_or(0)
                };
                (0..=shards.unwrap_or(0)).map(applied).collect::<Vec<u64>>()
            });
            let is_there = |group: &Group| {
                let wanted = furthest.get(group.shard).copied().unwrap_or(0);
                group.halted.is_empty() && group.applied >= wanted
            };
            all.iter().flatten().all(is_there).then_some(())
        };
        let done = until("every replica has caught up", RECOVERY, caught_up).await;
        done.with_context(|| last)
    }

    /// An error if a process said something that none should ever say.
    pub fn said_nothing_bad(&self) -> Result<()> {
        for node in self.cluster.nodes()? {
            let log = self.cluster.log(&node.name);
            let bad = log.lines().find(|line| line.contains("panicked at"));
            ensure!(bad.is_none(), "{}: {}", node.name, bad.unwrap_or_default());
        }
        Ok(())
    }

    /// Keeps what each process said.
    pub fn keep_logs(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        for node in self.cluster.nodes()? {
            let log = self.cluster.log(&node.name);
            fs::write(to.join(format!("{}.log", node.name)), log)?;
        }
        Ok(())
    }
}

/// A replica as its own node sees it.
#[derive(Debug)]
struct Group {
    shard: usize,
    applied: u64,
    halted: String,
}

fn groups(status: &serde_json::Value) -> Option<Vec<Group>> {
    let group = |group: &serde_json::Value| {
        Some(Group {
            shard: group["shard"].as_u64()?.try_into().ok()?,
            applied: group["applied_index"].as_u64()?,
            halted: group["halted"].as_str()?.to_owned(),
        })
    };
    status["groups"].as_array()?.iter().map(group).collect()
}

/// Where a store takes gRPC, once it has listened there.
fn admin(directory: &Path) -> Option<SocketAddr> {
    let text = fs::read(directory.join("addresses.json")).ok()?;
    let ports: Ports = serde_json::from_slice(&text).ok()?;
    ports.get("admin").copied()
}

/// A line for each process, as `cluster.sh up --hosts` reads it: its name, its address, and the
/// command that runs it there.
fn hosts(stores: usize, network: &Network, clocks: &Clocks) -> Result<String> {
    let mut lines = String::new();
    for store in 1..=stores {
        let (name, (at, there)) = (format!("store-{store}"), network.place_of(store));
        lines += &format!("{name} {at} {there} {}\n", clocks.command(&name)?);
    }
    for name in OTHERS {
        lines += &format!("{name} 127.0.0.1 {}\n", clocks.command(name)?);
    }
    Ok(lines)
}

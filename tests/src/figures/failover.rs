//! How long mail stands still when the store that leads its shard is killed, or told to stop.
//!
//! There is one mail shard, so that every letter waits for it, as all letters of a shard do in a
//! larger cluster.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::report::{Report, quantile, rounded};
use super::space;
use crate::letter::{fresh_id, letter};
use crate::smtp::Smtp;
use crate::wait::{seconds, until};
use crate::{ALICE, BOB, Cluster};

/// How a store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `kill -9`.
    Kill,
    /// SIGTERM: it hands its leads over.
    Drain,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Drain => "drain",
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The ways in which stores end, one after another.
    pub ends: Vec<End>,
    /// Stores that end, each way.
    pub rounds: usize,
    /// Connections that send letters.
    pub senders: usize,
}

const COLUMNS: [&str; 10] = [
    "end",
    "rounds",
    "gap_p50_ms",
    "gap_p99_ms",
    "gap_max_ms",
    "sender_p50_ms",
    "sender_p99_ms",
    "sender_max_ms",
    "deferred",
    "broken",
];

const SHARD: u32 = 1;
/// Octets of a letter.
const SIZE: usize = 4096;
/// Room for data and logs of three stores.
const SPACE: u64 = 8 << 30;
/// How long mail may stand still before the measurement is given up.
const PATIENCE: u64 = 60;
/// What every sender has to get through before a gap counts as over, or a load as running.
const LETTERS: usize = 3;
/// Between two tries of a sender.
const PAUSE: Duration = Duration::from_millis(20);

/// Measures and prints.
pub async fn run(plan: Plan) -> Result<()> {
    space::require(&std::env::temp_dir(), SPACE)?;
    let builder = Cluster::builder().stores(3).set("store.shards", 1);
    let cluster = builder.start().await?;
    let load = Load::start(cluster.smtp()?, plan.senders);
    let mut report = Report::new("failover", &COLUMNS);
    for &end in &plan.ends {
        let (mut gaps, mut worst) = (Vec::new(), Vec::new());
        let before = load.troubles();
        for round in 1..=plan.rounds {
            let gap = one_round(&cluster, &load, end).await?;
            eprintln!(
                "{} {round}: {:.0?}, one sender {:.0?}",
                end.name(),
                gap.all,
                gap.one
            );
            gaps.push(gap.all.as_secs_f64() * 1e3);
            worst.push(gap.one.as_secs_f64() * 1e3);
        }
        let after = load.troubles();
        let of = |gaps: &[f64], share| rounded(quantile(gaps.iter().copied(), share));
        report.row([
            json!(end.name()),
            json!(plan.rounds),
            of(&gaps, 0.5),
            of(&gaps, 0.99),
            of(&gaps, 1.0),
            of(&worst, 0.5),
            of(&worst, 0.99),
            of(&worst, 1.0),
            json!(after.0 - before.0),
            json!(after.1 - before.1),
        ]);
    }
    load.stop().await;
    cluster.down().await?;
    report.print();
    Ok(())
}

/// Times without a 250.
struct Gap {
    /// For everyone.
    all: Duration,
    /// For the sender who waited longest.
    one: Duration,
}

/// Ends the leader, waits until mail goes on, and brings it back.
async fn one_round(cluster: &Cluster, load: &Load, end: End) -> Result<Gap> {
    load.until_all_are_served("mail flows").await?;
    until_equal(cluster).await?;
    load.forget();
    load.until_all_are_served("mail flows still").await?;
    let leader = cluster.leader(SHARD).await?;
    // Not in step with heartbeats.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..500))).await;
    let began = load.elapsed();
    match end {
        End::Kill => cluster.kill(&leader).await?,
        End::Drain => cluster.stop(&leader).await?,
    }
    load.until_all_are_served("mail flows again").await?;
    let gap = load.gap_since(began);
    cluster.start(&leader).await?;
    Ok(gap)
}

/// Waits until every store has applied what each of them has now.
async fn until_equal(cluster: &Cluster) -> Result<()> {
    let nodes = cluster.nodes()?;
    let stores = || nodes.iter().filter(|node| node.name.starts_with("store"));
    let mut wanted = None;
    let equal = async || {
        let mut applied = Vec::new();
        for store in stores() {
            applied.push(applied_at(cluster, &store.name).await.ok()?);
        }
        let wanted = *wanted.get_or_insert(applied.iter().copied().max()?);
        applied.iter().all(|index| *index >= wanted).then_some(())
    };
    until("all stores are up to date", seconds(PATIENCE), equal).await
}

async fn applied_at(cluster: &Cluster, store: &str) -> Result<u64> {
    let status = cluster.status_at(store).await?;
    let groups = status["groups"].as_array().context("groups")?;
    let group = groups
        .iter()
        .find(|group| group["shard"].as_u64() == Some(SHARD.into()));
    group
        .and_then(|group| group["applied_index"].as_u64())
        .context("applied_index")
}

/// Senders, each on a connection of its own.
struct Load {
    shared: Arc<Shared>,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    start: Instant,
    stop: AtomicBool,
    /// When each sender got its 250s, since the start.
    served: Vec<Mutex<Vec<Duration>>>,
    deferred: AtomicUsize,
    broken: AtomicUsize,
}

impl Load {
    fn start(server: SocketAddr, senders: usize) -> Self {
        let senders = senders.max(1);
        let shared = Arc::new(Shared {
            server,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            served: (0..senders).map(|_| Mutex::default()).collect(),
            deferred: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
        });
        let sender = |number| tokio::spawn(send(Arc::clone(&shared), number));
        Self {
            senders: (0..senders).map(sender).collect(),
            shared,
        }
    }

    async fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        futures::future::join_all(self.senders).await;
    }

    fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Letters that were refused for the moment, and connections that broke.
    fn troubles(&self) -> (usize, usize) {
        let now = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (now(&self.shared.deferred), now(&self.shared.broken))
    }

    fn served(&self) -> Vec<Vec<Duration>> {
        let served = self.shared.served.iter();
        served
            .map(|times| times.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    fn forget(&self) {
        for times in &self.shared.served {
            times.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Waits until every sender has got some 250s from now on.
    async fn until_all_are_served(&self, what: &str) -> Result<()> {
        let now = self.elapsed();
        let served = async || {
            let enough = |times: &Vec<Duration>| {
                times.iter().rev().take_while(|time| **time > now).count() >= LETTERS
            };
            self.served().iter().all(enough).then_some(())
        };
        until(what, seconds(PATIENCE), served).await
    }

    /// The longest times without a 250 that were not over at `began`.
    fn gap_since(&self, began: Duration) -> Gap {
        let served = self.served();
        let mut all: Vec<Duration> = served.iter().flatten().copied().collect();
        all.sort_unstable();
        let one = served.iter().map(|times| longest(times, began));
        Gap {
            all: longest(&all, began),
            one: one.max().unwrap_or_default(),
        }
    }
}

/// The longest step between times in a row, of those that end after `began`.
fn longest(times: &[Duration], began: Duration) -> Duration {
    let steps = times.windows(2).filter(|pair| pair[1] > began);
    steps
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .max()
        .unwrap_or_default()
}

/// Sends letters to one account until it is told to stop; nothing stops it before.
async fn send(shared: Arc<Shared>, number: usize) {
    let to = [ALICE, BOB][number % 2];
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut smtp = match connection.take() {
            Some(smtp) => smtp,
            None => match Smtp::greet(shared.server).await {
                Ok(smtp) => smtp,
                Err(_) => {
                    shared.broken.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let message = letter(&fresh_id(), "load@sender.test", to, SIZE);
        match smtp.transaction("load@sender.test", &[to], &message).await {
            Ok(reply) if reply.code == 250 => {
                let times = &shared.served[number];
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.push(shared.start.elapsed());
                connection = Some(smtp);
            }
            Ok(_) => {
                shared.deferred.fetch_add(1, Ordering::Relaxed);
                connection = Some(smtp);
                tokio::time::sleep(PAUSE).await;
            }
            // A refusal at RCPT, too: the connection is given up with it.
            Err(error) => {
                let refused = error.to_string().starts_with("refused: 4");
                let count = if refused {
                    &shared.deferred
                } else {
                    &shared.broken
                };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_when_it_ends_after_the_fault() {
        let millis = |times: &[u64]| times.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let times: Vec<Duration> = millis(&[0, 500, 510, 900, 910]);
        let longest = |began| longest(&times, Duration::from_millis(began)).as_millis();
        assert_eq!((longest(400), longest(505), longest(905)), (500, 390, 10));
        assert_eq!(longest(1000), 0);
    }
}

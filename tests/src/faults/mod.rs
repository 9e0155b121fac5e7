//! Faults on a cluster of real processes under load, and the proof of what it kept.
//!
//! [`schedule`] makes the faults from a seed, [`inject`] carries them out in an [`arena`]: each store
//! lives on a host of its own ([`network`]) and reaches the others through a [`proxy`], one has a
//! [`disk`] that can be filled, and every process has a [`clock`] that can jump. Meanwhile letters
//! come in ([`crate::load`]), flags change ([`flags`]), accounts move ([`wander`]) and somebody looks on
//! ([`observe`]). What was seen is a [`history`], and this must hold of it:
//!
//! - every letter with a 250 is in its mailbox once, every other one at most once;
//! - a UID names the same message for ever, UIDs rise, and mod-sequences do ([`uids`]);
//! - the flag of each message behaves as one register would: it is linearizable ([`register`]);
//! - the replicas of a shard hold the same ([`crate::replicas`]).

pub mod arena;
pub mod clock;
pub mod disk;
pub mod flags;
pub mod history;
pub mod inject;
#[cfg(test)]
mod model;
#[cfg(test)]
mod mutants;
pub mod network;
pub mod observe;
pub mod proxy;
pub mod register;
pub mod schedule;
pub mod uids;
pub mod wander;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::journal::Journal;
use crate::load::mailboxes::{Fates, contents};
use crate::load::smtp;
use crate::replicas::verify;
use crate::{ALICE, BOB, PASSWORD};

use arena::Arena;
use flags::Sessions;
use history::{History, Proof};
use network::Network;
use observe::Observer;
use schedule::Kind;

/// How long a cluster may take to serve again once all faults are over.
const RECOVERY: Duration = Duration::from_secs(120);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The same seed makes the same faults.
    pub seed: u64,
    /// How long faults go on.
    pub length: Duration,
    /// What may happen.
    pub kinds: Vec<Kind>,
    /// Store nodes.
    pub stores: usize,
    /// Connections that send letters.
    pub senders: usize,
    /// Where the history and the logs of a run that failed are kept.
    pub keep: PathBuf,
    /// Whether those of a run that did not are kept as well.
    pub always: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Faults carried out.
    pub faults: usize,
    /// Accounts that were sent to another shard meanwhile.
    pub moves: usize,
    /// How often a store ended because its disk was full, and was started again.
    pub without_room: usize,
    /// The letters.
    pub letters: smtp::Outcome,
    /// From the end of the last fault until all was as before.
    pub recovery: Duration,
    /// What the history proves.
    pub proof: Proof,
}

/// Runs it; an error says what was broken. `network` is the one that this process lives in.
pub async fn run(plan: &Plan, network: Network) -> Result<Report> {
    let arena = Arena::start(plan, network).await?;
    let mut history = History::default();
    let done = within(plan, &arena, &mut history).await;
    if done.is_err() {
        eprintln!("{}", arena.cluster.logs());
    }
    if done.is_err() || plan.always {
        arena.keep_logs(&plan.keep)?;
        history.write(&plan.keep.join("history.json"))?;
    }
    done
}

async fn within(plan: &Plan, arena: &Arena, history: &mut History) -> Result<Report> {
    let cluster = &arena.cluster;
    for (alias, targets) in [("u0", &[BOB][..]), ("u1", &[ALICE, BOB][..])] {
        let alias = format!("{alias}@example.org");
        let command = [&["alias", "add", &alias][..], targets].concat();
        cluster.command(&command).await?.success()?;
    }
    let imap = cluster.imap()?;
    let sessions = Sessions::fill(imap).await?;
    let path = cluster.path().join("journal");
    let sending = smtp::send(letters(plan, arena)?, Some(Journal::open(&path)?));
    let sending = tokio::spawn(sending);
    let stop = Instant::now() + plan.length;
    let working = tokio::spawn(sessions.work(stop));
    let looking = [(BOB, "INBOX"), (ALICE, flags::MAILBOX)]
        .map(|(user, mailbox)| tokio::spawn(Observer::new(imap, user, mailbox).look(stop)));

    let steps = schedule::plan(plan.seed, plan.length, plan.stores, &plan.kinds);
    let suffering = arena.suffer(plan.seed, &steps);
    let (suffered, moves) = tokio::join!(suffering, arena.wander(plan.seed, stop));
    let over = Instant::now();
    // Whatever went wrong, what was seen up to then is kept.
    let letters = sending.await?;
    let sessions = working.await?;
    let mut observers = Vec::new();
    for looking in looking {
        observers.push(looking.await?);
    }
    history.letters = owed(&Journal::read(&path)?)?;
    let checked = async {
        suffered?;
        arena.recover().await?;
        let recovery = over.elapsed();
        history.mailboxes = contents(imap, PASSWORD, history.letters.keys()).await?;
        for observer in &mut observers {
            observer.look_once().await?;
        }
        sessions.read_all().await?;
        history.replicas = Some(verify(cluster, "store-1").await?.replicas);
        anyhow::Ok(recovery)
    };
    let recovery = checked.await;
    let looks = observers.into_iter();
    history.looks = looks.map(|o| (o.name(), o.into_looks())).collect();
    history.flags = sessions.registers();
    let recovery = recovery?;
    let proof = history.check()?;
    arena.said_nothing_bad()?;
    let unused = arena.proxy.unused();
    ensure!(unused.is_empty(), "no store went these ways: {unused:?}");
    cluster.down().await?;
    Ok(Report {
        faults: steps.len(),
        moves,
        without_room: arena.without_room.load(Ordering::Relaxed),
        letters: letters?,
        recovery,
        proof,
    })
}

fn letters(plan: &Plan, arena: &Arena) -> Result<smtp::Plan> {
    Ok(smtp::Plan {
        connections: plan.senders,
        ..smtp::Plan::to_aliases(arena.cluster.smtp()?, 2, plan.length)
    })
}

/// What belongs in which mailbox.
fn owed(journal: &Fates) -> Result<Fates> {
    let to = |user: &str| {
        let fates = journal.get(&format!("{user}@example.org"));
        let fates = fates.cloned();
        fates.with_context(|| format!("no letters to {user}"))
    };
    let (u0, u1) = (to("u0")?, to("u1")?);
    let bob = u0.into_iter().chain(u1.clone()).collect();
    Ok([(BOB.to_owned(), bob), (ALICE.to_owned(), u1)].into())
}

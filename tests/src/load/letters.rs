//! Letters that come into a cluster while something is done to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;

use super::journal::{Fate, Journal};
use super::mailboxes::verify;
use super::smtp;
use crate::wait::{seconds, until};
use crate::{BOB, Cluster, PASSWORD};

/// Letters that come in until the test has seen enough.
pub struct Letters {
    journal: PathBuf,
    enough: Arc<AtomicBool>,
    sending: JoinHandle<Result<Tally>>,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// Letters with a 250.
    pub accepted: usize,
    /// Letters that were put off.
    pub deferred: usize,
    /// Letters whose connection broke before the reply.
    pub unknown: usize,
    /// The longest time without a 250.
    pub longest_gap: Duration,
}

impl Letters {
    /// Starts them, to two addresses of Bob.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::to(cluster, &[&[BOB], &[BOB]]).await
    }

    /// Starts them, to an alias of each of these groups.
    pub async fn to(cluster: &Cluster, groups: &[&[&str]]) -> Result<Self> {
        for (number, targets) in groups.iter().enumerate() {
            let alias = format!("u{number}@example.org");
            let add = [&["alias", "add", &alias][..], targets].concat();
            cluster.command(&add).await?.success()?;
        }
        let journal = cluster.path().join("journal");
        let plan = smtp::Plan {
            connections: 4,
            size: 4000,
            ..smtp::Plan::to_aliases(cluster.smtp()?, groups.len(), seconds(2))
        };
        let enough = Arc::new(AtomicBool::new(false));
        let (path, stop) = (journal.clone(), Arc::clone(&enough));
        let sending = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                let outcome = smtp::send(plan.clone(), Some(Journal::open(&path)?)).await?;
                tally.accepted += outcome.accepted;
                tally.deferred += outcome.deferred;
                tally.unknown += outcome.unknown;
                tally.longest_gap = tally.longest_gap.max(outcome.longest_gap);
            }
            anyhow::Ok(tally)
        });
        Ok(Self {
            journal,
            enough,
            sending,
        })
    }

    /// Waits until so many more were acknowledged.
    pub async fn grow(&self, n: usize) -> Result<()> {
        let lines =
            || std::fs::read_to_string(&self.journal).map_or(0, |text| text.lines().count());
        let before = lines();
        let more = async || (lines() > before + n).then_some(());
        until("more letters", seconds(30), more).await
    }

    /// What became of each letter until now.
    pub fn journaled(&self) -> Result<BTreeMap<String, Fate>> {
        let journal = Journal::read(&self.journal)?;
        Ok(journal.into_values().flatten().collect())
    }

    /// Ends them. What became of each.
    pub async fn stop(self) -> Result<(Tally, BTreeMap<String, Fate>)> {
        self.enough.store(true, Ordering::Relaxed);
        let tally = self.sending.await??;
        let journal = Journal::read(&self.journal)?;
        Ok((tally, journal.into_values().flatten().collect()))
    }

    /// Every letter got its 250 at the first try, and is in Bob's mailbox once. `at` is a store node.
    pub async fn end(self, cluster: &Cluster, at: &str) -> Result<()> {
        let (outcome, bob) = self.stop().await?;
        println!("{outcome:?}");
        ensure!(outcome.deferred == 0, "{} deferred", outcome.deferred);
        ensure!(outcome.unknown == 0, "{} broke", outcome.unknown);
        cluster.until_queue_is_empty_at(at, seconds(60)).await?;
        let wanted = [(BOB.to_owned(), bob)].into();
        let verdict = verify(cluster.imap()?, PASSWORD, &wanted).await?;
        verdict.check()?;
        ensure!(verdict.found == outcome.accepted, "{verdict:?}");
        Ok(())
    }
}

//! Letters over many connections at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use super::journal::{Fate, Journal};
use super::{Accounts, LONGEST};
use crate::PASSWORD;
use crate::letter::letter;
use crate::smtp::Smtp;

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to.
    pub server: SocketAddr,
    /// Connections at once.
    pub connections: usize,
    /// Letters in all; fewer if the time is up before.
    pub messages: usize,
    /// How long at most.
    pub limit: Duration,
    /// Octets a letter.
    pub size: usize,
    /// The reverse-path.
    pub sender: String,
    /// The recipients, one a letter, in turn.
    pub accounts: Accounts,
}

impl Plan {
    /// As many letters as `limit` allows, of 6,000 octets over eight connections, to so many aliases:
    /// u0@example.org, u1@example.org …
    pub fn to_aliases(server: SocketAddr, count: usize, limit: Duration) -> Self {
        Self {
            server,
            connections: 8,
            messages: usize::MAX,
            limit,
            size: 6000,
            sender: "load@sender.test".into(),
            accounts: Accounts {
                pattern: "u{}@example.org".into(),
                count,
                password: PASSWORD.into(),
            },
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Letters with a 250.
    pub accepted: usize,
    /// Letters whose connection broke before the reply.
    pub unknown: usize,
    /// Letters that were refused for the moment (4xx).
    pub deferred: usize,
    /// From the first connection to the last reply.
    pub elapsed: Duration,
    /// The longest time in which no letter was accepted, by anyone.
    pub longest_gap: Duration,
    /// From MAIL to the 250, microseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Accepted letters per second.
    pub fn per_second(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }
}

struct Shared {
    plan: Plan,
    journal: Option<Journal>,
    taken: AtomicUsize,
    start: Instant,
    /// Microseconds from start of the last acceptance, and the longest gap before it.
    last_accepted: AtomicUsize,
    longest_gap: AtomicUsize,
}

#[derive(Default)]
struct Tally {
    accepted: usize,
    unknown: usize,
    deferred: usize,
    microseconds: Vec<u64>,
}

/// Sends letters until all are sent or the time is up; reconnects when a connection breaks.
pub async fn send(plan: Plan, journal: Option<Journal>) -> Result<Outcome> {
    let connections = plan.connections;
    let shared = Arc::new(Shared {
        plan,
        journal,
        taken: AtomicUsize::new(0),
        start: Instant::now(),
        last_accepted: AtomicUsize::new(0),
        longest_gap: AtomicUsize::new(0),
    });
    let tasks = (0..connections).map(|_| tokio::spawn(connection(shared.clone())));
    let tallies = futures::future::join_all(tasks).await;
    let elapsed = shared.start.elapsed();
    let mut outcome = Outcome {
        accepted: 0,
        unknown: 0,
        deferred: 0,
        elapsed,
        longest_gap: Duration::from_micros(shared.longest_gap.load(Ordering::Relaxed) as u64),
        latency: Histogram::new_with_bounds(1, LONGEST, 3)?,
    };
    for tally in tallies {
        let tally = tally??;
        outcome.accepted += tally.accepted;
        outcome.unknown += tally.unknown;
        outcome.deferred += tally.deferred;
        for microseconds in tally.microseconds {
            outcome.latency.saturating_record(microseconds);
        }
    }
    Ok(outcome)
}

impl Shared {
    fn time_is_up(&self) -> bool {
        self.start.elapsed() >= self.plan.limit
    }

    /// The next letter's number; `None` when there is nothing left to do.
    fn next(&self) -> Option<usize> {
        if self.time_is_up() {
            return None;
        }
        let n = self.taken.fetch_add(1, Ordering::Relaxed);
        (n < self.plan.messages).then_some(n)
    }

    fn note(&self, fate: Fate, recipient: &str, id: &str) -> Result<()> {
        self.journal
            .as_ref()
            .map_or(Ok(()), |journal| journal.add(fate, recipient, id))
    }

    fn note_acceptance(&self) {
        let now = self.start.elapsed().as_micros() as usize;
        let before = self.last_accepted.swap(now, Ordering::Relaxed);
        self.longest_gap
            .fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }
}

async fn connection(shared: Arc<Shared>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut smtp: Option<Smtp> = None;
    while let Some(n) = shared.next() {
        let mut session = match smtp.take() {
            Some(session) => session,
            None => match connect(&shared).await {
                Some(session) => session,
                None => return Ok(tally),
            },
        };
        let plan = &shared.plan;
        let (recipient, id) = (plan.accounts.address(n), crate::letter::fresh_id());
        let message = letter(&id, &plan.sender, &recipient, plan.size);
        let start = Instant::now();
        match session
            .transaction(&plan.sender, &[&recipient], &message)
            .await
        {
            Ok(reply) if reply.code == 250 => {
                shared.note(Fate::Acknowledged, &recipient, &id)?;
                shared.note_acceptance();
                tally.accepted += 1;
                tally.microseconds.push(start.elapsed().as_micros() as u64);
                smtp = Some(session);
            }
            Ok(reply) if reply.code < 500 => {
                // 451 after an outcome that stayed unknown: the letter may yet come.
                shared.note(Fate::Unknown, &recipient, &id)?;
                tally.deferred += 1;
                smtp = Some(session);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(reply) => bail!("refused: {} {}", reply.code, reply.text()),
            Err(error) => {
                shared.note(Fate::Unknown, &recipient, &id)?;
                tally.unknown += 1;
                let text = error.to_string();
                if text.starts_with("refused: 5") {
                    bail!("{text}");
                }
            }
        }
    }
    if let Some(mut session) = smtp {
        let _ = session.command("QUIT").await;
    }
    Ok(tally)
}

/// Connects, again and again until the time is up.
async fn connect(shared: &Shared) -> Option<Smtp> {
    while !shared.time_is_up() {
        if let Ok(session) = Smtp::greet(shared.plan.server).await {
            return Some(session);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

//! A mixed load of IMAP commands; LOGIN is timed apart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{Accounts, LONGEST};
use crate::imap::Imap;

/// What to ask.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub server: SocketAddr,
    /// Connections at once, each on an account, in turn.
    pub connections: usize,
    /// How long.
    pub limit: Duration,
    /// The accounts.
    pub accounts: Accounts,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Commands that ended with OK, LOGIN left out.
    pub commands: usize,
    /// How long they took together, all connections at once.
    pub elapsed: Duration,
    /// Microseconds a command.
    pub latency: Histogram<u64>,
    /// Microseconds a LOGIN.
    pub login: Histogram<u64>,
}

/// Logs every connection in, then runs the mix until the time is up.
pub async fn ask(plan: Plan) -> Result<Outcome> {
    let plan = Arc::new(plan);
    let mut login = Histogram::new_with_bounds(1, LONGEST, 3)?;
    let mut sessions = Vec::new();
    for n in 0..plan.connections {
        let start = Instant::now();
        let address = plan.accounts.address(n);
        let imap = Imap::login(plan.server, &address, &plan.accounts.password).await?;
        login.saturating_record(start.elapsed().as_micros() as u64);
        sessions.push(imap);
    }
    let start = Instant::now();
    let tasks = sessions
        .into_iter()
        .map(|imap| tokio::spawn(session(plan.clone(), imap)));
    let mut latency = Histogram::new_with_bounds(1, LONGEST, 3)?;
    let mut commands = 0;
    for times in futures::future::join_all(tasks).await {
        for microseconds in times?? {
            latency.saturating_record(microseconds);
            commands += 1;
        }
    }
    Ok(Outcome {
        commands,
        elapsed: start.elapsed(),
        latency,
        login,
    })
}

async fn session(plan: Arc<Plan>, mut imap: Imap) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    let start = Instant::now();
    imap.ok("SELECT INBOX").await?;
    let exists = imap.count("INBOX").await?.max(1);
    while start.elapsed() < plan.limit {
        let n = fastrand::usize(1..=exists);
        let last = exists.min(n + 19);
        for command in [
            "NOOP".to_owned(),
            format!("FETCH {n}:{last} (UID FLAGS ENVELOPE)"),
            format!("FETCH {n} (BODY.PEEK[])"),
            format!("STORE {n} +FLAGS.SILENT (\\Seen)"),
            "STATUS INBOX (MESSAGES UIDNEXT UNSEEN)".to_owned(),
            "UID SEARCH UNSEEN".to_owned(),
            "SELECT INBOX".to_owned(),
        ] {
            let begin = Instant::now();
            imap.ok(&command).await?;
            times.push(begin.elapsed().as_micros() as u64);
        }
    }
    Ok(times)
}

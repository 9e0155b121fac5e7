//! What arrived: counted while a load runs, and looked up id by id afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Accounts;
use super::journal::Fate;
use crate::imap::Imap;

/// A session on each account, with the number of messages that its INBOX had at the start.
pub struct Watchers {
    sessions: Vec<(Imap, usize)>,
}

impl Watchers {
    /// Logs in to every account.
    pub async fn open(server: SocketAddr, accounts: &Accounts) -> Result<Self> {
        let mut sessions = Vec::new();
        for address in accounts.addresses() {
            let mut imap = Imap::login(server, &address, &accounts.password).await?;
            let count = imap.count("INBOX").await?;
            sessions.push((imap, count));
        }
        Ok(Self { sessions })
    }

    /// Waits until `expected` messages more than at the start are there; gives how long it took.
    pub async fn wait(&mut self, expected: usize, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let mut arrived = 0;
            for (imap, before) in &mut self.sessions {
                arrived += imap.count("INBOX").await?.saturating_sub(*before);
            }
            if arrived >= expected {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                bail!("{arrived} of {expected} arrived within {limit:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How the journal and the mailboxes agree.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged, and there once.
    pub found: usize,
    /// Acknowledged, and not there.
    pub lost: Vec<String>,
    /// There more than once, whatever was acknowledged.
    pub doubled: Vec<String>,
    /// Of unknown outcome, and there once: neither good nor bad.
    pub unknown_found: usize,
}

impl Verdict {
    /// An error unless every acknowledged letter is there once and none is doubled.
    pub fn check(&self) -> Result<()> {
        if self.lost.is_empty() && self.doubled.is_empty() {
            return Ok(());
        }
        let some = |ids: &[String]| ids.iter().take(5).cloned().collect::<Vec<_>>().join(" ");
        bail!(
            "{} lost ({}), {} doubled ({})",
            self.lost.len(),
            some(&self.lost),
            self.doubled.len(),
            some(&self.doubled)
        )
    }
}

/// What is known of letters, by recipient and Message-ID.
pub type Fates = BTreeMap<String, BTreeMap<String, Fate>>;

/// How often each Message-ID is in each recipient's INBOX.
pub type Contents = BTreeMap<String, BTreeMap<String, usize>>;

/// Looks every journaled id up in its recipient's INBOX.
pub async fn verify(server: SocketAddr, password: &str, journal: &Fates) -> Result<Verdict> {
    let contents = contents(server, password, journal.keys()).await?;
    Ok(judge(journal, &contents))
}

/// Reads the INBOX of each of these.
pub async fn contents(
    server: SocketAddr,
    password: &str,
    addresses: impl Iterator<Item = &String>,
) -> Result<Contents> {
    let mut contents = Contents::new();
    for address in addresses {
        let there = message_ids(server, address, password).await?;
        contents.insert(address.clone(), there);
    }
    Ok(contents)
}

/// What the mailboxes should hold against what they do.
pub fn judge(journal: &Fates, contents: &Contents) -> Verdict {
    let mut verdict = Verdict::default();
    for (address, letters) in journal {
        let count = |id: &String| contents.get(address)?.get(id).copied();
        for (id, fate) in letters {
            match (count(id).unwrap_or(0), fate) {
                (0, Fate::Acknowledged) => verdict.lost.push(id.clone()),
                (0, Fate::Unknown) => {}
                (1, Fate::Acknowledged) => verdict.found += 1,
                (1, Fate::Unknown) => verdict.unknown_found += 1,
                (_, _) => verdict.doubled.push(id.clone()),
            }
        }
    }
    verdict
}

/// How often each Message-ID is in an INBOX.
async fn message_ids(
    server: SocketAddr,
    address: &str,
    password: &str,
) -> Result<BTreeMap<String, usize>> {
    let mut imap = Imap::login(server, address, password).await?;
    let mut ids = BTreeMap::new();
    if imap.count("INBOX").await? == 0 {
        return Ok(ids);
    }
    imap.ok("EXAMINE INBOX").await?;
    let headers = imap
        .ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        .await?;
    for header in headers.literals() {
        let text = String::from_utf8_lossy(&header).into_owned();
        let id = text
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        let (id, _) = id.with_context(|| format!("no Message-ID in {text:?}"))?;
        *ids.entry(id.to_owned()).or_default() += 1;
    }
    Ok(ids)
}

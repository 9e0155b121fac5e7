//! Flags as registers: several sessions set, clear and read `\Flagged` of the same messages, and
//! note what they saw for [`super::register`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::register::{Event, Moment, Op};
use crate::imap::Imap;
use crate::letter::fresh_id;
use crate::wait::seconds;
use crate::{ALICE, PASSWORD};

/// Where the messages are; no letter comes there.
pub const MAILBOX: &str = "Drafts";
/// How many messages there are: few, so that sessions meet.
const MESSAGES: u32 = 8;
/// Sessions that work on them at once.
const SESSIONS: usize = 4;
/// Between two calls of a session, and between two tries to log in.
const PAUSE: Duration = Duration::from_millis(15);

/// The history of each message's flag, by UID.
pub type Registers = BTreeMap<u32, Vec<Event>>;

#[derive(Debug, Default)]
struct History {
    registers: Registers,
    people: u32,
}

/// The sessions, and what they did.
#[derive(Debug, Clone)]
pub struct Sessions {
    server: SocketAddr,
    history: Arc<Mutex<History>>,
}

impl Sessions {
    /// Appends the messages, all unflagged.
    pub async fn fill(server: SocketAddr) -> Result<Self> {
        let mut imap = Imap::login(server, ALICE, PASSWORD).await?;
        for _ in 0..MESSAGES {
            let message = format!("Message-ID: <{}>\r\n\r\n.\r\n", fresh_id());
            let appended = imap.append(MAILBOX, message.as_bytes()).await?.tagged;
            ensure!(appended.starts_with("OK"), "APPEND: {appended}");
        }
        Ok(Self {
            server,
            history: Arc::default(),
        })
    }

    /// Works on the messages until then.
    pub async fn work(self, stop: Instant) -> Self {
        let mut sessions = JoinSet::new();
        for _ in 0..SESSIONS {
            sessions.spawn(session(self.clone(), stop));
        }
        while sessions.join_next().await.is_some() {}
        self
    }

    /// Reads every flag once more: what was written last is what lasts.
    pub async fn read_all(&self) -> Result<()> {
        let mut imap = select(self.server).await?;
        let who = self.newcomer();
        for uid in 1..=MESSAGES {
            self.note(uid, who, Moment::Call(Op::Read));
            let seen = carry_out(&mut imap, uid, Op::Read).await?;
            self.note(uid, who, seen);
        }
        Ok(())
    }

    /// What they did.
    pub fn registers(&self) -> Registers {
        self.history().registers.clone()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no panic while it was held")
    }

    fn note(&self, uid: u32, who: u32, moment: Moment) {
        let mut history = self.history();
        let register = history.registers.entry(uid).or_default();
        register.push(Event { who, moment });
    }

    fn newcomer(&self) -> u32 {
        let mut history = self.history();
        history.people += 1;
        history.people
    }
}

async fn session(sessions: Sessions, stop: Instant) {
    while Instant::now() < stop {
        let Some(mut imap) = open(sessions.server, stop).await else {
            return;
        };
        let who = sessions.newcomer();
        while Instant::now() < stop {
            let op = match fastrand::u32(0..4) {
                0 => Op::Write(true),
                1 => Op::Write(false),
                _ => Op::Read,
            };
            let uid = fastrand::u32(1..=MESSAGES);
            sessions.note(uid, who, Moment::Call(op));
            match timeout(seconds(20), carry_out(&mut imap, uid, op)).await {
                Ok(Ok(moment)) => sessions.note(uid, who, moment),
                // It may have been done, or may yet be.
                Ok(Err(_)) | Err(_) => break,
            }
            sleep(PAUSE).await;
        }
    }
}

/// A session, tried for again and again until then.
async fn open(server: SocketAddr, stop: Instant) -> Option<Imap> {
    while Instant::now() < stop {
        if let Ok(Ok(imap)) = timeout(seconds(20), select(server)).await {
            return Some(imap);
        }
        sleep(PAUSE).await;
    }
    None
}

async fn select(server: SocketAddr) -> Result<Imap> {
    let mut imap = Imap::login(server, ALICE, PASSWORD).await?;
    imap.ok(&format!("SELECT {MAILBOX}")).await?;
    Ok(imap)
}

async fn carry_out(imap: &mut Imap, uid: u32, op: Op) -> Result<Moment> {
    let sign = match op {
        Op::Write(true) => '+',
        Op::Write(false) => '-',
        Op::Read => {
            let answer = imap.ok(&format!("FETCH {uid} (FLAGS)")).await?;
            // The last one is the answer; others tell what happened before.
            let prefix = format!("* {uid} FETCH (");
            let mine = |text: &str| text.starts_with(&prefix) && text.contains("FLAGS (");
            let mut lines = answer.untagged.iter().rev();
            let line = lines.find(|line| mine(&line.text)).context("no FLAGS")?;
            return Ok(Moment::Seen(line.text.contains("\\Flagged")));
        }
    };
    imap.ok(&format!("STORE {uid} {sign}FLAGS.SILENT (\\Flagged)"))
        .await?;
    Ok(Moment::Written)
}

//! What a very large mailbox costs, beside a small one: the same operations, in turn, as clients
//! see them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::report::{Report, quantile, rounded};
use super::space;
use crate::imap::Imap;
use crate::letter::{fresh_id, letter};
use crate::smtp::Smtp;
use crate::{ALICE, BOB, PASSWORD, Postino};

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Messages of the large mailbox.
    pub large: usize,
    /// Messages of the small one.
    pub small: usize,
    /// How often each operation is done in each.
    pub samples: usize,
}

const COLUMNS: [&str; 7] = [
    "operation",
    "small_p50_us",
    "large_p50_us",
    "ratio",
    "small_p99_us",
    "large_p99_us",
    "samples",
];

/// Messages that are appended one by one; all others are copies of them, which have rows of their
/// own and share the octets.
const SEED: usize = 1000;
/// Octets of each.
const SIZE: usize = 2048;
/// Bytes of disk for each message at most, while its rows are compacted.
const SPACE: u64 = 2048;

/// Measures and prints.
pub async fn run(plan: Plan) -> Result<()> {
    space::require(&std::env::temp_dir(), (2 << 30) + SPACE * plan.large as u64)?;
    ensure!(
        plan.samples > 0 && plan.samples <= plan.small.min(plan.large),
        "samples: at least 1, and no more than the small mailbox has messages"
    );
    let mut postino = Postino::start().await?;
    let begin = Instant::now();
    let mut small = Mailbox::fill(&postino, BOB, plan.small).await?;
    let mut large = Mailbox::fill(&postino, ALICE, plan.large).await?;
    eprintln!("filled in {:.0?}", begin.elapsed());
    let mut report = Report::new("mailbox", &COLUMNS);
    for operation in OPERATIONS {
        let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
        for sample in 0..plan.samples {
            // In turn, so that a slow moment of the disk meets both.
            of_small.push(small.once(operation, sample, plan.samples).await?);
            of_large.push(large.once(operation, sample, plan.samples).await?);
        }
        let micros = |times: &[Duration], share| {
            quantile(times.iter().map(|time| time.as_secs_f64() * 1e6), share)
        };
        let medians = (micros(&of_small, 0.5), micros(&of_large, 0.5));
        report.row([
            json!(operation.name()),
            rounded(medians.0),
            rounded(medians.1),
            rounded(medians.1 / medians.0),
            rounded(micros(&of_small, 0.99)),
            rounded(micros(&of_large, 0.99)),
            json!(plan.samples),
        ]);
    }
    drop((small, large));
    postino.stop().await?;
    report.print();
    Ok(())
}

/// What is measured; the order matters, since expunging comes last.
const OPERATIONS: [Operation; 5] = [
    Operation::Select,
    Operation::Deliver,
    Operation::Flag,
    Operation::Fetch,
    Operation::Expunge,
];

#[derive(Debug, Clone, Copy)]
enum Operation {
    Select,
    Deliver,
    Flag,
    Fetch,
    Expunge,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Deliver => "deliver",
            Self::Flag => "UID STORE",
            Self::Fetch => "UID FETCH FLAGS",
            Self::Expunge => "UID EXPUNGE",
        }
    }
}

/// An account's INBOX, selected, with a connection to deliver through.
struct Mailbox {
    address: &'static str,
    messages: usize,
    imap: Imap,
    smtp: Smtp,
}

impl Mailbox {
    /// Fills an INBOX that is empty: its UIDs are 1 to `messages`.
    async fn fill(postino: &Postino, address: &'static str, messages: usize) -> Result<Self> {
        let mut imap = Imap::login(postino.imap(), address, PASSWORD).await?;
        imap.ok("CREATE Seed").await?;
        let seed = messages.min(SEED);
        for _ in 0..seed {
            let message = letter(&fresh_id(), "seed@sender.test", address, SIZE);
            let response = imap.append("Seed", &message).await?;
            ensure!(response.tagged.starts_with("OK"), "{}", response.tagged);
        }
        imap.ok("SELECT Seed").await?;
        let mut left = messages;
        while left > 0 {
            let page = left.min(seed);
            imap.ok(&format!("COPY 1:{page} INBOX")).await?;
            left -= page;
        }
        imap.ok("SELECT INBOX").await?;
        let found = imap.count("INBOX").await?;
        ensure!(found == messages, "{found} messages, not {messages}");
        Ok(Self {
            address,
            messages,
            imap,
            smtp: Smtp::greet(postino.smtp()).await?,
        })
    }

    /// Does something once, to the message that is this sample's, and says how long it took.
    async fn once(&mut self, operation: Operation, sample: usize, of: usize) -> Result<Duration> {
        // Spread over the whole mailbox, and another one for each sample.
        let uid = sample * (self.messages / of) + 1;
        match operation {
            Operation::Select => self.timed("SELECT INBOX").await,
            Operation::Deliver => self.deliver().await,
            Operation::Flag => {
                let command = format!("UID STORE {uid} +FLAGS.SILENT (\\Flagged)");
                self.timed(&command).await
            }
            Operation::Fetch => self.timed(&format!("UID FETCH {uid} (FLAGS)")).await,
            Operation::Expunge => {
                let command = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
                self.imap.ok(&command).await?;
                self.timed(&format!("UID EXPUNGE {uid}")).await
            }
        }
    }

    async fn timed(&mut self, command: &str) -> Result<Duration> {
        let begin = Instant::now();
        self.imap.ok(command).await?;
        Ok(begin.elapsed())
    }

    /// One SMTP transaction, from MAIL to the 250.
    async fn deliver(&mut self) -> Result<Duration> {
        let from = "sender@sender.test";
        let message = letter(&fresh_id(), from, self.address, SIZE);
        let begin = Instant::now();
        let reply = self
            .smtp
            .transaction(from, &[self.address], &message)
            .await?;
        let took = begin.elapsed();
        ensure!(reply.code == 250, "not accepted: {reply:?}");
        Ok(took)
    }
}

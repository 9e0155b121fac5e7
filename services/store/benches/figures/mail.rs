//! Bytes written per byte of mail: letters of all sizes are filed, then everything is flushed and
//! compacted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use postino_client::StoreClient;
use postino_proto::mail::v1::segment::Piece;
use postino_proto::mail::v1::{
    EmailContent, Envelope, LocalTarget, Part, PartKind, Range, Recipient, Segment,
};
use postino_proto::store::v1::{AcceptFinish, AcceptResponse};
use postino_store::StoreConfig;
use postino_types::ShardId;
use serde_json::json;

use crate::cost::Cost;
use crate::load::Octets;
use crate::node::{Nodes, mint};
use crate::report::{Report, rounded};
use crate::{settle, space};

#[derive(Args)]
pub(crate) struct Mail {
    /// GiB of mail.
    #[arg(long, default_value_t = 5.0)]
    gib: f64,
    /// Replicas of the store.
    #[arg(long, default_value_t = 1)]
    replicas: u32,
    /// Mail shards of the store.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Accounts that get the mail.
    #[arg(long, default_value_t = 100)]
    accounts: usize,
    /// Letters on their way at once.
    #[arg(long, default_value_t = 20)]
    senders: usize,
}

/// Largest sizes of letters in KiB, each with how many of a hundred letters lie between it and the
/// one before.
const SIZES: [(u64, u64); 5] = [(2, 20), (20, 45), (100, 20), (1_000, 12), (5_000, 3)];

/// Octets that are handed over at once.
const CHUNK: usize = 64 << 10;

/// A local mailbox.
#[derive(Debug, Clone, Copy)]
struct Mailbox {
    account: u64,
    shard: u32,
}

impl Mail {
    pub(crate) fn run(&self, dir: &Path) -> Result<()> {
        let octets_wanted = (self.gib * f64::from(1 << 30)) as u64;
        // Tiers that are merged lie there twice for a while.
        let room = octets_wanted.saturating_mul(3 * u64::from(self.replicas));
        space::require(dir, room.saturating_add(2 << 30))?;
        let directory = tempfile::tempdir_in(dir)?;
        let config = StoreConfig {
            shards: self.shards,
            ..StoreConfig::default()
        };
        let nodes = Nodes::start(directory.path(), self.replicas, &config)?;
        let mailboxes = nodes.runtime().block_on(self.open_mailboxes(&nodes))?;
        let (cost, syncs, begin) = (Cost::now()?, nodes.syncs(), Instant::now());
        let sent = Arc::new(Sent::new(octets_wanted));
        let sending = self.send(&nodes, &mailboxes, &sent);
        nodes.runtime().block_on(sending)?;
        let took = begin.elapsed();
        let while_sending = Cost::now()?.since(cost);
        let syncs = nodes.syncs() - syncs;
        nodes.stop();
        let mut on_disk = 0;
        for replica in 0..self.replicas {
            on_disk += settle::settled(&directory.path().join(format!("store-{replica}")))?;
        }
        let written = Cost::now()?.since(cost).written;
        let (letters, octets) = (sent.letters() as f64, sent.octets() as f64);
        let replicas = f64::from(self.replicas);
        let mut report = Report::new("mail", &COLUMNS);
        report.row([
            json!(self.replicas),
            rounded(octets / f64::from(1 << 30)),
            json!(sent.letters()),
            rounded(letters / took.as_secs_f64()),
            rounded(octets / took.as_secs_f64() / f64::from(1 << 20)),
            rounded(written as f64 / octets / replicas),
            rounded(on_disk as f64 / octets / replicas),
            rounded(while_sending.cpu.as_secs_f64() * 1e6 / letters),
            rounded(syncs / letters),
        ]);
        report.print();
        Ok(())
    }

    async fn open_mailboxes(&self, nodes: &Nodes) -> Result<Vec<Mailbox>> {
        let admin = nodes.admin();
        admin.add_domain().await?;
        let mut mailboxes = Vec::new();
        for number in 0..self.accounts.max(1) {
            let added = admin.add_account(number).await?;
            mailboxes.push(Mailbox {
                account: added.account,
                shard: added.shard,
            });
        }
        Ok(mailboxes)
    }

    async fn send(&self, nodes: &Nodes, mailboxes: &[Mailbox], sent: &Arc<Sent>) -> Result<()> {
        let (client, octets) = (nodes.client(), Octets::new());
        let senders: Vec<_> = (0..self.senders.max(1))
            .map(|_| {
                let (client, octets) = (client.clone(), octets.clone());
                let (mailboxes, sent) = (mailboxes.to_vec(), Arc::clone(sent));
                tokio::spawn(async move {
                    while let Some(size) = sent.next() {
                        let to = mailboxes[fastrand::usize(..mailboxes.len())];
                        file(&client, to, &octets, size).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for sender in senders {
            sender.await??;
        }
        Ok(())
    }
}

const COLUMNS: [&str; 9] = [
    "replicas",
    "GiB",
    "letters",
    "letters_per_s",
    "MiB_per_s",
    "written_per_byte",
    "on_disk_per_byte",
    "cpu_us_each",
    "syncs_each",
];

/// What has been handed over, of what there is.
struct Sent {
    wanted: u64,
    letters: AtomicU64,
    octets: AtomicU64,
}

impl Sent {
    fn new(wanted: u64) -> Self {
        Self {
            wanted,
            letters: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        }
    }

    /// The size of the next letter; `None` when all are taken.
    fn next(&self) -> Option<u64> {
        let size = draw_size();
        let before = self.octets.fetch_add(size, Ordering::Relaxed);
        if before >= self.wanted {
            self.octets.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        self.letters.fetch_add(1, Ordering::Relaxed);
        Some(size)
    }

    fn letters(&self) -> u64 {
        self.letters.load(Ordering::Relaxed)
    }

    fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }
}

/// Octets of a letter, as [`SIZES`] has them.
fn draw_size() -> u64 {
    let (mut draw, mut smallest) = (fastrand::u64(..100), 1);
    for (largest, share) in SIZES {
        if draw < share {
            return fastrand::u64(smallest << 10..largest << 10);
        }
        draw -= share;
        smallest = largest;
    }
    smallest << 10
}

/// Hands a letter over, and checks that the same commit filed it.
async fn file(client: &StoreClient, to: Mailbox, octets: &Octets, size: u64) -> Result<()> {
    let id = mint(ShardId::new(to.shard))?;
    let mut letter = client.accept(id, size);
    let mut left = usize::try_from(size)?;
    while left > 0 {
        let chunk = octets.take(left.min(CHUNK));
        left -= chunk.len();
        letter.chunk(chunk).await?;
    }
    let recipient = Recipient {
        address: "somebody@example.org".into(),
        original: "somebody@example.org".into(),
        local: Some(LocalTarget {
            account: to.account,
            shard: to.shard,
        }),
        ..Recipient::default()
    };
    let finish = AcceptFinish {
        envelope: Some(Envelope {
            reverse_path: "sender@example.net".into(),
            recipients: vec![recipient],
            ..Envelope::default()
        }),
        chunk_octets: size,
        email: Some(content(size)),
        ..AcceptFinish::default()
    };
    let AcceptResponse { filed, .. } = letter.finish(finish).await?;
    anyhow::ensure!(filed, "a letter stayed in the spool");
    Ok(())
}

/// What is stored about a letter of two parts, as large as it usually is.
fn content(size: u64) -> EmailContent {
    const RETURN_PATH: &[u8] = b"Return-Path: <sender@example.net>\r\n";
    let segment = |piece| Segment { piece: Some(piece) };
    let range = |offset, length| Some(Range { offset, length });
    let part = |number| Part {
        path: vec![number],
        header: range(600, 100),
        body: range(700, size.saturating_sub(700)),
        encoding: "base64".into(),
        content_type: "text/plain".into(),
        charset: "utf-8".into(),
        lines: 10,
        kind: PartKind::Leaf.into(),
    };
    EmailContent {
        segments: vec![
            segment(Piece::Literal(RETURN_PATH.into())),
            segment(Piece::Range(Range {
                offset: 0,
                length: size,
            })),
        ],
        size: RETURN_PATH.len() as u64 + size,
        header_size: 600,
        envelope: vec![b'e'; 300].into(),
        body: vec![b'b'; 200].into(),
        bodystructure: vec![b's'; 300].into(),
        parts: vec![part(1), part(2)],
        message_id: format!("<{:032x}@example.net>", fastrand::u128(..)),
        subject_base: "a subject of some words".into(),
        ..EmailContent::default()
    }
}

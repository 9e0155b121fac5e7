//! Proposals per second: a letter accepted into the spool, by one replica and by three, beside what
//! the disk and RocksDB do with the same bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{AcceptCommand, BodySource, Command, CommandAnswer};
use postino_store::raft::{Group, Proposal, ProposeError};
use postino_store::{Store, StoreConfig};
use postino_types::ShardId;
use prost::Message;
use serde_json::json;

use crate::load::{Load, Octets, Reading, Tally};
use crate::node::{Nodes, mint};
use crate::report::{Report, quantile, rounded};
use crate::{raw, space};

/// What stands in front of a command in the log, as command.proto says.
const VERSION: u8 = 1;

/// How long a writer waits when its shard takes no more, or changes its leader.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of disk for each second of a measurement: three replicas, each byte written thrice, of
/// what a fast disk takes.
const SPACE_PER_SECOND: f64 = 3e9;

#[derive(Args)]
pub(crate) struct Proposals {
    /// Writers at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1_usize, 16, 64, 256])]
    writers: Vec<usize>,
    /// KiB of each proposal.
    #[arg(long, value_delimiter = ',', default_values_t = [1_usize, 10, 100, 1000])]
    kib: Vec<usize>,
    /// Replicas of the store.
    #[arg(long, value_delimiter = ',', default_values_t = [1_u32, 3])]
    replicas: Vec<u32>,
    /// Mail shards of the store.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Each is measured so often, in turn; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Fdatasync,
    RocksDb,
    Store { replicas: u32, shards: u32 },
}

impl Subject {
    fn name(self) -> String {
        match self {
            Self::Fdatasync => "fdatasync".to_owned(),
            Self::RocksDb => "rocksdb".to_owned(),
            Self::Store { replicas, .. } => format!("store x{replicas}"),
        }
    }

    /// Measures it on an empty directory, which is gone afterwards.
    fn measure(self, dir: &Path, load: &Load, octets: &Octets) -> Result<Reading> {
        let directory = tempfile::tempdir_in(dir)?;
        match self {
            Self::Fdatasync => raw::fdatasync(directory.path(), load, octets),
            Self::RocksDb => raw::rocksdb(directory.path(), load, octets),
            Self::Store { replicas, shards } => {
                let config = StoreConfig {
                    shards,
                    ..StoreConfig::default()
                };
                let nodes = Nodes::start(directory.path(), replicas, &config)?;
                let reading = propose_all(&nodes, load, octets);
                nodes.stop();
                reading
            }
        }
    }
}

impl Proposals {
    pub(crate) fn run(&self, dir: &Path) -> Result<()> {
        space::require(dir, (SPACE_PER_SECOND * (self.seconds * 1.25 + 1.0)) as u64)?;
        let octets = Octets::new();
        let shards = self.shards;
        let mut subjects = vec![Subject::Fdatasync, Subject::RocksDb];
        let stores = self.replicas.iter();
        subjects.extend(stores.map(|&replicas| Subject::Store { replicas, shards }));
        let mut report = Report::new("proposals", &COLUMNS);
        for &kib in &self.kib {
            for &writers in &self.writers {
                let load = Load {
                    writers,
                    size: kib << 10,
                    time: Duration::try_from_secs_f64(self.seconds)?,
                };
                self.cell(dir, &load, &subjects, &octets, &mut report)?;
            }
        }
        report.print();
        Ok(())
    }

    /// Measures all subjects under one load, in turn, so that a slow minute of the disk meets all.
    fn cell(
        &self,
        dir: &Path,
        load: &Load,
        subjects: &[Subject],
        octets: &Octets,
        report: &mut Report,
    ) -> Result<()> {
        let mut readings = vec![Vec::new(); subjects.len()];
        for round in 1..=self.rounds {
            for (subject, readings) in subjects.iter().zip(&mut readings) {
                let reading = subject
                    .measure(dir, load, octets)
                    .with_context(|| format!("{}, {load:?}", subject.name()))?;
                eprintln!(
                    "{} KiB, {} writers, round {round}: {} {:.0}/s",
                    load.size >> 10,
                    load.writers,
                    subject.name(),
                    reading.per_second()
                );
                readings.push(reading);
            }
        }
        let median = |readings: &[Reading], of: &dyn Fn(&Reading) -> f64| {
            quantile(readings.iter().map(of), 0.5)
        };
        let of_rocksdb = readings.get(1).map(|all| median(all, &Reading::per_second));
        for (subject, readings) in subjects.iter().zip(&readings) {
            let each = |of: &dyn Fn(&Reading) -> f64| rounded(median(readings, of));
            let rate = median(readings, &Reading::per_second);
            report.row([
                json!(load.size >> 10),
                json!(load.writers),
                json!(subject.name()),
                rounded(rate),
                rounded(rate * load.size as f64 / f64::from(1 << 20)),
                rounded(rate / of_rocksdb.unwrap_or(f64::NAN)),
                each(&|reading| reading.cost.cpu.as_secs_f64() * 1e6 / reading.done),
                each(&|reading| reading.syncs / reading.done),
                each(&|reading| reading.cost.written as f64 / reading.done),
            ]);
        }
        Ok(())
    }
}

const COLUMNS: [&str; 9] = [
    "KiB",
    "writers",
    "subject",
    "per_s",
    "MiB_per_s",
    "of_rocksdb",
    "cpu_us_each",
    "syncs_each",
    "bytes_written_each",
];

fn propose_all(nodes: &Nodes, load: &Load, octets: &Octets) -> Result<Reading> {
    let shards = Arc::new(Shards::of(nodes.stores())?);
    let tally = Arc::new(Tally::default());
    let writers: Vec<_> = (0..load.writers)
        .map(|_| {
            let (shards, tally) = (Arc::clone(&shards), Arc::clone(&tally));
            let (octets, size) = (octets.clone(), load.size);
            nodes.runtime().spawn(async move {
                while tally.goes_on() {
                    shards.accept(&octets, size, &tally).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let reading = tally.measure(load, || Ok(nodes.syncs()));
    for writer in writers {
        nodes.runtime().block_on(writer)??;
    }
    reading
}

/// Every mail shard, each as every node has it.
struct Shards(Vec<Vec<Group>>);

impl Shards {
    fn of(stores: &[Store]) -> Result<Self> {
        let nodes = stores.iter().map(|store| store.cluster().node());
        let nodes: Option<Vec<_>> = nodes.collect();
        let nodes = nodes.context("a store is in no cluster")?;
        let first = nodes.first().context("a store")?;
        let shards = first.identity().mail_shards();
        let replicas = |shard| nodes.iter().filter_map(move |node| node.group(shard));
        Ok(Self(
            shards.map(|shard| replicas(shard).collect()).collect(),
        ))
    }

    /// Has a letter accepted into the spool of some shard, on the node that leads it.
    async fn accept(&self, octets: &Octets, size: usize, tally: &Tally) -> Result<()> {
        let replicas = &self.0[fastrand::usize(..self.0.len())];
        let shard = replicas.first().context("a replica")?.shard();
        let proposal = letter(shard, octets, size)?;
        while tally.goes_on() {
            let Some(leader) = replicas.iter().find(|group| group.is_leader()) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match leader.propose(proposal.clone()).await {
                Ok(applied) => {
                    let answer = CommandAnswer::decode(applied.answer)?.result;
                    let Some(Answer::Accepted(_)) = answer else {
                        bail!("not accepted: {answer:?}");
                    };
                    tally.add(1);
                    return Ok(());
                }
                // An Accept may be repeated.
                Err(error) if error.is_temporary() && error != ProposeError::DiskFull => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A letter to somebody elsewhere.
fn letter(shard: ShardId, octets: &Octets, size: usize) -> Result<Proposal> {
    let accept = AcceptCommand {
        queue_id: mint(shard)?.to_string(),
        envelope: vec![b'e'; 200].into(),
        recipients: 1,
        size: size as u64,
        body: Some(BodySource {
            length: size as u64,
            ..BodySource::default()
        }),
        ..AcceptCommand::default()
    };
    let kind = Some(Kind::Accept(accept));
    let mut command = vec![VERSION];
    Command { kind }.encode(&mut command)?;
    Ok(Proposal::new(command).with_body(octets.take(size)))
}

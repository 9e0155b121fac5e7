//! Bytes per account, and how fast accounts are made and a store with all of them starts.

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use futures::future::try_join_all;
use postino_store::StoreConfig;
use serde_json::json;

use crate::cost::resident;
use crate::node::{Admin, Nodes};
use crate::report::{Report, rounded};
use crate::{settle, space};

/// Bytes of disk for each account, at most, while the log is full of them.
const SPACE: u64 = 16 << 10;

#[derive(Args)]
pub(crate) struct Accounts {
    /// How many accounts.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
    /// How many are made at once.
    #[arg(long, default_value_t = 256)]
    makers: usize,
    /// Mail shards of the store.
    #[arg(long, default_value_t = 16)]
    shards: u32,
}

impl Accounts {
    pub(crate) fn run(&self, dir: &Path) -> Result<()> {
        space::require(dir, (2 << 30) + SPACE * self.count as u64)?;
        let directory = tempfile::tempdir_in(dir)?;
        let config = StoreConfig {
            shards: self.shards,
            ..StoreConfig::default()
        };
        let start = || Nodes::start(directory.path(), 1, &config);
        let data = directory.path().join("store-0");

        let nodes = start()?;
        nodes.runtime().block_on(nodes.admin().add_domain())?;
        nodes.stop();
        let empty = settle::settled(&data)?;

        let nodes = start()?;
        let (before, begin) = (resident()?, Instant::now());
        nodes.runtime().block_on(self.make(nodes.admin()))?;
        let took = begin.elapsed();
        let grown = resident()?.saturating_sub(before);
        nodes.stop();
        let full = settle::settled(&data)?;

        let begin = Instant::now();
        let nodes = start()?;
        let started = begin.elapsed();
        nodes.stop();

        let count = self.count as f64;
        let mut report = Report::new("accounts", &COLUMNS);
        report.row([
            json!(self.count),
            rounded(count / took.as_secs_f64()),
            rounded(full.saturating_sub(empty) as f64 / count),
            rounded(grown as f64 / count),
            rounded(started.as_secs_f64() * 1e3),
        ]);
        report.print();
        Ok(())
    }

    async fn make(&self, admin: Admin) -> Result<()> {
        let next = Cell::new(0);
        let make = || async {
            while next.get() < self.count {
                let number = next.replace(next.get() + 1);
                admin.add_account(number).await?;
            }
            anyhow::Ok(())
        };
        try_join_all((0..self.makers.max(1)).map(|_| make())).await?;
        Ok(())
    }
}

const COLUMNS: [&str; 5] = [
    "accounts",
    "made_per_s",
    "disk_bytes_each",
    "memory_bytes_each",
    "start_ms",
];

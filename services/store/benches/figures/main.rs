//! What the store costs and what it carries, on this machine: `tests/figures.sh` runs it.
//!
//! Each command prints a table and, below it, the same as one line of JSON. Data lies in a folder
//! of its own below `--dir` and is deleted at the end.

mod accounts;
mod cost;
mod load;
mod mail;
mod node;
mod proposals;
mod raw;
mod report;
mod settle;
mod space;

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// Measures the store.
#[derive(Parser)]
#[command(name = "figures")]
struct Cli {
    /// Where data is put, on the disk that is to be measured.
    #[arg(long, global = true, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Given by cargo.
    #[arg(long, global = true, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Proposals per second, beside raw fdatasync and RocksDB's own synced writes.
    Proposals(proposals::Proposals),
    /// Bytes written per byte of mail, compaction included.
    Mail(mail::Mail),
    /// Bytes on disk and in memory per account.
    Accounts(accounts::Accounts),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Proposals(proposals)) => proposals.run(&cli.dir),
        Some(Command::Mail(mail)) => mail.run(&cli.dir),
        Some(Command::Accounts(accounts)) => accounts.run(&cli.dir),
        // "cargo bench" of the whole workspace: measuring takes long, so it has to be asked for.
        None => Ok(Cli::command().print_help()?),
    }
}

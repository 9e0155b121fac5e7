//! `figures`: what the whole system does on this machine; `tests/figures.sh` runs it. Each command
//! prints a table and, below it, the same as one line of JSON.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use postino_tests::figures::{failover, idle, mailbox};

/// Measures the whole system. Data lies below $TMPDIR and is deleted at the end.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How long mail stands still when the leading one of three stores is killed, or stops.
    Failover(FailoverArgs),
    /// What three stores cost that have nothing to do.
    Idle(IdleArgs),
    /// What is done to a very large mailbox, beside a small one.
    Mailbox(MailboxArgs),
}

#[derive(Args)]
struct FailoverArgs {
    /// How the store ends.
    #[arg(long, value_delimiter = ',', default_values = ["kill", "drain"])]
    ends: Vec<End>,
    /// How often, each way.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Connections that send letters.
    #[arg(long, default_value_t = 8)]
    senders: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum End {
    /// kill -9
    Kill,
    /// SIGTERM
    Drain,
}

#[derive(Args)]
struct IdleArgs {
    /// Mail shards.
    #[arg(long, default_value_t = 64)]
    shards: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds in which the cluster is left alone before.
    #[arg(long, default_value_t = 15)]
    settle: u64,
}

#[derive(Args)]
struct MailboxArgs {
    /// Messages of the large mailbox.
    #[arg(long, default_value_t = 1_000_000)]
    large: usize,
    /// Messages of the small one.
    #[arg(long, default_value_t = 1000)]
    small: usize,
    /// How often each operation is done in each.
    #[arg(long, default_value_t = 200)]
    samples: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Failover(arguments) => {
            let end = |end| match end {
                End::Kill => failover::End::Kill,
                End::Drain => failover::End::Drain,
            };
            failover::run(failover::Plan {
                ends: arguments.ends.into_iter().map(end).collect(),
                rounds: arguments.rounds,
                senders: arguments.senders,
            })
            .await
        }
        Command::Idle(arguments) => {
            idle::run(idle::Plan {
                shards: arguments.shards,
                length: Duration::from_secs(arguments.seconds),
                settle: Duration::from_secs(arguments.settle),
            })
            .await
        }
        Command::Mailbox(arguments) => {
            mailbox::run(mailbox::Plan {
                large: arguments.large,
                small: arguments.small,
                samples: arguments.samples,
            })
            .await
        }
    }
}

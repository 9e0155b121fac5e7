//! `load`: drives any mail server over SMTP and IMAP, and checks a journal against mailboxes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use postino_tests::load::cost::{get, metric, processor_time};
use postino_tests::load::journal::Journal;
use postino_tests::load::mailboxes::{Watchers, verify};
use postino_tests::load::{Accounts, imap, smtp};

/// Load on a mail server, and the proof of what became of it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send letters; with --imap, wait until all are in the mailboxes.
    Smtp(SmtpArgs),
    /// Run a mix of IMAP commands.
    Imap(ImapArgs),
    /// Check that every journaled letter is in its mailbox exactly once.
    Verify(VerifyArgs),
}

#[derive(Args)]
struct AccountArgs {
    /// Addresses of the accounts, with {} where a number from 0 goes.
    #[arg(long, default_value = "u{}@peer.test")]
    accounts: String,
    /// How many accounts there are.
    #[arg(long, default_value_t = 100)]
    account_count: usize,
    /// The password of all accounts.
    #[arg(long, default_value = "pw")]
    password: String,
}

impl AccountArgs {
    fn accounts(&self) -> Accounts {
        Accounts {
            pattern: self.accounts.clone(),
            count: self.account_count,
            password: self.password.clone(),
        }
    }
}

#[derive(Args)]
struct SmtpArgs {
    /// The SMTP server.
    server: SocketAddr,
    /// Connections at once.
    #[arg(long, short, default_value_t = 20)]
    connections: usize,
    /// Letters in all.
    #[arg(long, short, default_value_t = 2000)]
    messages: usize,
    /// Seconds at most.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Octets a letter.
    #[arg(long, default_value_t = 10240)]
    size: usize,
    /// The reverse-path.
    #[arg(long, default_value = "bench@sender.test")]
    from: String,
    #[command(flatten)]
    accounts: AccountArgs,
    /// Write each acknowledged Message-ID to this file.
    #[arg(long)]
    journal: Option<PathBuf>,
    /// The IMAP server: wait until all letters have arrived.
    #[arg(long)]
    imap: Option<SocketAddr>,
    /// Measure the processor time of these processes and of those below them.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// HTTP address whose /metrics count syncs.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// The counter of syncs in /metrics.
    #[arg(long, default_value = "postino_store_syncs_total")]
    sync_metric: String,
}

#[derive(Args)]
struct ImapArgs {
    /// The IMAP server.
    server: SocketAddr,
    /// Connections at once.
    #[arg(long, short, default_value_t = 20)]
    connections: usize,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    accounts: AccountArgs,
}

#[derive(Args)]
struct VerifyArgs {
    /// The IMAP server.
    server: SocketAddr,
    /// The journal.
    #[arg(long)]
    journal: PathBuf,
    /// The password of all accounts.
    #[arg(long, default_value = "pw")]
    password: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Smtp(arguments) => run_smtp(arguments).await,
        Command::Imap(arguments) => run_imap(arguments).await,
        Command::Verify(arguments) => run_verify(arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn syncs(arguments: &SmtpArgs) -> Result<Option<f64>> {
    let Some(server) = arguments.metrics else {
        return Ok(None);
    };
    let (_, page) = get(server, "/metrics").await?;
    let value = metric(&page, &arguments.sync_metric);
    Ok(Some(value.with_context(|| {
        format!("no {} in /metrics", arguments.sync_metric)
    })?))
}

async fn run_smtp(arguments: SmtpArgs) -> Result<()> {
    let accounts = arguments.accounts.accounts();
    let mut watchers = match arguments.imap {
        Some(server) => Some(Watchers::open(server, &accounts).await?),
        None => None,
    };
    let journal = arguments
        .journal
        .as_deref()
        .map(Journal::open)
        .transpose()?;
    let plan = smtp::Plan {
        server: arguments.server,
        connections: arguments.connections,
        messages: arguments.messages,
        limit: Duration::from_secs(arguments.seconds),
        size: arguments.size,
        sender: arguments.from.clone(),
        accounts,
    };
    let syncs_before = syncs(&arguments).await?;
    let time_before = processor_time(&arguments.pid)?;
    let outcome = smtp::send(plan, journal).await?;
    let mut line = format!(
        "accepted={} connections={} size={} accepted/s={:.0} p50={}us p99={}us",
        outcome.accepted,
        arguments.connections,
        arguments.size,
        outcome.per_second(),
        outcome.latency.value_at_quantile(0.5),
        outcome.latency.value_at_quantile(0.99),
    );
    if outcome.unknown + outcome.deferred > 0 {
        line += &format!(" unknown={} deferred={}", outcome.unknown, outcome.deferred);
    }
    let letters = outcome.accepted.max(1) as f64;
    if let (Some(before), Some(after)) = (syncs_before, syncs(&arguments).await?) {
        line += &format!(" syncs/1000={:.0}", (after - before) * 1000.0 / letters);
    }
    if let Some(watchers) = &mut watchers {
        let waited = watchers
            .wait(outcome.accepted, Duration::from_secs(300))
            .await?;
        let whole = outcome.elapsed + waited;
        line += &format!(" delivered/s={:.0}", letters / whole.as_secs_f64());
    }
    if !arguments.pid.is_empty() {
        let used = processor_time(&arguments.pid)?.saturating_sub(time_before);
        line += &format!(" cpu-us/letter={:.0}", used.as_micros() as f64 / letters);
    }
    println!("{line}");
    Ok(())
}

async fn run_imap(arguments: ImapArgs) -> Result<()> {
    let outcome = imap::ask(imap::Plan {
        server: arguments.server,
        connections: arguments.connections,
        limit: Duration::from_secs(arguments.seconds),
        accounts: arguments.accounts.accounts(),
    })
    .await?;
    println!(
        "commands={} connections={} commands/s={:.0} p50={}us p99={}us login-p50={}us login-p99={}us",
        outcome.commands,
        arguments.connections,
        outcome.commands as f64 / outcome.elapsed.as_secs_f64(),
        outcome.latency.value_at_quantile(0.5),
        outcome.latency.value_at_quantile(0.99),
        outcome.login.value_at_quantile(0.5),
        outcome.login.value_at_quantile(0.99),
    );
    Ok(())
}

async fn run_verify(arguments: VerifyArgs) -> Result<()> {
    let journal = Journal::read(&arguments.journal)?;
    let verdict = verify(arguments.server, &arguments.password, &journal).await?;
    println!(
        "found={} lost={} doubled={} unknown-found={}",
        verdict.found,
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.unknown_found
    );
    verdict.check()
}

//! `faults`: a cluster of three stores under load and faults, and the proof that it kept every
//! promise. Needs root: each store gets a network namespace, one of them a disk.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use postino_tests::faults::history::{History, Proof};
use postino_tests::faults::network::Network;
use postino_tests::faults::schedule::Kind;
use postino_tests::faults::{Plan, run};

/// Faults on a cluster under load, and the proof of what it kept.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The same seed makes the same faults; left out, one is drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What may happen, separated by commas; left out, everything.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Store nodes.
    #[arg(long, default_value_t = 3)]
    stores: usize,
    /// Connections that send letters.
    #[arg(long, default_value_t = 8)]
    senders: usize,
    /// Keep the history and all logs in this folder, also of a run that holds.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Run nothing: judge a history that was kept.
    #[arg(long, value_name = "FILE", exclusive = true)]
    judge: Option<PathBuf>,
    /// The network that this process was started in, by itself.
    #[arg(long, hide = true)]
    inside: Option<String>,
}

impl Cli {
    fn plan(&self, seed: u64) -> Plan {
        let mut kinds = self.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            kinds = Kind::value_variants().to_vec();
        }
        let folder = format!("postino-faults-{seed}");
        let keep = || std::env::temp_dir().join(folder);
        Plan {
            seed,
            length: Duration::from_secs(self.seconds),
            kinds,
            stores: self.stores,
            senders: self.senders,
            keep: self.keep.clone().unwrap_or_else(keep),
            always: self.keep.is_some(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    let done = match (&cli.judge, &cli.inside) {
        (Some(path), _) => judge(path),
        (None, None) => outside(&cli, seed),
        (None, Some(name)) => inside(&cli, seed, name),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn judge(path: &std::path::Path) -> Result<ExitCode> {
    print(&History::read(path)?.check()?);
    Ok(ExitCode::SUCCESS)
}

/// Makes the network, and runs this program again in it.
fn outside(cli: &Cli, seed: u64) -> Result<ExitCode> {
    println!("seed {seed}");
    let network = Network::make(cli.stores)?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &network.hub()]);
    command.arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    command.args(["--inside", network.name()]);
    if cli.seed.is_none() {
        command.args(["--seed", &seed.to_string()]);
    }
    let status = command.status().context("ip netns exec")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// libfaketime leaves files there for each process that is killed. "ip netns exec" has given this
/// process mounts of its own, so that they go with it.
fn own_shared_memory() -> Result<()> {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "postino-faults", "/dev/shm"]);
    let status = mount.status().context("mount")?;
    ensure!(status.success(), "mount /dev/shm: {status}");
    Ok(())
}

#[tokio::main]
async fn inside(cli: &Cli, seed: u64, name: &str) -> Result<ExitCode> {
    own_shared_memory()?;
    let plan = cli.plan(seed);
    let network = Network::named(name, cli.stores);
    let report = run(&plan, network).await.with_context(|| {
        let keep = plan.keep.display();
        format!("seed {seed}: logs and history, as far as there are any, are in {keep}")
    })?;
    let letters = &report.letters;
    println!(
        "{} faults ({} times a store ended for lack of room), {} moves of accounts, recovered in \
         {:.1?}; letters: {} accepted, {} deferred, {} of unknown outcome, longest gap {:.1?}",
        report.faults,
        report.without_room,
        report.moves,
        report.recovery,
        letters.accepted,
        letters.deferred,
        letters.unknown,
        letters.longest_gap
    );
    print(&report.proof);
    Ok(ExitCode::SUCCESS)
}

fn print(proof: &Proof) {
    println!(
        "mailboxes: {} found, 0 lost, 0 doubled, {} of unknown outcome found; {} UIDs kept in {} \
         looks",
        proof.letters.found, proof.letters.unknown_found, proof.observed.0, proof.observed.1
    );
    println!(
        "flags: {} calls in order, {} of unknown outcome",
        proof.flags.0, proof.flags.1
    );
    match proof.replicas {
        Some(count) => println!("replicas: {count} compared, all equal"),
        None => println!("replicas: not compared, this build has no \"cluster verify\""),
    }
}

//! The one binary: every role, the all-in-one, and the commands of the operator. Wiring only.

mod admin;
mod cli;
mod config;
mod demo;
mod listen;
mod ports;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::admin::output;
use crate::cli::{Cli, Command, ConfigAction};

// Also of RocksDB: it takes the place of malloc. Half the memory of the others that were tried, for
// four hundredths more of processor time (decisions/allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit codes: 0 done, 1 refused; 2, for what is not understood, is clap's.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postino: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refused) => ExitCode::FAILURE,
    }
}

/// The command was refused, and the user has been told why.
struct Refused;

async fn dispatch(command: Command) -> Result<(), Refused> {
    let (json, done) = match command {
        Command::Dev(arguments) => return told(run::dev(arguments).await),
        Command::Serve(arguments) => return told(run::serve(arguments).await),
        Command::Config {
            action: ConfigAction::Default,
        } => return told(config::print_default()),
        Command::Config {
            action: ConfigAction::Check { config, set },
        } => {
            return told(config::check(config.as_deref(), &set));
        }
        Command::Domain { action, target } => {
            (target.json, admin::domain::run(action, target).await)
        }
        Command::Account { action, target } => {
            (target.json, admin::account::run(action, target).await)
        }
        Command::Alias { action, target } => (target.json, admin::alias::run(action, target).await),
        Command::Queue { action, target } => (target.json, admin::queue::run(action, target).await),
        Command::Export {
            address,
            directory,
            format,
            target,
        } => {
            let json = target.json;
            let exported = admin::archive::export(&address, &directory, format, target).await;
            (json, exported)
        }
        Command::Import {
            address,
            path,
            mailbox,
            target,
        } => {
            let json = target.json;
            let imported = admin::archive::import(&address, &path, &mailbox, target).await;
            (json, imported)
        }
        Command::Backup { action, target } => {
            (target.json, admin::backup::run(action, target).await)
        }
        Command::Restore {
            directory,
            nodes,
            target,
        } => {
            let json = target.json;
            let restored = admin::backup::restore(&directory, nodes, target).await;
            (json, restored)
        }
        Command::Cluster { action, target } => {
            (target.json, admin::cluster::run(action, target).await)
        }
    };
    done.map_err(|error| {
        if !matches!(error, admin::AdminError::Shown) {
            output::refused(json, &error);
        }
        Refused
    })
}

fn told(outcome: anyhow::Result<()>) -> Result<(), Refused> {
    outcome.map_err(|error| {
        eprintln!("postino: {error:#}");
        Refused
    })
}

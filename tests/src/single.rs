//! `postino dev`: everything in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Ports, Process, binary, read_ports};
use crate::program::{Output, run};
use crate::wait::{seconds, until};

/// Every listener of `dev`; the tests give each port 0.
const LISTENERS: [&str; 9] = [
    "smtp",
    "submission",
    "submissions",
    "imap",
    "imaps",
    "pop3",
    "pop3s",
    "http",
    "admin",
];

/// A running `postino dev` with a data directory of its own.
pub struct Postino {
    process: Process,
    data: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    ports: Ports,
    /// Removed last.
    _directory: TempDir,
}

/// What to start.
#[derive(Default)]
pub struct Builder {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// Adds command-line arguments.
    pub fn arguments<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(more.into_iter().map(Into::into));
        self
    }

    /// Adds `--set KEY=VALUE`.
    pub fn set(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.arguments(["--set".to_owned(), format!("{key}={value}")])
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Result<Postino> {
        let directory = TempDir::with_prefix("postino-e2e-")?;
        let data = directory.path().join("data");
        let process = spawn(&data, directory.path(), &self.arguments, &self.environment)?;
        let mut postino = Postino {
            process,
            data,
            arguments: self.arguments,
            environment: self.environment,
            ports: Ports::new(),
            _directory: directory,
        };
        postino.wait_ready().await?;
        Ok(postino)
    }
}

fn spawn(
    data: &Path,
    directory: &Path,
    arguments: &[String],
    environment: &[(String, String)],
) -> Result<Process> {
    let mut command = Command::new(binary()?);
    command.arg("dev").arg("--data").arg(data);
    for listener in LISTENERS {
        if !arguments.iter().any(|a| *a == format!("--{listener}")) {
            command.args([format!("--{listener}"), "127.0.0.1:0".into()]);
        }
    }
    command.args(arguments).envs(environment.iter().cloned());
    Process::start(&mut command, &directory.join("log"))
}

impl Postino {
    /// Sets one up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one with the defaults.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let (process, data) = (&mut self.process, &self.data);
        let ready = until("ports.json", seconds(60), async || {
            if let Some(status) = process.ended() {
                return Some(Err(status));
            }
            read_ports(data).map(Ok)
        });
        match ready.await {
            Ok(Ok(ports)) => self.ports = ports,
            Ok(Err(status)) => bail!("ended with {status}:\n{}", self.process.output()),
            Err(error) => bail!("{error}:\n{}", self.process.output()),
        }
        Ok(())
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self
            .ports
            .get(listener)
            .unwrap_or_else(|| panic!("no {listener} in {:?}", self.ports))
    }

    /// Where mail comes in.
    pub fn smtp(&self) -> SocketAddr {
        self.address("smtp")
    }

    /// Where mail is read.
    pub fn imap(&self) -> SocketAddr {
        self.address("imap")
    }

    /// All listeners.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it printed and logged.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        // What a killed process leaves must not be taken for the next one's.
        std::fs::remove_file(self.data.join("ports.json")).context("ports.json")
    }

    /// SIGTERM; an error if it does not end well.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.stop(seconds(40)).await?;
        anyhow::ensure!(status.success(), "ended with {status}:\n{}", self.output());
        let _ = std::fs::remove_file(self.data.join("ports.json"));
        Ok(())
    }

    /// Starts it again on the same data and the same ports.
    pub async fn start_again(&mut self) -> Result<()> {
        let mut arguments = self.arguments.clone();
        for (listener, address) in &self.ports {
            arguments.extend([format!("--{listener}"), address.to_string()]);
        }
        let directory = self.data.parent().context("a directory above")?.to_owned();
        self.process = spawn(&self.data, &directory, &arguments, &self.environment)?;
        self.wait_ready().await
    }

    /// Runs a command of the binary against this system.
    pub async fn command(&self, arguments: &[&str]) -> Result<Output> {
        let data = self.data.to_string_lossy().into_owned();
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["--data", &data]);
        run(&binary()?.to_string_lossy(), &all).await
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub async fn done(&self, arguments: &[&str]) -> Result<String> {
        self.command(arguments).await?.success()
    }
}

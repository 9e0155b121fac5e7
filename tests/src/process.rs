//! One process that a test started: its files, its signals, its end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::wait;

/// The built binary: `POSTINO_BIN`, or the one beside this test in the target directory.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("POSTINO_BIN") {
        return Ok(path.into());
    }
    beside("postino").context(
        "the binary is not built: cargo build --release --locked --workspace --bin postino",
    )
}

/// A program of this workspace, if it is built: it lies beside this test in the target directory.
pub fn beside(program: &str) -> Option<PathBuf> {
    let me = std::env::current_exe().ok()?;
    let folders = me.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The top of the source tree.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is below the top")
}

/// What `ports.json` says: listener name to address.
pub type Ports = BTreeMap<String, SocketAddr>;

/// Reads a `ports.json`; `None` while it is not there.
pub fn read_ports(dir: &Path) -> Option<Ports> {
    let text = fs::read(dir.join("ports.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Sends a signal to a process by its id.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")?;
    Ok(kill_process(pid, signal)?)
}

/// Whether a process runs.
pub fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// The highest resident size that a process ever had (VmHWM), octets.
pub fn peak_memory(pid: u32) -> Result<u64> {
    status_field(pid, "VmHWM:")
}

/// The resident size of a process now (VmRSS), octets.
pub fn resident_memory(pid: u32) -> Result<u64> {
    status_field(pid, "VmRSS:")
}

fn status_field(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .context("no such field")?;
    let kib = line.split_whitespace().nth(1).context("a number")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// A child with its output in a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) -> Result<()> {
        signal(self.pid(), which)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        wait::until("the process ends after SIGTERM", limit, async || {
            self.ended()
        })
        .await
    }

    /// What it wrote.
    pub fn output(&self) -> String {
        fs::read(&self.log)
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.log.display(), tail(&self.output()));
        }
    }
}

/// The last lines of a log, for a failure's report.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

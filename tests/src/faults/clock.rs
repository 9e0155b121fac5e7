//! Wall clocks that jump while their processes run, by libfaketime: each process reads its own from
//! a file. The monotonic clock is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The clocks of all processes.
#[derive(Debug)]
pub struct Clocks {
    directory: TempDir,
    library: PathBuf,
}

impl Clocks {
    /// All are right until one is set.
    pub fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("postino-clocks-")?;
        early(directory.path())?;
        Ok(Self {
            directory,
            library: library(Path::new("/usr/lib"))?,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What to put before the command of a process, so that its clock can be set.
    pub fn command(&self, name: &str) -> Result<String> {
        self.set(name, 0)?;
        Ok(format!(
            "env LD_PRELOAD={}:{} FAKETIME_TIMESTAMP_FILE={} FAKETIME_CACHE_DURATION=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1",
            self.file(EARLY).display(),
            self.library.display(),
            self.file(name).display()
        ))
    }

    /// Sets a clock, within a second, to so many seconds from what is right.
    pub fn set(&self, name: &str, seconds: i64) -> Result<()> {
        // In one step: a process that reads half a number ends.
        let new = self.file(&format!("{name}.new"));
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(&new, self.file(name)).with_context(|| format!("the clock of {name}"))
    }
}

/// The library that lets a process with jemalloc start; `early_clock.c` says why.
const EARLY: &str = "early_clock.so";

/// Compiles [`EARLY`] into a directory.
fn early(directory: &Path) -> Result<()> {
    let source = directory.join("early_clock.c");
    fs::write(&source, include_str!("early_clock.c"))?;
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-shared", "-fPIC", "-o"]);
    let compiled = compile.arg(directory.join(EARLY)).arg(&source).output()?;
    let said = String::from_utf8_lossy(&compiled.stderr);
    ensure!(compiled.status.success(), "cc: {said}");
    Ok(())
}

/// Where Debian's package has it: in a folder of the machine's architecture.
fn library(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.flatten();
    let mut paths = entries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.find(|path| path.is_file());
    found.context("libfaketime is not installed: deploy/packages.sh test")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::process::Process;
    use crate::wait::{seconds, until};

    #[test]
    fn a_clock_that_is_set_is_what_a_process_sees() -> Result<()> {
        let clocks = Clocks::new()?;
        let prefix = clocks.command("one")?;
        for offset in [0_i64, 3600, -7200] {
            clocks.set("one", offset)?;
            let mut words = prefix.split_whitespace();
            let mut command = Command::new(words.next().context("a program")?);
            let output = command.args(words).args(["date", "+%s"]).output()?;
            let seen: i64 = String::from_utf8(output.stdout)?.trim().parse()?;
            let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() as i64;
            assert!((seen - now - offset).abs() < 30, "{offset}: {}", seen - now);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_clock_jumps_under_a_process_that_runs() -> Result<()> {
        let clocks = Clocks::new()?;
        let prefix = clocks.command("two")?;
        let script = "while echo $EPOCHSECONDS; do sleep 0.1; done";
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {prefix} bash -c '{script}'")]);
        let process = Process::start(&mut command, &clocks.file("said"))?;
        let said = || -> Vec<i64> {
            let output = process.output();
            output.lines().flat_map(str::parse).collect()
        };
        let first = async || said().first().copied();
        let first = until("a time", seconds(20), first).await?;
        clocks.set("two", -3600)?;
        let jumps = |now: &i64| (-3600..-3500).contains(&(now - first));
        let jumped = async || said().last().copied().filter(jumps).map(drop);
        until("the clock jumps", seconds(20), jumped).await
    }
}

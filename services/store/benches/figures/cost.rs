//! What this process has used so far.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// Used by this process, all threads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Processor time, in user mode and in the kernel: what getrusage(2) tells, in nanoseconds.
    pub(crate) cpu: Duration,
    /// Bytes that went to the disk or are sure to go (proc(5), `write_bytes`).
    pub(crate) written: u64,
}

impl Cost {
    /// Since the process started.
    pub(crate) fn now() -> Result<Self> {
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?;
        let written = field("/proc/self/io", "write_bytes:")?;
        Ok(Self { cpu, written })
    }

    /// Since an earlier moment.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// The memory of this process that is resident now, bytes.
pub(crate) fn resident() -> Result<u64> {
    Ok(field("/proc/self/status", "VmRSS:")? * 1024)
}

/// The first number of a line.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).context(path.to_owned())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    let word = word.with_context(|| format!("no {name} in {path}"))?;
    Ok(word.parse()?)
}

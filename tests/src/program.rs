//! Other people's programs, run to their end within a deadline.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::wait::seconds;

/// How long a program may take.
const LIMIT: u64 = 120;

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as text, or an error if the program failed.
    pub fn success(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit {}: {}\n{}", self.code, self.text(), self.stderr);
        }
        Ok(self.text())
    }
}

/// Runs a program without input.
pub async fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    run_with(program, arguments, b"").await
}

/// Runs a program with this input.
pub async fn run_with(program: &str, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let write = async {
        // A program that does not read its input to the end may have all it needs.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = timeout(seconds(LIMIT), both)
        .await
        .with_context(|| format!("{program} {arguments:?} hangs"))??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a Python script, and gives what it printed.
pub async fn python(script: &str, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["-c", script];
    all.extend(arguments);
    run("python3", &all).await?.success()
}

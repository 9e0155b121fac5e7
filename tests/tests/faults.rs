//! A minute of faults of every kind with a fixed seed, as `tests/faults.sh` runs it for longer and
//! with others.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use postino_tests::faults::disk::Disk;
use postino_tests::process::{Process, beside};
use postino_tests::wait::{seconds, until};

#[tokio::test]
async fn a_minute_of_faults_breaks_no_promise() -> Result<()> {
    let mut command = Command::new(beside("faults").context("the faults command is not built")?);
    command.args(["--seed", "20261125", "--seconds", "60"]);
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let mut process = Process::start(&mut command, &log)?;
    let ended = async || process.ended();
    let status = until("the faults are over", seconds(400), ended).await?;
    println!("{}", process.output());
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_disk_is_filled_freed_and_taken_away() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path().join("disk");
    let disk = Disk::mount(at.clone(), 8 << 20)?;
    let whole = disk.free()?;
    disk.fill(1 << 20)?;
    ensure!(disk.free()? == 1 << 20, "{} octets are free", disk.free()?);
    disk.empty()?;
    disk.fill(0)?;
    let written = std::fs::write(at.join("more"), [0; 10_000]);
    ensure!(written.is_err(), "the disk is not full");
    disk.empty()?;
    std::fs::remove_file(at.join("more"))?;
    ensure!(disk.free()? == whole, "{} of {whole}", disk.free()?);
    drop(disk);
    ensure!(!at.exists(), "it is still there");
    Ok(())
}

//! Store nodes that come back after a long time: they heal by themselves, while the others serve.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use postino_tests::faults::disk::Disk;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::process::is_alive;
use postino_tests::status::{is_settled, list, node, number, until_status};
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, Cluster, PASSWORD, imap, smtp};
use tempfile::TempDir;

/// Letters that come while one store is away: several times what the log keeps for it.
const LETTERS: usize = 80;

/// How far each shard has come on a store node.
async fn applied(cluster: &Cluster, node: &str) -> Result<BTreeMap<u64, u64>> {
    let status = cluster.command_at(node, &["cluster", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.await?.success()?)?;
    let groups = status["groups"].as_array().context("groups")?;
    let applied = |group: &serde_json::Value| {
        let shard = group["shard"].as_u64().context("shard")?;
        Ok((
            shard,
            group["applied_index"].as_u64().context("applied_index")?,
        ))
    };
    groups.iter().map(applied).collect()
}

#[tokio::test]
async fn a_store_that_was_away_past_the_purge_heals_by_a_snapshot_and_serves() -> Result<()> {
    let cluster = Cluster::builder()
        .set("store.raft.log_entries", 8)
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let send = async || smtp::send(cluster.smtp()?, ALICE, &[BOB], &message).await;
    send().await?;
    cluster.kill("store-3").await?;
    for _ in 0..LETTERS {
        send().await?;
    }
    cluster.start("store-3").await?;
    let healed = async || {
        let log = cluster.log("store-3");
        log.contains("a snapshot is installed").then_some(())
    };
    until("store-3 has a snapshot", seconds(60), healed).await?;
    let caught_up = async || {
        let there = applied(&cluster, "store-1").await.ok()?;
        let here = applied(&cluster, "store-3").await.ok()?;
        (there == here).then_some(())
    };
    until("store-3 has caught up", seconds(60), caught_up).await?;

    // Now nothing works without it.
    cluster.kill("store-2").await?;
    send().await?;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, LETTERS + 2).await?;
    assert_eq!(inbox.len(), LETTERS + 2);
    assert!(inbox.iter().all(|letter| letter.ends_with(&message)));
    // The other one that was there all the time goes too, and comes back: what store-3 got by
    // the snapshot is what it leads with, or what it gives away.
    cluster.start("store-2").await?;
    until("all have caught up", seconds(60), async || {
        let there = applied(&cluster, "store-2").await.ok()?;
        let here = applied(&cluster, "store-3").await.ok()?;
        (there == here).then_some(())
    })
    .await?;
    cluster.kill("store-1").await?;
    send().await?;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, LETTERS + 3).await?;
    assert!(inbox.iter().all(|letter| letter.ends_with(&message)));
    Ok(())
}

/// A store that has lost what it had comes back as a new node in its own place, without a command.
async fn comes_back(lose: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let cluster = Cluster::builder().set("store.shards", 4).start().await?;
    let settled = |status: &serde_json::Value| is_settled(status, 5, 3);
    let status = until_status(&cluster, "store-1", "it is settled", settled).await?;
    let before = number(&cluster, &status, "store-2")?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let send = async || smtp::send(cluster.smtp()?, ALICE, &[BOB], &message).await;
    for _ in 0..10 {
        send().await?;
    }
    cluster.kill("store-2").await?;
    lose(&cluster.path().join("store-2/store"))?;
    send().await?;
    cluster.start("store-2").await?;
    let healed = |status: &serde_json::Value| {
        let three = list(status, "nodes").len() == 3;
        is_settled(status, 5, 3) && three && node(status, &before).is_none()
    };
    until_status(&cluster, "store-1", "another node is in its place", healed).await?;
    // What it holds now is enough for a majority.
    cluster.kill("store-3").await?;
    send().await?;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, 12).await?;
    assert!(inbox.iter().all(|letter| letter.ends_with(&message)));
    Ok(())
}

#[tokio::test]
async fn a_store_that_lost_its_disk_comes_back_as_a_new_node() -> Result<()> {
    comes_back(|data| {
        fs::remove_dir_all(data.join("db"))?;
        Ok(fs::remove_file(data.join("identity"))?)
    })
    .await
}

#[tokio::test]
async fn a_store_whose_disk_is_damaged_puts_it_aside_and_comes_back_as_a_new_node() -> Result<()> {
    comes_back(|data| {
        let mut flipped = 0;
        for entry in fs::read_dir(data.join("db"))? {
            let path = entry?.path();
            let mut bytes = match path.extension() {
                Some(extension) if extension == "log" => fs::read(&path)?,
                _ => continue,
            };
            if bytes.len() > 1000 {
                // In the midst of what was synced long ago.
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x40;
                fs::write(&path, bytes)?;
                flipped += 1;
            }
        }
        ensure!(flipped > 0, "there is no log to be damaged");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_store_whose_writes_fail_ends_and_has_what_it_acknowledged() -> Result<()> {
    let directory = TempDir::with_prefix("postino-cluster-")?;
    let disk = Disk::mount(directory.path().join("store-1"), 512 << 20)?;
    let cluster = Cluster::builder()
        .stores(1)
        .directory(directory)
        // Nothing is refused ahead of the disk: the disk itself refuses.
        .set("store.database.reserve", 0)
        .set("ingress.hand_over_timeout", "5s")
        .start()
        .await?;
    let pid = cluster.node("store-1")?.pid;
    disk.fill(0)?;
    let message = letter(&fresh_id(), ALICE, BOB, 4 << 20);
    let acknowledged = std::cell::Cell::new(0);
    let ended = async || {
        if smtp::send(cluster.smtp().ok()?, ALICE, &[BOB], &message)
            .await
            .is_ok()
        {
            acknowledged.set(acknowledged.get() + 1);
        }
        (!is_alive(pid)).then_some(())
    };
    until("the store has ended", seconds(120), ended).await?;
    ensure!(cluster.log("store-1").contains("takes no writes"));
    disk.empty()?;
    cluster.start("store-1").await?;
    smtp::send(cluster.smtp()?, ALICE, &[BOB], &message).await?;
    let least = acknowledged.get() + 1;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, least).await?;
    ensure!(inbox.len() >= least, "{} of {least}", inbox.len());
    Ok(())
}

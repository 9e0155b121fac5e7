//! Accounts that move from shard to shard while they are in use, and while stores die.

use anyhow::{Context, Result, ensure};
use postino_tests::load::letters::Letters;
use postino_tests::load::mailboxes::verify;
use postino_tests::load::reader::Reader;
use postino_tests::replicas::agree;
use postino_tests::status::{is_settled, until_status};
use postino_tests::wait::{seconds, until};
use postino_tests::{BOB, Cluster, PASSWORD};
use serde_json::Value;

/// Waits until every shard is settled and at the level at which accounts move.
async fn ready(cluster: &Cluster) -> Result<()> {
    let ready = |status: &Value| {
        let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice);
        let can = |shard: &Value| shard["level"].as_u64() >= Some(3);
        is_settled(status, shards.len(), 3) && shards.len() > 1 && shards.iter().all(can)
    };
    until_status(cluster, "store-1", "accounts can move", ready).await?;
    Ok(())
}

/// The shard that Bob lives on.
async fn shard_of_bob(cluster: &Cluster) -> Result<u64> {
    let list = cluster.command(&["account", "list", "--json"]).await?;
    let accounts: Vec<Value> = serde_json::from_str(&list.success()?)?;
    let bob = accounts.iter().find(|row| row["address"] == BOB);
    bob.and_then(|row| row["shard"].as_u64())
        .ok_or_else(|| anyhow::anyhow!("no Bob"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_in_use_moves_and_nobody_notices() -> Result<()> {
    let cluster = Cluster::builder().set("store.shards", 4).start().await?;
    ready(&cluster).await?;
    let letters = Letters::start(&cluster).await?;
    letters.grow(100).await?;
    let reader = Reader::start(&cluster).await?;
    let home = shard_of_bob(&cluster).await?;
    let others = (1..=4).filter(|shard| *shard != home);
    for shard in others.chain([home]) {
        let to = shard.to_string();
        let moved = ["account", "move", BOB, "--to", &to, "--wait"];
        let said = cluster.command(&moved).await?.success()?;
        ensure!(said.contains("has moved from shard"), "{said}");
        assert_eq!(shard_of_bob(&cluster).await?, shard);
        letters.grow(50).await?;
    }
    reader.end().await?;
    letters.end(&cluster, "store-1").await?;
    agree(&cluster, "store-1").await?;
    cluster.down().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_survives_the_death_of_every_store_that_has_a_part_in_it() -> Result<()> {
    let cluster = Cluster::builder()
        .set("store.shards", 4)
        .set("store.placement.account_rate", "128KiB")
        .start()
        .await?;
    ready(&cluster).await?;
    let letters = Letters::start(&cluster).await?;
    letters.grow(1500).await?;
    let (tally, bob) = letters.stop().await?;
    println!("{tally:?}");
    cluster.until_queue_is_empty(seconds(60)).await?;
    let home = shard_of_bob(&cluster).await?;
    let away = home % 4 + 1;
    let to = away.to_string();
    let moved = ["account", "move", BOB, "--to", &to];
    cluster.command(&moved).await?.success()?;
    for shard in [home, away, 0] {
        let leader = cluster.leader(u32::try_from(shard)?).await?;
        let moves = cluster.command(&["account", "moves", "--json"]).await?;
        ensure!(moves.success()?.trim() != "[]", "it was over too soon");
        cluster.kill(&leader).await?;
        cluster.start(&leader).await?;
        let settled = |status: &Value| {
            let shards = status["shards"].as_array().map_or(0, Vec::len);
            is_settled(status, shards, 3) && shards > 1
        };
        until_status(&cluster, &leader, "it is back", settled).await?;
    }
    let mut last = String::new();
    let there = async || {
        let moves = cluster.command(&["account", "moves", "--json"]);
        last = moves.await.ok()?.success().ok()?;
        (last.trim() == "[]").then_some(())
    };
    let moved = until("Bob has moved", seconds(90), there).await;
    moved.with_context(|| last)?;
    assert_eq!(shard_of_bob(&cluster).await?, away);
    let wanted = [(BOB.to_owned(), bob)].into();
    let verdict = verify(cluster.imap()?, PASSWORD, &wanted).await?;
    println!("{verdict:?}");
    verdict.check()?;
    agree(&cluster, "store-1").await?;
    cluster.down().await
}

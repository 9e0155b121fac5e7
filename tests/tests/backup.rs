//! A backup of a cluster under load, and clusters of other sizes that begin with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use postino_tests::letter::{fresh_id, letter};
use postino_tests::load::journal::Fate;
use postino_tests::load::letters::Letters;
use postino_tests::load::mailboxes::verify;
use postino_tests::postfix::Postfix;
use postino_tests::program::run;
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, Cluster, PASSWORD, imap, process, smtp};
use serde_json::Value;
use tempfile::TempDir;

const FAR: &str = "far@remote.test";

async fn uid_validity(cluster: &Cluster) -> Result<u64> {
    let mut reader = imap::Imap::login(cluster.imap()?, BOB, PASSWORD).await?;
    let response = reader.ok("EXAMINE INBOX").await?;
    let line = response.find("UIDVALIDITY ").context("UIDVALIDITY")?;
    let (_, rest) = line
        .text
        .split_once("UIDVALIDITY ")
        .context("UIDVALIDITY")?;
    Ok(rest.split(']').next().context("a number")?.parse()?)
}

async fn queue(cluster: &Cluster) -> Result<Vec<Value>> {
    let list = cluster.command(&["queue", "list", "--json"]).await?;
    Ok(serde_json::from_str(&list.success()?)?)
}

/// Waits until nothing is left in the queue but so many letters for elsewhere, which are held.
async fn until_only_held(cluster: &Cluster, n: usize) -> Result<()> {
    let only_held = async || {
        let letters = queue(cluster).await.ok()?;
        let far = |letter: &Value| {
            letter["held"] == true && letter["pending"] == serde_json::json!([FAR])
        };
        (letters.len() == n && letters.iter().all(far)).then_some(())
    };
    let waited = until("only held letters are left", seconds(60), only_held).await;
    waited.with_context(|| cluster.logs())
}

/// Whether all mail shards are held; an error if only some are.
async fn is_held(cluster: &Cluster) -> Result<bool> {
    let status = cluster.status_at("store-1").await?;
    let groups = status["groups"].as_array().context("groups")?;
    let mail = groups.iter().filter(|group| group["shard"] != 0);
    let held: Vec<bool> = mail.map(|group| group["remote_held"] == true).collect();
    ensure!(
        !held.is_empty() && held.iter().all(|one| *one == held[0]),
        "{held:?}"
    );
    Ok(held[0])
}

/// Every letter that was acknowledged before the backup began is in both mailboxes once, and none
/// of the others is in one twice.
async fn check_mailboxes(
    cluster: &Cluster,
    before: &BTreeMap<String, Fate>,
    all: &BTreeMap<String, Fate>,
) -> Result<()> {
    let mut wanted: BTreeMap<String, Fate> =
        all.keys().map(|id| (id.clone(), Fate::Unknown)).collect();
    wanted.extend(before.clone());
    let acknowledged = before.values().filter(|fate| **fate == Fate::Acknowledged);
    let acknowledged = acknowledged.count();
    ensure!(acknowledged > 50);
    for account in [ALICE, BOB] {
        let wanted = [(account.to_owned(), wanted.clone())].into();
        let verdict = verify(cluster.imap()?, PASSWORD, &wanted).await?;
        println!("{account}: {verdict:?}");
        verdict.check().with_context(|| account.to_owned())?;
        ensure!(verdict.found == acknowledged, "{verdict:?}");
    }
    Ok(())
}

async fn verified(backup: &Path) -> Result<postino_tests::program::Output> {
    let backup = backup.to_string_lossy();
    let arguments = ["backup", "verify", &backup, "--json"];
    run(&process::binary()?.to_string_lossy(), &arguments).await
}

async fn submit(cluster: &Cluster, to: &str) -> Result<()> {
    let message = letter(&fresh_id(), ALICE, to, 2000);
    let server = cluster.address("ingress-1", "submission")?;
    smtp::submit(server, ALICE, PASSWORD, &[to], &message).await?;
    Ok(())
}

/// The file of a backup's largest shard.
fn largest(backup: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(backup)?.flatten().map(|entry| entry.path());
    let length = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    files.max_by_key(length).context("an empty backup")
}

fn flip(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(path, bytes)?)
}

#[tokio::test]
async fn a_backup_under_load_begins_clusters_of_other_sizes() -> Result<()> {
    let far = Postfix::start("remote.test").await?;
    let directory = TempDir::with_prefix("postino-backup-")?;
    let backup = directory.path().join("backup");
    let path = backup.to_string_lossy().into_owned();

    // Nobody listens there: the letter stays in the queue.
    let old = Cluster::builder().arguments(["--route", "remote.test=127.0.0.1:1"]);
    let old = old.start().await?;
    submit(&old, FAR).await?;
    // Two accounts on two shards: the queue has to file each letter for one of them.
    let load = Letters::to(&old, &[&[ALICE, BOB]]).await?;
    load.grow(100).await?;
    let before = load.journaled()?;
    let created = old.command(&["backup", "create", &path]).await?;
    println!("{}", created.stderr);
    created.success()?;
    load.grow(20).await?;
    let (_, all) = load.stop().await?;
    ensure!(all.len() > before.len());
    let later = directory.path().join("later");
    let later_path = later.to_string_lossy().into_owned();
    let increment = ["backup", "create", &later_path, "--incremental", &path];
    old.command(&increment).await?.success()?;
    let again = old.command(&["backup", "create", &path]).await?;
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
    let old_validity = uid_validity(&old).await?;
    let old_id = old.status_at("store-1").await?["identity"]["cluster"].clone();
    old.down().await?;

    let told = verified(&backup).await?.success()?;
    assert!(told.contains("\"mail_shards\": 16"), "{told}");
    let file = largest(&backup)?;
    flip(&file)?;
    let refused = verified(&backup).await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    let broken = Cluster::builder().stores(1).restore(&backup).start().await;
    let broken = broken.err().context("a damaged backup was restored")?;
    assert!(format!("{broken:#}").contains("damaged"), "{broken:#}");
    flip(&file)?;

    let route = format!("remote.test={}", far.address());
    for (stores, backup, before) in [(1, &backup, &before), (3, &later, &all)] {
        let new = Cluster::builder().stores(stores).restore(backup);
        let new = new.arguments(["--route", &route]).start().await?;
        until_only_held(&new, 1).await?;
        check_mailboxes(&new, before, &all).await?;
        assert!(uid_validity(&new).await? > old_validity);
        let status = new.status_at("store-1").await?;
        assert_ne!(status["identity"]["cluster"], old_id);
        let groups = status["groups"].as_array().context("groups")?;
        for group in groups {
            let voters = group["voters"].as_array().context("voters")?;
            assert_eq!(voters.len(), stores, "{group}");
        }
        if stores == 1 {
            held_until_released(&new, &far).await?;
        }
        new.down().await?;
        // The later one does without it.
        fs::remove_dir_all(backup)?;
    }
    Ok(())
}

/// What is for elsewhere stays, old or new, through a crash, until it is released.
async fn held_until_released(cluster: &Cluster, far: &Postfix) -> Result<()> {
    assert!(is_held(cluster).await?);
    cluster.kill("store-1").await?;
    cluster.start("store-1").await?;
    submit(cluster, FAR).await?;
    until_only_held(cluster, 2).await?;
    assert!(is_held(cluster).await?);
    let listed = cluster.command(&["queue", "list"]).await?;
    assert!(listed.stderr.contains("queue release"), "{}", listed.stderr);
    assert_eq!(far.letters().len(), 0);
    cluster.command(&["queue", "release"]).await?.success()?;
    far.wait_letters(2).await?;
    cluster.until_queue_is_empty(seconds(60)).await?;
    assert!(!is_held(cluster).await?);
    assert_eq!(far.letters().len(), 2);
    Ok(())
}

//! Large letters stream: memory does not grow with them.

use anyhow::Result;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::process::peak_memory;
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, Cluster, PASSWORD, Postino, imap, smtp};

const LETTERS: usize = 10;
const SIZE: usize = 50 << 20;
/// How much ten such letters at once may add to any process's highest resident size.
const ALLOWED: u64 = 200 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_letters_of_fifty_mebibytes_in_one_process() -> Result<()> {
    let postino = Postino::builder()
        .set("ingress.max_size", "64 MiB")
        .start()
        .await?;
    let before = peak_memory(postino.process().pid())?;
    send_ten(postino.smtp()).await?;
    arrived(postino.imap()).await?;
    let after = peak_memory(postino.process().pid())?;
    println!("VmHWM {} MiB -> {} MiB", before >> 20, after >> 20);
    assert!(growth(before, after) < ALLOWED, "VmHWM {before} -> {after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_letters_of_fifty_mebibytes_in_separate_processes() -> Result<()> {
    let cluster = Cluster::builder()
        .stores(1)
        .set("ingress.max_size", "64 MiB")
        .start()
        .await?;
    let peaks = || -> Result<Vec<(String, u64)>> {
        let nodes = cluster.nodes()?.into_iter();
        nodes
            .map(|node| Ok((node.name, peak_memory(node.pid)?)))
            .collect()
    };
    let before = peaks()?;
    send_ten(cluster.smtp()?).await?;
    arrived(cluster.imap()?).await?;
    for ((name, before), (_, after)) in before.into_iter().zip(peaks()?) {
        println!("{name}: VmHWM {} MiB -> {} MiB", before >> 20, after >> 20);
        assert!(
            growth(before, after) < ALLOWED,
            "{name}: VmHWM {before} -> {after}"
        );
    }
    Ok(())
}

/// The kernel counts pages in batches, so a highest size may read a little lower the second time.
fn growth(before: u64, after: u64) -> u64 {
    after.saturating_sub(before)
}

async fn send_ten(server: std::net::SocketAddr) -> Result<()> {
    let message = letter(&fresh_id(), ALICE, BOB, SIZE);
    let sends = (0..LETTERS).map(|_| smtp::send(server, ALICE, &[BOB], &message));
    futures::future::try_join_all(sends).await.map(drop)
}

/// All ten are there with their full size; one is read back whole, and memory is measured after.
async fn arrived(server: std::net::SocketAddr) -> Result<()> {
    let mut bob = imap::Imap::login(server, BOB, PASSWORD).await?;
    let all = async || (bob.count("INBOX").await.ok()? == LETTERS).then_some(());
    until("ten letters", seconds(120), all).await?;
    bob.ok("EXAMINE INBOX").await?;
    let sizes = bob.ok("FETCH 1:* (RFC822.SIZE)").await?;
    for line in sizes
        .untagged
        .iter()
        .filter(|line| line.text.contains("RFC822.SIZE"))
    {
        let size = line.text.split("RFC822.SIZE ").nth(1).unwrap_or_default();
        assert!(
            size.trim_end_matches(')').parse::<usize>()? > SIZE,
            "{}",
            line.text
        );
    }
    let whole = bob.ok("FETCH 1 (BODY.PEEK[])").await?.literals();
    assert!(whole[0].len() > SIZE);
    Ok(())
}

//! `kill -9` of the single process under load: no acknowledged letter is lost, none is doubled.

use std::time::Duration;

use anyhow::{Context, Result};
use postino_tests::load::journal::Journal;
use postino_tests::load::mailboxes::verify;
use postino_tests::load::smtp;
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, PASSWORD, Postino};

/// How often the process is killed.
const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_letter_is_lost_or_doubled() -> Result<()> {
    let mut postino = Postino::start().await?;
    // Two recipients on different shards, and aliases that lead to both: the fast path and the
    // queue's own deliveries are both under way when the process dies.
    postino
        .done(&["alias", "add", "u0@example.org", ALICE])
        .await?;
    postino
        .done(&["alias", "add", "u1@example.org", ALICE, BOB])
        .await?;
    let path = postino.data().with_extension("journal");
    let plan = smtp::Plan::to_aliases(postino.smtp(), 2, seconds(20));
    let load = tokio::spawn(smtp::send(plan, Some(Journal::open(&path)?)));
    for _ in 0..KILLS {
        let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        let before = lines();
        let more = async || (lines() > before + 100).then_some(());
        until("a hundred more letters", seconds(20), more).await?;
        postino.kill()?;
        postino.start_again().await?;
    }
    let outcome = load.await??;
    assert!(outcome.accepted > 300, "{outcome:?}");

    // What the queue still had to deliver has come when the queue is empty.
    let empty = async || {
        let list = postino.done(&["queue", "list", "--json"]).await.ok()?;
        (list.trim() == "[]").then_some(())
    };
    until("the queue is empty", seconds(60), empty).await?;
    let journal = Journal::read(&path)?;
    // u0's letters are in Alice's mailbox, u1's in both.
    let u0 = journal.get("u0@example.org").context("letters")?.clone();
    let u1 = journal.get("u1@example.org").context("letters")?.clone();
    let alice = u0.into_iter().chain(u1.clone()).collect();
    let wanted = [(ALICE.to_owned(), alice), (BOB.to_owned(), u1)].into();
    verify(postino.imap(), PASSWORD, &wanted).await?.check()
}

#[tokio::test]
async fn a_drained_process_ends_well_and_soon() -> Result<()> {
    let mut postino = Postino::start().await?;
    let mut idle = postino_tests::smtp::Smtp::greet(postino.smtp()).await?;
    let start = std::time::Instant::now();
    postino.stop().await?;
    assert!(start.elapsed() < Duration::from_secs(30));
    // RFC 5321 section 3.8: a server that must close says 421.
    let rest = String::from_utf8_lossy(&idle.rest().await?).into_owned();
    assert!(rest.starts_with("421"), "{rest:?}");
    Ok(())
}

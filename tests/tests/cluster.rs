//! Three stores and one process of each other role, as `deploy/cluster.sh` starts them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use postino_tests::cluster::roles;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::load::journal::Journal;
use postino_tests::load::mailboxes::verify;
use postino_tests::load::{Accounts, smtp as load};
use postino_tests::otlp::Receiver;
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, Cluster, PASSWORD, imap, smtp};
use rustix::process::Signal;

#[tokio::test]
async fn each_role_is_a_process_and_a_letter_is_one_trace_in_all() -> Result<()> {
    let receiver = Receiver::start().await?;
    let cluster = Cluster::builder()
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
        .start()
        .await?;
    let nodes = cluster.nodes()?;
    let mut present = roles(&nodes)?;
    present.sort_unstable();
    assert_eq!(
        present,
        [
            "access", "ingress", "queue", "routing", "store", "store", "store"
        ]
    );

    let mut bob = imap::Imap::login(cluster.imap()?, BOB, PASSWORD).await?;
    bob.ok("SELECT INBOX").await?;
    bob.begin("IDLE").await?;
    assert!(bob.line().await?.text.starts_with('+'));
    // Two mailboxes, so that one of them may be on another shard than the letter; an address
    // elsewhere, so that the queue has work in any case.
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let to = [ALICE, BOB, "x@elsewhere.test"];
    let submission = cluster.address("ingress-1", "submission")?;
    let queue_id = smtp::submit(submission, ALICE, PASSWORD, &to, &message).await?;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, 1).await?;
    assert!(inbox[0].ends_with(&message));

    let services: BTreeSet<String> = ["ingress", "routing", "store", "queue"]
        .map(|role| format!("postino-{role}"))
        .into();
    let names: BTreeSet<String> = [
        "smtp.transaction",
        "Routing/Resolve",
        "raft.commit",
        "process mail.queue",
    ]
    .map(str::to_owned)
    .into();
    let names_in = |trace| -> BTreeSet<String> {
        let spans = receiver.spans().into_iter();
        spans
            .filter(|span| span.trace == trace)
            .map(|span| span.name)
            .collect()
    };
    // Each process exports in batches of its own: the spans of one role come at different times.
    let complete = async || {
        let trace = receiver.trace_of(&queue_id)?;
        let whole =
            services.is_subset(&receiver.services_in(&trace)) && names.is_subset(&names_in(trace));
        whole.then_some(())
    };
    until("one trace in every role", seconds(40), complete)
        .await
        .with_context(|| {
            let seen = receiver
                .trace_of(&queue_id)
                .map(|trace| (receiver.services_in(&trace), names_in(trace)));
            format!("services and spans in the trace: {seen:?}")
        })?;
    // The push to the reader is a span of its own: it joins the changes of many letters.
    let pushed = async || {
        let mut spans = receiver.spans().into_iter();
        spans.find(|span| span.service == "postino-access" && span.name == "imap.notify")
    };
    until("a span of the access role", seconds(20), pushed).await?;
    cluster.down().await
}

#[tokio::test]
async fn killing_all_ingress_leaves_imap_serving() -> Result<()> {
    let cluster = Cluster::builder().stores(1).ingresses(2).start().await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    smtp::send(cluster.smtp()?, ALICE, &[BOB], &message).await?;
    let mut bob = imap::Imap::login(cluster.imap()?, BOB, PASSWORD).await?;
    bob.ok("SELECT INBOX").await?;
    // Pushed although the letter came through another process.
    bob.begin("IDLE").await?;
    smtp::send(
        cluster.address("ingress-2", "smtp")?,
        ALICE,
        &[BOB],
        &message,
    )
    .await?;
    while bob.line().await?.text != "* 2 EXISTS" {}
    bob.send(b"DONE\r\n").await?;
    bob.finish().await?;
    for name in ["ingress-1", "ingress-2"] {
        cluster.kill(name).await?;
    }
    assert_eq!(
        bob.ok("UID FETCH 1:* (BODY.PEEK[])")
            .await?
            .literals()
            .len(),
        2
    );
    assert_eq!(
        imap::inbox(cluster.imap()?, BOB, PASSWORD, 2).await?.len(),
        2
    );
    cluster.start("ingress-1").await?;
    smtp::send(cluster.smtp()?, ALICE, &[BOB], &message).await?;
    assert_eq!(
        imap::inbox(cluster.imap()?, BOB, PASSWORD, 3).await?.len(),
        3
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_leading_store_loses_and_doubles_nothing() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster
        .command(&["alias", "add", "u0@example.org", BOB])
        .await?
        .success()?;
    cluster
        .command(&["alias", "add", "u1@example.org", ALICE, BOB])
        .await?
        .success()?;
    let path = cluster.path().join("journal");
    let plan = load::Plan {
        server: cluster.smtp()?,
        connections: 8,
        messages: usize::MAX,
        limit: seconds(40),
        size: 6000,
        sender: "load@sender.test".into(),
        accounts: Accounts {
            pattern: "u{}@example.org".into(),
            count: 2,
            password: PASSWORD.into(),
        },
    };
    let sending = tokio::spawn(load::send(plan, Some(Journal::open(&path)?)));
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    let grows = async |n: usize| {
        let before = lines();
        let more = async || (lines() > before + n).then_some(());
        until("more letters", seconds(30), more).await
    };
    grows(50).await?;
    let leader = cluster.leader(1).await?;
    cluster.kill(&leader).await?;
    // Two of three keep serving, and take the third back.
    grows(50).await?;
    cluster.start(&leader).await?;
    grows(50).await?;
    let outcome = sending.await??;
    println!(
        "{} accepted, longest gap {:?}",
        outcome.accepted, outcome.longest_gap
    );
    assert!(outcome.longest_gap < Duration::from_secs(10), "{outcome:?}");

    let empty = async || {
        let list = cluster
            .command(&["queue", "list", "--json"])
            .await
            .ok()?
            .success()
            .ok()?;
        (list.trim() == "[]").then_some(())
    };
    until("the queue is empty", seconds(60), empty).await?;
    let journal = Journal::read(&path)?;
    let u0 = journal.get("u0@example.org").context("letters")?.clone();
    let u1 = journal.get("u1@example.org").context("letters")?.clone();
    let bob = u0.into_iter().chain(u1.clone()).collect();
    let wanted = [(BOB.to_owned(), bob), (ALICE.to_owned(), u1)].into();
    verify(cluster.imap()?, PASSWORD, &wanted).await?.check()?;
    // The node that came back has what the others have.
    let caught_up = async || {
        let status = cluster
            .command_at(&leader, &["cluster", "status", "--json"])
            .await
            .ok()?;
        let status: serde_json::Value = serde_json::from_str(&status.success().ok()?).ok()?;
        let groups = status["groups"].as_array()?;
        groups
            .iter()
            .all(|group| group["leader"].is_string())
            .then_some(())
    };
    until(
        "every group of the returned node has a leader",
        seconds(30),
        caught_up,
    )
    .await
}

/// Waits until a letter's queue process has logged that it filed it, by what the reader sees.
async fn filed(cluster: &Cluster, who: &str) -> Result<usize> {
    Ok(imap::inbox(cluster.imap()?, who, PASSWORD, 1).await?.len())
}

#[tokio::test]
async fn a_queue_killed_between_deliver_and_settle_makes_no_second_copy() -> Result<()> {
    let cluster = Cluster::builder()
        .stores(1)
        .set("queue.settle_delay", "30s")
        .start()
        .await?;
    // Two mailboxes on different shards cannot both be filed by the accepting commit.
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let queue_id = smtp::send(cluster.smtp()?, ALICE, &[ALICE, BOB], &message).await?;
    for who in [ALICE, BOB] {
        assert_eq!(filed(&cluster, who).await?, 1);
    }
    let shown = cluster.command(&["queue", "show", &queue_id]).await?;
    assert_eq!(shown.code, 0, "it is not settled yet: {}", shown.stderr);
    cluster.kill("queue-1").await?;
    // The one that takes over settles at once.
    replace_flag(&cluster, "queue.settle_delay=30s", "queue.settle_delay=0s")?;
    cluster.start("queue-1").await?;
    let settled = async || {
        let shown = cluster.command(&["queue", "show", &queue_id]).await.ok()?;
        (shown.code == 1).then_some(())
    };
    until("the letter is settled", seconds(60), settled).await?;
    for who in [ALICE, BOB] {
        assert_eq!(filed(&cluster, who).await?, 1, "{who} has one copy");
    }
    Ok(())
}

/// Changes a flag that `cluster.sh start` gives to a process.
fn replace_flag(cluster: &Cluster, from: &str, to: &str) -> Result<()> {
    let path = cluster.path().join("flags");
    let flags = std::fs::read_to_string(&path)?;
    assert!(flags.contains(from), "{flags}");
    Ok(std::fs::write(path, flags.replace(from, to))?)
}

#[tokio::test]
async fn a_stopped_lease_owner_cannot_settle_any_more() -> Result<()> {
    let cluster = Cluster::builder()
        .stores(1)
        .set("queue.settle_delay", "4s")
        .set("queue.lease_ttl", "3s")
        .set("queue.lease_margin", "500ms")
        .set("queue.announce_interval", "500ms")
        .set("queue.announce_ttl", "2s")
        .set("queue.handover", "1s")
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let queue_id = smtp::send(cluster.smtp()?, ALICE, &[ALICE, BOB], &message).await?;
    for who in [ALICE, BOB] {
        assert_eq!(filed(&cluster, who).await?, 1);
    }
    // Filed, not settled: the owner stops here, and another takes over.
    cluster.signal("queue-1", Signal::STOP)?;
    cluster.add("queue", 2).await?;
    let settled = async || {
        let shown = cluster.command(&["queue", "show", &queue_id]).await.ok()?;
        (shown.code == 1).then_some(())
    };
    until("the second owner settles", seconds(60), settled).await?;
    cluster.signal("queue-1", Signal::CONT)?;
    let refused = async || cluster.log("queue-1").contains("lease").then_some(());
    until(
        "the first owner learns that its lease is gone",
        seconds(30),
        refused,
    )
    .await?;
    for who in [ALICE, BOB] {
        assert_eq!(filed(&cluster, who).await?, 1, "{who} has one copy");
    }
    Ok(())
}

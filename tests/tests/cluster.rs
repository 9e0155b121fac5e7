//! Three stores and one process of each other role, as `deploy/cluster.sh` starts them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use postino_proto::store::v1::SettleRequest;
use postino_proto::store::v1::spool_client::SpoolClient;
use postino_proto::{Fault, FaultKind};
use postino_tests::cluster::roles;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::load::journal::Journal;
use postino_tests::load::mailboxes::verify;
use postino_tests::load::smtp as load;
use postino_tests::otlp::{Receiver, Span};
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, Cluster, PASSWORD, imap, smtp};
use postino_types::QueueId;
use rustix::process::Signal;

#[tokio::test]
async fn each_role_is_a_process_and_a_letter_is_one_trace_in_all() -> Result<()> {
    let receiver = Receiver::start().await?;
    let cluster = Cluster::builder()
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint())
        // Nobody listens there, which is an attempt all the same.
        .arguments(["--route", "elsewhere.test=127.0.0.1:1"])
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

    let mut readers = Vec::new();
    for user in [ALICE, BOB] {
        let mut reader = imap::Imap::login(cluster.imap()?, user, PASSWORD).await?;
        reader.ok("SELECT INBOX").await?;
        reader.begin("IDLE").await?;
        assert!(reader.line().await?.text.starts_with('+'));
        readers.push(reader);
    }
    // One recipient: the commit that accepts the letter files it.
    let (id, submission) = (fresh_id(), cluster.address("ingress-1", "submission")?);
    let message = letter(&id, ALICE, BOB, 3000);
    let queue_id = smtp::submit(submission, ALICE, PASSWORD, &[BOB], &message).await?;
    let alone = Traced {
        receiver: &receiver,
        id,
        queue_id,
    };
    alone
        .until_in(&["ingress", "routing", "store"], &["raft.commit"])
        .await?;
    alone.until_told(1).await?;
    alone
        .until_named(&["smtp.transaction", "send mail.queue"])
        .await?;

    // Two mailboxes on shards of their own, so that the queue files one of them at least; an
    // address elsewhere, so that it has something to send.
    let (id, to) = (fresh_id(), [ALICE, BOB, "x@elsewhere.test"]);
    let message = letter(&id, ALICE, BOB, 3000);
    let queue_id = smtp::submit(submission, ALICE, PASSWORD, &to, &message).await?;
    let inbox = imap::inbox(cluster.imap()?, BOB, PASSWORD, 2).await?;
    assert!(inbox[1].ends_with(&message));
    let shared = Traced {
        receiver: &receiver,
        id,
        queue_id,
    };
    let names = [
        "smtp.transaction",
        "Routing/Resolve",
        "send mail.queue",
        "raft.commit",
        "process mail.queue",
        "MailStore/Deliver",
        "smtp.deliver",
        "settle mail.queue",
    ];
    shared
        .until_in(&["ingress", "routing", "store", "queue"], &names)
        .await?;
    shared.until_told(2).await?;
    let searched = [
        "smtp.transaction",
        "process mail.queue",
        "MailStore/Deliver",
        "smtp.deliver",
    ];
    shared.until_named(&searched).await?;

    // To nobody here: no mailbox keeps its Message-ID.
    let id = fresh_id();
    let message = letter(&id, ALICE, "x@elsewhere.test", 3000);
    let to = ["x@elsewhere.test"];
    let queue_id = smtp::submit(submission, ALICE, PASSWORD, &to, &message).await?;
    let remote = Traced {
        receiver: &receiver,
        id,
        queue_id,
    };
    let searched = ["smtp.transaction", "process mail.queue", "smtp.deliver"];
    remote.until_named(&searched).await?;
    assert_eq!(receiver.unlisted(), BTreeSet::new());
    cluster.down().await
}

/// A letter whose spans come in, from each process in batches of its own.
struct Traced<'a> {
    receiver: &'a Receiver,
    id: String,
    queue_id: String,
}

impl Traced<'_> {
    /// Its spans, without those that only link to it.
    fn spans(&self) -> Vec<Span> {
        let trace = self.receiver.trace_of(&self.queue_id);
        let spans = self.receiver.spans().into_iter();
        spans
            .filter(|span| Some(&span.trace) == trace.as_ref())
            .collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Span]) -> bool) -> Result<()> {
        let came = until(what, seconds(40), async || {
            holds(&self.spans()).then_some(())
        })
        .await;
        came.with_context(|| {
            let span =
                |span: &Span| format!("{} {} {:?}", span.service, span.name, span.attributes);
            let spans: Vec<String> = self.spans().iter().map(span).collect();
            format!("spans of the letter:\n{}", spans.join("\n"))
        })
    }

    /// Waits until these roles and span names are in its trace.
    async fn until_in(&self, roles: &[&str], names: &[&str]) -> Result<()> {
        let what = "one trace in every role";
        let holds = |spans: &[Span]| {
            let role = |role: &&str| spans.iter().any(|s| s.service == format!("postino-{role}"));
            let name = |name: &&str| spans.iter().any(|s| s.name == *name);
            roles.iter().all(role) && names.iter().all(name)
        };
        self.until(what, holds).await
    }

    /// Waits until so many pushes to readers link to its trace. They are no part of it: one push
    /// may tell of many letters.
    async fn until_told(&self, pushes: usize) -> Result<()> {
        let holds = |spans: &[Span]| {
            let Some(letter) = spans.first() else {
                return false;
            };
            let all = self.receiver.spans();
            let told = all.iter().filter(|span| {
                span.service == "postino-access"
                    && span.name == "imap.notify"
                    && span.links.contains(&letter.trace)
            });
            told.count() >= pushes
        };
        self.until("pushes that link to the letter", holds).await
    }

    /// Waits until a span of each of these names has both of the letter's ids.
    async fn until_named(&self, names: &[&str]) -> Result<()> {
        let message_id = format!("<{}>", self.id);
        let ids = [
            ("mail.queue_id", &self.queue_id),
            ("email.message_id", &message_id),
        ];
        let has = |span: &Span| {
            ids.iter()
                .all(|(key, value)| span.attributes.iter().any(|(k, v)| k == key && v == *value))
        };
        let holds = |spans: &[Span]| {
            names
                .iter()
                .all(|name| spans.iter().any(|s| s.name == *name && has(s)))
        };
        self.until("both ids on the spans that people search", holds)
            .await
    }
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
    let plan = load::Plan::to_aliases(cluster.smtp()?, 2, seconds(40));
    // Too large to be handed over twice: what became of each is asked of the store.
    let large = load::Plan {
        connections: 2,
        size: 400_000,
        ..load::Plan::to_aliases(cluster.smtp()?, 1, seconds(40))
    };
    let sending = tokio::spawn(load::send(plan, Some(Journal::open(&path)?)));
    let sending_large = tokio::spawn(load::send(large, Some(Journal::open(&path)?)));
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
    let outcome_large = sending_large.await??;
    println!(
        "large: {} accepted, {} deferred, {} unknown",
        outcome_large.accepted, outcome_large.deferred, outcome_large.unknown
    );
    println!(
        "{} accepted, longest gap {:?}",
        outcome.accepted, outcome.longest_gap
    );
    assert!(outcome.longest_gap < Duration::from_secs(10), "{outcome:?}");

    cluster.until_queue_is_empty(seconds(60)).await?;
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
    let before = cluster.log("queue-1");
    cluster.signal("queue-1", Signal::CONT)?;
    // It asks its own clock first, or its write is refused; which comes first is chance.
    let words = ["lease lost", "the lease is lost"];
    let lost = async || {
        let log = cluster.log("queue-1");
        let since = log.strip_prefix(&before)?;
        words
            .iter()
            .any(|words| since.contains(words))
            .then_some(())
    };
    until("the first owner knows its loss", seconds(30), lost).await?;
    // So its write as the store sees it.
    let shard = queue_id.parse::<QueueId>()?.shard().get();
    let taken = format!("shard taken shard={shard} epoch=");
    let epoch = before.split_once(&taken).context(before.clone())?.1;
    let lease_epoch = epoch.lines().next().unwrap_or_default().parse()?;
    let store = format!("http://{}", cluster.address("store-1", "admin")?);
    let stale = SettleRequest {
        shard,
        holder: "queue-1".into(),
        lease_epoch,
        letters: Vec::new(),
    };
    let answer = SpoolClient::connect(store).await?.settle(stale).await;
    let refused = Fault::of(&answer.expect_err("a stale write")).map(|fault| fault.kind);
    assert_eq!(refused, Some(FaultKind::LeaseLost));
    for who in [ALICE, BOB] {
        assert_eq!(filed(&cluster, who).await?, 1, "{who} has one copy");
    }
    Ok(())
}

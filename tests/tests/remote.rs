//! Mail to other domains: to a real Postfix found through a real name server; what cannot be
//! delivered comes back, and what must wait waits.

use std::time::Duration;

use anyhow::{Context, Result};
use postino_tests::dns::Dns;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::postfix::Postfix;
use postino_tests::program::python;
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, PASSWORD, Postino, imap, smtp};
use serde_json::Value;

async fn submit(postino: &Postino, to: &[&str], message: &[u8]) -> Result<String> {
    smtp::submit(postino.address("submission"), ALICE, PASSWORD, to, message).await
}

#[tokio::test]
async fn a_letter_arrives_at_the_host_that_the_mx_names() -> Result<()> {
    let postfix = Postfix::start("remote.test").await?;
    // The most preferred host is dead: nothing listens there.
    let dns = Dns::start(&[
        "remote.test. MX 5 dead.remote.test.",
        "remote.test. MX 10 mx.remote.test.",
        "dead.remote.test. A 127.0.0.77",
        "mx.remote.test. A 127.0.0.1",
    ])
    .await?;
    let postino = Postino::builder()
        .arguments(["--dns", &dns.address().to_string()])
        .set("routing.smtp_port", postfix.address().port())
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, "far@remote.test", 20_000);
    submit(&postino, &["far@remote.test"], &message).await?;
    let letters = postfix.wait_letters(1).await?;
    // A maildir has Unix line ends.
    let arrived = String::from_utf8_lossy(&letters[0]).into_owned();
    assert!(arrived.ends_with(&String::from_utf8_lossy(&message).replace("\r\n", "\n")));
    let empty = async || {
        let list = postino.done(&["queue", "list", "--json"]).await.ok()?;
        serde_json::from_str::<Value>(&list)
            .ok()?
            .as_array()?
            .is_empty()
            .then_some(())
    };
    until("the queue is empty", seconds(20), empty).await
}

/// Checks with Python's email package that a message is a DSN (RFC 3464) about a recipient.
async fn check_dsn(message: &[u8], recipient: &str, status: &str) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("dsn");
    std::fs::write(&file, message)?;
    let script = "import email,sys\nfrom email import policy\n\
        m=email.message_from_binary_file(open(sys.argv[1],'rb'),policy=policy.default)\n\
        assert m.get_content_type()=='multipart/report',m.get_content_type()\n\
        assert m.get_param('report-type')=='delivery-status'\n\
        assert not m.defects,m.defects\n\
        parts=list(m.iter_parts())\n\
        assert parts[0].get_content_type()=='text/plain'\n\
        assert parts[1].get_content_type()=='message/delivery-status'\n\
        blocks=parts[1].get_payload()\n\
        assert blocks[0]['Reporting-MTA'].startswith('dns;'),blocks[0].as_string()\n\
        r=blocks[1]\n\
        assert sys.argv[2] in r['Final-Recipient'],r.as_string()\n\
        assert r['Action']=='failed',r['Action']\n\
        assert r['Status'].startswith(sys.argv[3]),r['Status']\n\
        assert parts[2].get_content_type() in('message/rfc822','text/rfc822-headers')\n\
        assert m['Auto-Submitted']=='auto-replied',m['Auto-Submitted']\n\
        assert m['Return-Path'].strip()=='<>',m['Return-Path']\n\
        print(r.as_string())";
    python(script, &[&file.to_string_lossy(), recipient, status]).await
}

#[tokio::test]
async fn what_is_refused_for_good_comes_back_as_a_dsn() -> Result<()> {
    let postfix = Postfix::start("remote.test").await?;
    let postino = Postino::builder()
        .arguments(["--route", &format!("remote.test={}", postfix.address())])
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, "nobody@remote.test", 2000);
    // One result per recipient: the other one gets the letter.
    submit(
        &postino,
        &["nobody@remote.test", "far@remote.test"],
        &message,
    )
    .await?;
    postfix.wait_letters(1).await?;
    let inbox = imap::inbox(postino.imap(), ALICE, PASSWORD, 1).await?;
    let block = check_dsn(&inbox[0], "nobody@remote.test", "5.1.1").await?;
    assert!(block.contains("550"), "the remote reply is in it: {block}");
    Ok(())
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_or_does_not_exist() -> Result<()> {
    let dns = Dns::start(&["null.test. MX 0 ."]).await?;
    let dns = dns.address().to_string();
    let postino = Postino::builder()
        .arguments(["--dns", &dns])
        .start()
        .await?;
    for (n, (recipient, status)) in [("x@null.test", "5.1.10"), ("x@missing.test", "5.1.2")]
        .into_iter()
        .enumerate()
    {
        let message = letter(&fresh_id(), ALICE, recipient, 500);
        submit(&postino, &[recipient], &message).await?;
        let inbox = imap::inbox(postino.imap(), ALICE, PASSWORD, n + 1).await?;
        check_dsn(inbox.last().context("a DSN")?, recipient, status).await?;
    }
    Ok(())
}

async fn recipient_state(postino: &Postino, queue_id: &str) -> Option<Value> {
    let shown = postino
        .done(&["queue", "show", queue_id, "--json"])
        .await
        .ok()?;
    let letter: Value = serde_json::from_str(&shown).ok()?;
    letter["recipients"].get(0).cloned()
}

#[tokio::test]
async fn attempt_and_next_time_survive_a_restart_and_retry_delivers() -> Result<()> {
    // The host is down at first: its port is free, and Postfix takes it later.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let route = format!("remote.test={port}");
    let mut postino = Postino::builder()
        .arguments(["--route", &route])
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, "far@remote.test", 2000);
    let queue_id = submit(&postino, &["far@remote.test"], &message).await?;
    let tried = async || {
        let state = recipient_state(&postino, &queue_id).await?;
        (state["attempts"].as_u64()? >= 1).then_some(state)
    };
    let before = until("a first attempt", seconds(30), tried).await?;
    assert_eq!(before["status"], "pending", "{before}");

    postino.kill()?;
    postino.start_again().await?;
    let after = recipient_state(&postino, &queue_id)
        .await
        .context("the letter is there")?;
    assert_eq!(after, before, "attempt and next time are as they were");

    let postfix = Postfix::start_at("remote.test", port).await?;
    postino.done(&["queue", "retry", &queue_id]).await?;
    let letters = postfix.wait_letters(1).await?;
    assert_eq!(letters.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_expires_comes_back() -> Result<()> {
    let postino = Postino::builder()
        .arguments(["--route", "remote.test=127.0.0.1:1"])
        .set("queue.min_backoff", "200ms")
        .set("queue.max_backoff", "200ms")
        .set("queue.lifetime", "1s")
        .start()
        .await?;
    let message = letter(&fresh_id(), ALICE, "far@remote.test", 2000);
    submit(&postino, &["far@remote.test"], &message).await?;
    let inbox = imap::inbox(postino.imap(), ALICE, PASSWORD, 1).await?;
    check_dsn(&inbox[0], "far@remote.test", "").await?;
    Ok(())
}

#[tokio::test]
async fn never_a_bounce_for_a_bounce() -> Result<()> {
    let postfix = Postfix::start("remote.test").await?;
    let route = format!("remote.test={}", postfix.address());
    let postino = Postino::builder()
        .arguments(["--route", &route])
        .start()
        .await?;
    // A null reverse-path to an address that the far end refuses.
    let mut smtp = smtp::Smtp::greet(postino.address("submission")).await?;
    smtp.authenticate(ALICE, PASSWORD).await?;
    let message = letter(&fresh_id(), ALICE, "nobody@remote.test", 500);
    let reply = smtp
        .transaction("", &["nobody@remote.test"], &message)
        .await?;
    assert_eq!(reply.code, 250);
    let queue_id = reply.queue_id().context("a queue-id")?.to_owned();
    let gone = async || {
        let shown = postino.command(&["queue", "show", &queue_id]).await.ok()?;
        (shown.code == 1).then_some(())
    };
    until("the letter is settled", Duration::from_secs(30), gone).await?;
    let list = postino.done(&["queue", "list", "--json"]).await?;
    assert_eq!(serde_json::from_str::<Value>(&list)?, serde_json::json!([]));
    let mut alice = imap::Imap::login(postino.imap(), ALICE, PASSWORD).await?;
    assert_eq!(alice.count("INBOX").await?, 0);
    Ok(())
}

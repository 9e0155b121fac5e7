//! Other people's servers, both ways: Exim and OpenSMTPD take letters from Postino, and give it
//! theirs. What comes out is what went in, below the trace headers; it went over TLS wherever the
//! other side's came up.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use postino_tests::letter::{fresh_id, letter};
use postino_tests::mta::Mta;
use postino_tests::program::run_with;
use postino_tests::{ALICE, BOB, PASSWORD, Postino, imap, smtp};

const SENDER: &str = "carol@sender.test";

/// Nothing listens there.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// Sends a letter through Postino to a server, and one to an address that the server refuses; gives
/// the one that the server filed.
async fn sent_to(server: &Mta) -> Result<String> {
    let route = format!("remote.test={}", server.address());
    let builder = Postino::builder().arguments(["--route", &route]);
    let postino = builder.start().await?;
    let mut message = letter(&fresh_id(), ALICE, "far@remote.test", 20_000);
    message.extend_from_slice(b".\r\n..\r\n.leading dot\r\n\r\nend\r\n");
    let submission = postino.address("submission");
    let to = ["far@remote.test", "nobody@remote.test"];
    smtp::submit(submission, ALICE, PASSWORD, &to, &message).await?;
    let filed = String::from_utf8(server.wait_letters(1).await?.remove(0))?;
    let wanted = String::from_utf8(message)?.replace("\r\n", "\n");
    // Exim ends a filed letter with an empty line of its own.
    let body = filed.trim_end_matches('\n');
    assert!(body.ends_with(wanted.trim_end_matches('\n')), "{filed}");
    let refusal = imap::inbox(postino.imap(), ALICE, PASSWORD, 1).await?;
    let refusal = String::from_utf8_lossy(&refusal[0]).into_owned();
    assert!(
        refusal.contains("Final-Recipient: rfc822; nobody@remote.test")
            && refusal.contains("Diagnostic-Code: smtp; 550"),
        "{refusal}"
    );
    Ok(filed)
}

#[tokio::test]
async fn exim_takes_a_letter_over_tls() -> Result<()> {
    let server = Mta::exim("remote.test", nowhere()).await?;
    let filed = sent_to(&server).await?;
    assert!(filed.contains("with esmtps  (TLS1.3)"), "{filed}");
    Ok(())
}

#[tokio::test]
async fn opensmtpd_takes_a_letter() -> Result<()> {
    let server = Mta::opensmtpd("remote.test", nowhere()).await?;
    // In its root directory its STARTTLS does not come up, so that opportunistic TLS gives way.
    let filed = sent_to(&server).await?;
    assert!(filed.contains("(OpenSMTPD) with ESMTP"), "{filed}");
    Ok(())
}

/// Waits for the letter in Bob's INBOX: it came over TLS, and it is the one that was sent.
async fn arrived(postino: &Postino, sent: &[u8]) -> Result<()> {
    let inbox = imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    let stored = inbox.into_iter().next().context("a letter")?;
    let text = String::from_utf8_lossy(&stored);
    assert!(stored.ends_with(sent), "{text}");
    assert!(text.starts_with(&format!("Return-Path: <{SENDER}>\r\n")));
    assert!(text.contains("with ESMTPS (TLS"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_letter_from_exims_queue_arrives() -> Result<()> {
    let postino = Postino::start().await?;
    let server = Mta::exim("remote.test", postino.smtp()).await?;
    let message = letter(&fresh_id(), SENDER, BOB, 20_000);
    let unix = String::from_utf8(message.clone())?.replace("\r\n", "\n");
    let exim = "/usr/sbin/exim4";
    // Queued, then sent by a run of the queue.
    server
        .run(
            exim,
            &["-bm", "-odq", "-i", "-f", SENDER, BOB],
            unix.as_bytes(),
        )
        .await?;
    server.run(exim, &["-q"], b"").await?;
    arrived(&postino, &message).await
}

#[tokio::test]
async fn a_letter_through_opensmtpd_arrives() -> Result<()> {
    let postino = Postino::start().await?;
    let server = Mta::opensmtpd("remote.test", postino.smtp()).await?;
    let mut message = letter(&fresh_id(), SENDER, BOB, 20_000);
    message.extend_from_slice(b".\r\n..\r\n.leading dot\r\n\r\nend\r\n");
    let url = format!("smtp://{}", server.address());
    let arguments = [
        "-sS",
        "--mail-from",
        SENDER,
        "--mail-rcpt",
        BOB,
        "-T",
        "-",
        &url,
    ];
    run_with("curl", &arguments, &message).await?.success()?;
    arrived(&postino, &message).await
}

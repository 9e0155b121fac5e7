//! What must not work: relaying, smuggling, guessing, other people's names.

use anyhow::Result;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::smtp::{Smtp, submit};
use postino_tests::{ALICE, BOB, PASSWORD, Postino, imap};

/// One MAIL and one RCPT on a fresh connection; the reply to RCPT, or to MAIL if that is refused.
async fn rcpt(postino: &Postino, listener: &str, from: &str, to: &str) -> Result<(u16, String)> {
    let mut smtp = Smtp::greet(postino.address(listener)).await?;
    let mail = smtp.command(&format!("MAIL FROM:<{from}>")).await?;
    if mail.code != 250 {
        return Ok((mail.code, mail.text()));
    }
    let reply = smtp.command(&format!("RCPT TO:<{to}>")).await?;
    Ok((reply.code, reply.text()))
}

#[tokio::test]
async fn no_relaying_without_authentication() -> Result<()> {
    let postino = Postino::start().await?;
    for to in [
        "x@elsewhere.test",
        "x%elsewhere.test@example.org",
        "elsewhere.test!x@example.org",
        "@example.org:x@elsewhere.test",
        "\"x@elsewhere.test\"@example.org",
        "x@[127.0.0.1]",
    ] {
        // A mere local address as the sender is no authentication.
        for from in ["", "stranger@elsewhere.test", ALICE] {
            let (code, text) = rcpt(&postino, "smtp", from, to).await?;
            assert!((500..600).contains(&code), "{from} -> {to}: {code} {text}");
        }
    }
    let (code, _) = rcpt(&postino, "submission", ALICE, BOB).await?;
    assert_eq!(code, 530, "submission wants authentication");
    Ok(())
}

#[tokio::test]
async fn unknown_users_and_postmaster() -> Result<()> {
    let postino = Postino::start().await?;
    let (code, text) = rcpt(&postino, "smtp", "", "nobody@example.org").await?;
    assert_eq!(code, 550);
    assert!(text.starts_with("5.1.1"), "{text}");
    // RFC 5321 section 4.5.1: postmaster is never refused for good.
    postino
        .done(&["alias", "add", "postmaster@example.org", BOB])
        .await?;
    for postmaster in ["postmaster", "Postmaster", "postmaster@example.org"] {
        assert_eq!(
            rcpt(&postino, "smtp", "", postmaster).await?.0,
            250,
            "{postmaster}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn users_send_as_themselves_only() -> Result<()> {
    let postino = Postino::start().await?;
    let mut smtp = Smtp::greet(postino.address("submission")).await?;
    assert_eq!(smtp.authenticate(ALICE, "wrong").await?.code, 535);
    assert_eq!(smtp.authenticate(ALICE, PASSWORD).await?.code, 235);
    let reply = smtp.command(&format!("MAIL FROM:<{BOB}>")).await?;
    let refused = reply.code != 250 || smtp.command(&format!("RCPT TO:<{BOB}>")).await?.code >= 500;
    assert!(refused, "alice sends as bob");
    let message = letter(&fresh_id(), ALICE, BOB, 500);
    submit(
        postino.address("submission"),
        ALICE,
        PASSWORD,
        &[BOB],
        &message,
    )
    .await?;
    assert_eq!(
        imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?.len(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_smuggled_letter_is_not_taken() -> Result<()> {
    let postino = Postino::start().await?;
    let trick = |end: &[u8]| {
        let mut bytes = b"Subject: outer\r\n\r\nbody".to_vec();
        bytes.extend_from_slice(end);
        bytes.extend_from_slice(
            format!(
                "MAIL FROM:<{ALICE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\nSubject: inner\r\n\r\n.\r\n"
            )
            .as_bytes(),
        );
        bytes
    };
    let ends: [&[u8]; 7] = [
        b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r",
    ];
    for end in ends {
        let mut smtp = Smtp::greet(postino.smtp()).await?;
        smtp.expect("MAIL FROM:<>", 250).await?;
        smtp.expect(&format!("RCPT TO:<{BOB}>"), 250).await?;
        smtp.expect("DATA", 354).await?;
        smtp.send(&trick(end)).await?;
        let reply = smtp.reply().await?;
        assert!((500..600).contains(&reply.code), "{end:?}: {reply:?}");
    }
    let marker = letter(&fresh_id(), ALICE, BOB, 300);
    postino_tests::smtp::send(postino.smtp(), ALICE, &[BOB], &marker).await?;
    let inbox = imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    assert_eq!(inbox.len(), 1, "only the marker is there");
    Ok(())
}

#[tokio::test]
async fn a_letter_that_goes_round_is_stopped() -> Result<()> {
    let postino = Postino::start().await?;
    let mut message = Vec::new();
    for hop in 0..60 {
        message.extend_from_slice(format!("Received: from a by b; hop {hop}\r\n").as_bytes());
    }
    message.extend_from_slice(&letter(&fresh_id(), ALICE, BOB, 300));
    let mut smtp = Smtp::greet(postino.smtp()).await?;
    let reply = smtp.transaction(ALICE, &[BOB], &message).await?;
    assert_eq!(reply.code, 554);
    assert!(reply.text().starts_with("5.4.6"), "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn passwords_in_plain_text_are_refused_where_the_policy_says_so() -> Result<()> {
    let postino = Postino::builder()
        .set("auth.plaintext", "never")
        .start()
        .await?;
    let mut smtp = Smtp::connect(postino.address("submission")).await?;
    let offer = smtp.expect("EHLO client.test", 250).await?;
    assert!(!offer.text().contains("AUTH"), "{offer:?}");
    assert!(offer.text().contains("STARTTLS"), "{offer:?}");
    assert_eq!(smtp.authenticate(ALICE, PASSWORD).await?.code, 538);
    let mut client = imap::Imap::connect(postino.imap()).await?;
    let capability = client.ok("CAPABILITY").await?;
    assert!(capability.find("LOGINDISABLED").is_some(), "{capability:?}");
    let login = client.command(&format!("LOGIN {ALICE} {PASSWORD}")).await?;
    assert!(login.tagged.starts_with("NO"), "{login:?}");
    Ok(())
}

#[tokio::test]
async fn what_comes_before_starttls_is_forgotten() -> Result<()> {
    let postino = Postino::builder()
        .set("net.handshake_timeout", "1s")
        .start()
        .await?;
    let mut smtp = Smtp::greet(postino.smtp()).await?;
    // The command after STARTTLS is in the same packet: it must never be answered in plain text.
    smtp.send(b"STARTTLS\r\nNOOP\r\n").await?;
    assert_eq!(smtp.reply().await?.code, 220);
    let rest = smtp.rest().await?;
    let text = String::from_utf8_lossy(&rest).into_owned();
    assert!(!text.contains("250 "), "{text:?}");
    Ok(())
}

#[tokio::test]
async fn accounts_with_a_known_password_keep_other_machines_out_of_the_cluster() -> Result<()> {
    let postino = Postino::start().await?;
    // An address for documentation (RFC 5737): nothing is there, and nothing is asked there.
    let init = ["cluster", "init", "http://192.0.2.1:2090"];
    let refused = postino.command(&init).await?;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("account passwd"), "{refused:?}");
    Ok(())
}

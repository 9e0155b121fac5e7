//! Letters of users, who must log in and may send only as themselves.

use postino_config::PlaintextPolicy;
use postino_ingress::{FromCheck, IngressConfig};

use crate::support::{Ingress, Talk, plain};

const BARE: &str = "From: alice@example.org\r\nSubject: hi\r\n\r\nHello.\r\n";

#[tokio::test]
async fn submission_wants_tls_then_a_login() {
    let ingress = Ingress::start().await;
    let mut talk = Talk::with(ingress.submission).await;
    let offered = talk.hello().await;
    assert!(
        offered.contains("STARTTLS") && !offered.contains("AUTH"),
        "{offered}"
    );
    assert!(
        talk.say("MAIL FROM:<alice@example.org>")
            .await
            .starts_with("530 5.7.0 ")
    );
    let login = plain("alice@example.org", "postino-dev");
    assert!(talk.say(&login).await.starts_with("538 5.7.11 "));
    // What comes along with STARTTLS in the open is thrown away.
    talk.send("STARTTLS\r\nNOOP\r\n").await;
    assert!(talk.reply().await.starts_with("220 2.0.0 "));
    let mut talk = talk.encrypt().await;
    let offered = talk.hello().await;
    assert!(
        !offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN"),
        "{offered}"
    );
    assert!(
        talk.say("MAIL FROM:<alice@example.org>")
            .await
            .starts_with("530 5.7.0 ")
    );
    assert!(
        talk.say(&plain("alice@example.org", "wrong"))
            .await
            .starts_with("535 5.7.8 ")
    );
    assert!(talk.say(&login).await.starts_with("235 2.7.0 "));
    talk.envelope("alice@example.org", &["bob@example.net"])
        .await;
    let reply = talk.letter(BARE).await;
    let id = reply
        .strip_prefix("250 2.0.0 queued as ")
        .expect("accepted");
    let letter = ingress.node.letters().remove(0);
    let prefix = String::from_utf8(letter.finish.prefix.to_vec()).expect("ASCII");
    assert!(prefix.contains(" with ESMTPSA (TLSv1.3 TLS_"), "{prefix}");
    // RFC 6409 section 8: what the user's program left out.
    assert!(prefix.contains("\r\nDate: "), "{prefix}");
    assert!(
        prefix.contains(&format!("\r\nMessage-ID: <{id}@mx.example.org>\r\n")),
        "{prefix}"
    );
    let envelope = letter.finish.envelope.expect("an envelope");
    let origin = envelope.origin.expect("an origin");
    assert_eq!(
        (origin.authenticated_account, origin.protocol.as_str()),
        (7, "ESMTPSA")
    );
    assert!(letter.finish.email.is_none(), "no recipient is local");
}

#[tokio::test]
async fn a_user_sends_as_nobody_else() {
    let ingress = Ingress::start().await;
    let mut talk = Talk::with_tls(ingress.submissions).await;
    talk.hello().await;
    assert!(
        talk.say(&plain("alice@example.org", "postino-dev"))
            .await
            .starts_with("235 ")
    );
    assert!(
        talk.say("MAIL FROM:<bob@example.org>")
            .await
            .starts_with("553 5.7.1 ")
    );
    // The envelope is checked; the From: field only where it is asked for.
    talk.envelope("alice@example.org", &["bob@example.net"])
        .await;
    let forged = BARE.replace("alice", "bob");
    assert!(talk.letter(&forged).await.starts_with("250 2.0.0 "));
}

#[tokio::test]
async fn a_forged_from_field_is_refused_where_it_is_asked_for() {
    let config = IngressConfig {
        from_check: FromCheck::Owned,
        ..IngressConfig::default()
    };
    let ingress = Ingress::with(config, PlaintextPolicy::Never).await;
    let mut talk = Talk::with_tls(ingress.submissions).await;
    talk.hello().await;
    assert!(
        talk.say(&plain("alice@example.org", "postino-dev"))
            .await
            .starts_with("235 ")
    );
    for (letter, start) in [
        (BARE.replace("alice", "bob"), "553 5.7.1 "),
        (BARE.into(), "250 2.0.0 "),
    ] {
        talk.envelope("alice@example.org", &["bob@example.net"])
            .await;
        let reply = talk.letter(&letter).await;
        assert!(reply.starts_with(start), "{reply}");
    }
    assert_eq!(ingress.node.letters().len(), 1);
}

#[tokio::test]
async fn loopback_may_log_in_without_tls_where_the_policy_says_so() {
    let ingress = Ingress::with(IngressConfig::default(), PlaintextPolicy::Loopback).await;
    let mut talk = Talk::with(ingress.submission).await;
    assert!(talk.hello().await.contains("AUTH PLAIN LOGIN"));
    assert!(
        talk.say(&plain("alice@example.org", "postino-dev"))
            .await
            .starts_with("235 ")
    );
    talk.envelope("alice@example.org", &["bob@example.net"])
        .await;
    assert!(talk.letter(BARE).await.starts_with("250 2.0.0 "));
    let letter = ingress.node.letters().remove(0);
    assert!(letter.message().contains(" with ESMTPA\r\n"));
}

#[tokio::test]
async fn a_login_does_not_outlive_starttls() {
    let ingress = Ingress::with(IngressConfig::default(), PlaintextPolicy::Loopback).await;
    let mut talk = Talk::with(ingress.submission).await;
    talk.hello().await;
    assert!(
        talk.say(&plain("alice@example.org", "postino-dev"))
            .await
            .starts_with("235 ")
    );
    assert!(talk.say("STARTTLS").await.starts_with("220 "));
    let mut talk = talk.encrypt().await;
    talk.hello().await;
    assert!(
        talk.say("MAIL FROM:<alice@example.org>")
            .await
            .starts_with("530 5.7.0 ")
    );
}

#[tokio::test]
async fn the_exchange_port_encrypts_too() {
    let ingress = Ingress::start().await;
    ingress.node.local("alice@example.org", 7, 3);
    let mut talk = Talk::with(ingress.smtp).await;
    assert!(talk.hello().await.contains("STARTTLS"));
    assert!(talk.say("STARTTLS").await.starts_with("220 "));
    let mut talk = talk.encrypt().await;
    talk.hello().await;
    talk.envelope("carol@example.com", &["alice@example.org"])
        .await;
    assert!(talk.letter(BARE).await.starts_with("250 2.0.0 "));
    let message = ingress.node.letters().remove(0).message();
    assert!(message.contains(" with ESMTPS (TLSv1.3 "), "{message}");
    // Letters of other servers are not mended.
    assert!(
        !message.contains("Date:\u{20}Thu") && !message.contains("Message-ID:"),
        "{message}"
    );
}

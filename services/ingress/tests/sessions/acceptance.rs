//! Letters from other servers: taken when the store has them, and only then.

use postino_config::{ByteSize, Duration, PlaintextPolicy};
use postino_ingress::IngressConfig;
use postino_proto::{Fault, FaultKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::{Act, Ingress, Talk};

const LETTER: &str = "From: carol@example.com\r\nMessage-ID: <1@example.com>\r\n\
                      Subject: hi\r\n\r\nHello.\r\n";

/// Begins a letter for a local recipient.
async fn begin(ingress: &Ingress) -> Talk {
    ingress.node.local("alice@example.org", 7, 3);
    let mut talk = Talk::with(ingress.smtp).await;
    talk.hello().await;
    talk.envelope("carol@example.com", &["alice@example.org"])
        .await;
    talk
}

#[tokio::test]
async fn a_letter_is_taken_with_its_trace_and_what_imap_needs() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    let reply = talk.letter(LETTER).await;
    let id = reply
        .strip_prefix("250 2.0.0 queued as ")
        .expect("accepted")
        .to_owned();
    let letters = ingress.node.letters();
    let letter = letters.first().expect("one letter");
    assert_eq!((letters.len(), &letter.queue_id), (1, &id));
    // All recipients live on shard 3, so the letter's id names it (digits 1 to 4).
    assert_eq!(&id[..4], "0003");
    let message = letter.message();
    let (trace, rest) = message.split_at(letter.finish.prefix.len());
    assert_eq!(rest, LETTER);
    assert!(
        trace.starts_with("Received: from client.example.com ([127.0.0.1])\r\n"),
        "{trace}"
    );
    assert!(trace.contains(" with ESMTP\r\n"), "{trace}");
    assert!(
        trace.contains(&format!("\tid {id}\r\n\tfor <alice@example.org>;")),
        "{trace}"
    );
    let envelope = letter.finish.envelope.as_ref().expect("an envelope");
    assert_eq!(envelope.reverse_path, "carol@example.com");
    assert!(!envelope.eight_bit && envelope.accepted_ms > 0);
    let email = letter.finish.email.as_ref().expect("for a local recipient");
    assert_eq!(email.message_id, "<1@example.com>");
    assert_eq!(letter.finish.chunk_octets, LETTER.len() as u64);
    let return_path = "Return-Path: <carol@example.com>\r\n";
    assert_eq!(email.size, (return_path.len() + message.len()) as u64);
    assert!(talk.say("QUIT").await.starts_with("221 2.0.0"));
    assert_eq!(talk.reply().await, "");
}

#[tokio::test]
async fn a_client_that_has_said_all_and_closed_its_half_is_answered() {
    let ingress = Ingress::start().await;
    ingress.node.local("alice@example.org", 7, 3);
    let mut socket = TcpStream::connect(ingress.smtp).await.expect("connected");
    let all = format!(
        "EHLO client.example.com\r\nMAIL FROM:<carol@example.com>\r\n\
         RCPT TO:<alice@example.org>\r\nDATA\r\n{LETTER}.\r\n"
    );
    socket.write_all(all.as_bytes()).await.expect("sent");
    socket.shutdown().await.expect("half closed");
    let mut replies = String::new();
    socket.read_to_string(&mut replies).await.expect("answered");
    assert!(replies.contains("\r\n250 2.0.0 queued as "), "{replies}");
    assert_eq!(ingress.node.letters().len(), 1);
}

#[tokio::test]
async fn two_aliases_of_a_mailbox_are_one_copy_and_recipients_stay_private() {
    let ingress = Ingress::start().await;
    for (recipient, account) in [
        ("info@example.org", 7),
        ("sales@example.org", 7),
        ("x@example.org", 8),
    ] {
        ingress.node.local(recipient, account, 1);
    }
    let mut talk = Talk::with(ingress.smtp).await;
    talk.hello().await;
    talk.envelope(
        "",
        &["info@example.org", "sales@example.org", "x@example.org"],
    )
    .await;
    assert!(talk.letter(LETTER).await.starts_with("250 2.0.0 "));
    let letter = ingress.node.letters().remove(0);
    let envelope = letter.finish.envelope.clone().expect("an envelope");
    let originals: Vec<_> = envelope
        .recipients
        .iter()
        .map(|r| r.original.as_str())
        .collect();
    assert_eq!(originals, ["info@example.org", "x@example.org"]);
    assert!(!letter.message().contains("for <"), "{}", letter.message());
}

#[tokio::test]
async fn unknown_users_and_strangers_domains_are_refused_at_rcpt() {
    let ingress = Ingress::start().await;
    let mut talk = Talk::with(ingress.smtp).await;
    talk.hello().await;
    // A mere address gives no right to relay.
    talk.envelope("alice@example.org", &[]).await;
    assert_eq!(
        talk.say("RCPT TO:<nobody@example.org>").await,
        "550 5.1.1 No such user"
    );
    assert_eq!(
        talk.say("RCPT TO:<carol@example.com>").await,
        "550 5.7.1 Relaying denied"
    );
    assert!(
        talk.say("RCPT TO:<broken@example.org>")
            .await
            .starts_with("451 4.3.0 ")
    );
    assert_eq!(talk.say("DATA").await, "554 5.5.1 No valid recipients");
    assert!(talk.say("AUTH PLAIN AGEAYg==").await.starts_with("502 "));
}

#[tokio::test]
async fn pipelined_recipients_are_answered_in_order() {
    let ingress = Ingress::start().await;
    ingress.node.local("alice@example.org", 7, 3);
    let mut talk = Talk::with(ingress.smtp).await;
    talk.send(
        "EHLO client.example.com\r\nMAIL FROM:<carol@example.com>\r\n\
         RCPT TO:<nobody@example.org>\r\nRCPT TO:<alice@example.org>\r\n\
         RCPT TO:<broken@example.org>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n",
    )
    .await;
    for start in [
        "250-",
        "250 2.1.0",
        "550 5.1.1",
        "250 2.1.5",
        "451 4.3.0",
        "354",
        "250 2.0.0",
        "221",
    ] {
        let reply = talk.reply().await;
        assert!(reply.starts_with(start), "{start}: {reply}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_take_a_letter_means_451() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    ingress
        .node
        .accepts([Act::Refuse(Status::internal("broken"))]);
    assert!(talk.letter(LETTER).await.starts_with("451 4.3.0 "));
    talk.envelope("carol@example.com", &["alice@example.org"])
        .await;
    ingress
        .node
        .accepts([Act::Refuse(Fault::new(FaultKind::TooBig, "big").into())]);
    assert!(talk.letter(LETTER).await.starts_with("552 5.3.4 "));
    talk.envelope("carol@example.com", &["alice@example.org"])
        .await;
    assert!(talk.letter(LETTER).await.starts_with("250 2.0.0 "));
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_under_the_same_id() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    let lost = || Act::ReadThenRefuse(Fault::new(FaultKind::Unknown, "lost").into());
    ingress.node.accepts(std::iter::repeat_with(lost).take(25));
    let reply = talk.letter(LETTER).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let letters = ingress.node.letters();
    assert!(letters.len() > 25);
    assert!(
        letters
            .iter()
            .all(|l| reply.ends_with(&l.queue_id) && l.body == LETTER.as_bytes())
    );
}

#[tokio::test]
async fn a_shard_without_a_leader_is_left_for_another_if_it_was_given_nothing() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    let no_leader = || Act::Refuse(Fault::not_leader(None).into());
    // As many as the client tries within its deadline, and more.
    ingress
        .node
        .accepts(std::iter::repeat_with(no_leader).take(12));
    let reply = talk.letter(LETTER).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(reply.ends_with(&ingress.node.letters()[0].queue_id));
}

#[tokio::test]
async fn a_large_letter_flows_in_chunks_and_comes_whole() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    let line = format!("{}\r\n", "0123456789abcdef".repeat(4));
    let body = format!("Subject: large\r\n\r\n{}", line.repeat(40_000));
    assert!(talk.letter(&body).await.starts_with("250 2.0.0 "));
    let letter = ingress.node.letters().remove(0);
    assert!(letter.body == body.as_bytes());
    assert!(
        (20..60).contains(&letter.chunks),
        "{} chunks",
        letter.chunks
    );
    // The store gives up in the middle of a letter.
    talk.envelope("carol@example.com", &["alice@example.org"])
        .await;
    ingress
        .node
        .accepts([Act::Refuse(Status::internal("full"))]);
    assert!(talk.letter(&body).await.starts_with("451 4.3.0 "));
    assert!(talk.say("NOOP").await.starts_with("250 "));
}

#[tokio::test]
async fn too_large_letters_are_refused_before_and_after() {
    let config = IngressConfig {
        max_size: ByteSize::kib(1),
        ..IngressConfig::default()
    };
    let ingress = Ingress::with(config, PlaintextPolicy::Never).await;
    ingress.node.local("alice@example.org", 7, 3);
    let mut talk = Talk::with(ingress.smtp).await;
    assert!(talk.hello().await.contains("250-SIZE 1024\r\n"));
    assert!(
        talk.say("MAIL FROM:<a@example.com> SIZE=1025")
            .await
            .starts_with("552 5.3.4 ")
    );
    talk.envelope("a@example.com", &["alice@example.org"]).await;
    assert!(
        talk.letter(&"0123456789\r\n".repeat(100))
            .await
            .starts_with("552 5.3.4 ")
    );
    assert!(ingress.node.letters().is_empty());
}

#[tokio::test]
async fn a_smuggled_letter_is_refused_and_nothing_of_it_is_taken() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    let smuggled = "x\r\n\n.\r\nMAIL FROM:<evil@example.com>\r\n";
    assert!(talk.letter(smuggled).await.starts_with("550 5.5.2 "));
    assert!(ingress.node.letters().is_empty());
    talk.send("NOOP\n").await;
    assert!(talk.reply().await.starts_with("550 5.5.2 "));
    assert_eq!(talk.reply().await, "");
}

#[tokio::test]
async fn a_broken_connection_accepts_nothing() {
    let ingress = Ingress::start().await;
    let mut talk = begin(&ingress).await;
    assert!(talk.say("DATA").await.starts_with("354 "));
    talk.send(LETTER).await;
    drop(talk);
    ingress.shutdown.begin();
    ingress.running.await.expect("ended");
    assert!(ingress.node.letters().is_empty());
}

#[tokio::test]
async fn a_silent_client_is_told_goodbye() {
    let config = IngressConfig {
        idle_timeout: Duration::millis(100),
        ..IngressConfig::default()
    };
    let ingress = Ingress::with(config, PlaintextPolicy::Never).await;
    let mut talk = Talk::with(ingress.smtp).await;
    assert!(talk.reply().await.starts_with("421 4.4.2 "));
    assert_eq!(talk.reply().await, "");
}

#[tokio::test]
async fn stopping_ends_idle_sessions_and_lets_letters_finish() {
    let ingress = Ingress::start().await;
    let mut idle = Talk::with(ingress.smtp).await;
    let mut busy = begin(&ingress).await;
    ingress.shutdown.begin();
    assert!(idle.reply().await.starts_with("421 4.3.2 "));
    assert!(busy.letter(LETTER).await.starts_with("250 2.0.0 "));
    assert!(busy.reply().await.starts_with("421 4.3.2 "));
    ingress.running.await.expect("ended");
    assert_eq!(ingress.node.letters().len(), 1);
}

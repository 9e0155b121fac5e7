//! Letters through a running queue. See `support` for what stands around it.

mod support;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use postino_client::Channels;
use postino_config::GrpcConfig;
use postino_proto::store::v1::RecipientStatus;
use support::server::{MailServer, Manners};
use support::store::{MemoryRouting, MemoryStore};
use support::{config, start, start_one, until};

const LETTER: &str = "Subject: hi\r\nMessage-ID: <1@example.org>\r\n\r\n.dots\r\n..\r\nend\r\n";

#[tokio::test]
async fn local_recipients_get_one_copy_though_the_shard_fails_at_first() {
    let store = MemoryStore::new();
    store.state().failing_deliveries = 3;
    let queue = start_one(config(), &store, &MemoryRouting::to(&[]));
    let id = store.spool(
        "a@example.org",
        &["7:x@example.org", "8:y@example.org"],
        LETTER,
    );
    until("the letter is settled", || store.is_settled(id)).await;
    assert_eq!(store.state().mailboxes[&7], [LETTER]);
    assert_eq!(store.state().mailboxes[&8], [LETTER]);
    // Failures inside the cluster are no attempts.
    let recipients = store.letter_of(id).recipients;
    assert!(
        recipients
            .iter()
            .all(|r| r.attempts == 1 && r.status() == RecipientStatus::Delivered)
    );
    queue.stop().await;
}

#[tokio::test]
async fn a_letter_whose_task_panics_comes_up_again_under_the_same_lease() {
    let store = MemoryStore::new();
    store.state().panicking_reads = 2;
    let queue = start_one(config(), &store, &MemoryRouting::to(&[]));
    let id = store.spool("a@example.org", &["7:x@example.org"], LETTER);
    until("the letter is settled", || store.is_settled(id)).await;
    assert_eq!(store.state().mailboxes[&7], [LETTER]);
    assert_eq!(store.state().panicking_reads, 0);
    assert_eq!(store.state().epoch, 1, "the lease never changed");
    queue.stop().await;
}

#[tokio::test]
async fn a_panic_beside_an_outcome_that_is_recorded_does_not_repeat_that() {
    let store = MemoryStore::new();
    store.state().panicking_deliveries = 1;
    // Longer than the letter waits after the panic.
    let settle_delay = postino_config::Duration::millis(200);
    let config = postino_queue::QueueConfig {
        settle_delay,
        ..config()
    };
    let queue = start_one(config, &store, &MemoryRouting::to(&[]));
    let to = ["7:x@example.org", "y@nowhere.example"];
    let id = store.spool("sender@example.org", &to, LETTER);
    until("the letter is settled", || store.is_settled(id)).await;
    let states = store.letter_of(id).recipients;
    assert!(states.iter().all(|state| state.attempts == 1), "{states:?}");
    until("the notification is filed", || {
        store.state().mailboxes.contains_key(&1)
    })
    .await;
    assert_eq!(store.state().mailboxes[&1].len(), 1);
    queue.stop().await;
}

#[tokio::test]
async fn what_a_restore_holds_leaves_once_it_is_released_however_old() {
    let server = MailServer::start(Manners::default()).await;
    let store = MemoryStore::new();
    store.state().remote_held = true;
    let config = postino_queue::QueueConfig {
        lifetime: postino_config::Duration::millis(1),
        ..config()
    };
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let queue = start_one(config, &store, &routing);
    let held = store.spool("a@b.example", &["x@remote.example"], LETTER);
    let both = store.spool(
        "a@b.example",
        &["7:x@example.org", "x@remote.example"],
        LETTER,
    );
    until("the local recipient has it", || {
        store.state().mailboxes.contains_key(&7)
    })
    .await;
    for id in [held, both] {
        until("it came up again and again", || {
            store.state().reads.get(&id).is_some_and(|reads| *reads > 3)
        })
        .await;
        let states = store.letter_of(id).recipients;
        let last = states.last().unwrap();
        assert_eq!(
            (last.status(), last.attempts),
            (RecipientStatus::Pending, 0)
        );
        store.release(id);
    }
    for id in [held, both] {
        until("the letter is settled", || store.is_settled(id)).await;
        let states = store.letter_of(id).recipients;
        assert!(
            states
                .iter()
                .all(|state| state.status() == RecipientStatus::Delivered)
        );
    }
    assert_eq!(store.state().mailboxes[&7].len(), 1);
    queue.stop().await;
}

#[tokio::test]
async fn letters_that_wait_in_the_store_are_found() {
    let store = MemoryStore::new();
    let ids: Vec<_> = (0..9)
        .map(|_| store.spool("a@b.example", &["7:x@example.org"], LETTER))
        .collect();
    let queue = start_one(config(), &store, &MemoryRouting::to(&[]));
    until("all are settled", || {
        ids.iter().all(|id| store.is_settled(*id))
    })
    .await;
    assert_eq!(store.state().mailboxes[&7].len(), 9);
    queue.stop().await;
}

#[tokio::test]
async fn each_remote_recipient_has_its_own_result() {
    let server = MailServer::start(Manners {
        offers: &["PIPELINING", "SIZE 100000", "8BITMIME"],
        recipients: HashMap::from([
            ("bad@remote.example", vec!["550 5.1.1 unknown"]),
            ("slow@remote.example", vec!["451 4.2.0 later", "250 ok"]),
        ]),
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let queue = start_one(config(), &store, &routing);
    let to = [
        "good@remote.example",
        "bad@remote.example",
        "slow@remote.example",
    ];
    let id = store.spool("sender@example.org", &to, LETTER);
    until("the letter is settled", || store.is_settled(id)).await;
    let states = store.letter_of(id).recipients;
    let told: Vec<_> = states
        .iter()
        .map(|r| (r.status(), r.attempts, r.last_reply.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (RecipientStatus::Delivered, 1, "250 2.0.0 taken"),
            (RecipientStatus::Bounced, 1, "550 5.1.1 unknown"),
            (RecipientStatus::Delivered, 2, "250 2.0.0 taken"),
        ]
    );
    let received = server.received();
    assert_eq!(received[0].recipients, ["good@remote.example"]);
    assert_eq!(received[1].recipients, ["slow@remote.example"]);
    assert_eq!(received[0].body, LETTER);
    assert_eq!(
        received[0].mail,
        format!("MAIL FROM:<sender@example.org> SIZE={}", LETTER.len())
    );
    // The sender, a local account, got a notification about the one that failed.
    until("the notification is filed", || {
        store.state().mailboxes.contains_key(&1)
    })
    .await;
    let filed = store.state().mailboxes[&1].clone();
    let notification = String::from_utf8_lossy(&filed[0]).into_owned();
    assert_eq!(filed.len(), 1);
    for expected in [
        "To: <sender@example.org>",
        "report-type=delivery-status",
        "Final-Recipient: rfc822; bad@remote.example",
        "Status: 5.1.1",
        "Message-ID: <1@example.org>",
    ] {
        assert!(
            notification.contains(expected),
            "{expected} in {notification}"
        );
    }
    assert!(!notification.contains("good@remote.example"));
    queue.stop().await;
}

#[tokio::test]
async fn the_next_host_is_tried_and_connections_are_used_again() {
    let grumpy = MailServer::start(Manners {
        greeting: Some("421 4.3.2 not today"),
        ..Manners::default()
    })
    .await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        listener.local_addr().expect("address")
    };
    let server = MailServer::start(Manners::default()).await;
    let hosts = [closed, grumpy.address, server.address];
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &hosts)]);
    let queue = start_one(config(), &store, &routing);
    for _ in 0..3 {
        let id = store.spool("a@example.org", &["x@remote.example"], LETTER);
        until("it is settled", || store.is_settled(id)).await;
        assert_eq!(store.letter_of(id).recipients[0].attempts, 1);
    }
    assert_eq!(server.received().len(), 3);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(grumpy.connections.load(Ordering::SeqCst), 1);
    queue.stop().await;
}

#[tokio::test]
async fn who_is_refused_for_now_goes_to_the_next_host_at_once() {
    for grumpy in [
        Manners {
            mail: Some("451 4.3.0 busy"),
            ..Manners::default()
        },
        Manners {
            recipients: HashMap::from([
                ("x@remote.example", vec!["450 4.2.0 grey"]),
                ("bad@remote.example", vec!["550 5.1.1 unknown"]),
            ]),
            ..Manners::default()
        },
        Manners {
            data: Some("451 4.3.0 busy"),
            ..Manners::default()
        },
        Manners {
            dots: vec!["452 4.3.1 full"],
            ..Manners::default()
        },
    ] {
        let grumpy = MailServer::start(grumpy).await;
        let server = MailServer::start(Manners {
            recipients: HashMap::from([("bad@remote.example", vec!["550 5.1.1 no"])]),
            ..Manners::default()
        })
        .await;
        let store = MemoryStore::new();
        let hosts = [grumpy.address, server.address];
        let routing = MemoryRouting::to(&[("remote.example", &hosts)]);
        let queue = start_one(config(), &store, &routing);
        let to = ["x@remote.example", "bad@remote.example"];
        let id = store.spool("a@example.org", &to, LETTER);
        until("it is settled", || store.is_settled(id)).await;
        let states = store.letter_of(id).recipients;
        assert!(states.iter().all(|state| state.attempts == 1), "{states:?}");
        assert_eq!(states[0].status(), RecipientStatus::Delivered);
        assert_eq!(states[1].status(), RecipientStatus::Bounced);
        assert_eq!(server.received().len(), 1);
        assert_eq!(server.received()[0].recipients, ["x@remote.example"]);
        queue.stop().await;
    }
}

#[tokio::test]
async fn eight_bit_letters_are_converted_for_a_server_that_takes_none() {
    let server = MailServer::start(Manners {
        offers: &["SIZE 100000"],
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let queue = start_one(config(), &store, &routing);
    let letter = "MIME-Version: 1.0\r\n\r\n.é\r\n";
    let id = store.spool("a@example.org", &["x@remote.example"], letter);
    until("it is settled", || store.is_settled(id)).await;
    let received = server.received().remove(0);
    let expected = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                    .=C3=A9\r\n";
    assert_eq!(received.body, expected);
    let mail = format!("MAIL FROM:<a@example.org> SIZE={}", expected.len());
    assert_eq!(received.mail, mail);
    queue.stop().await;
}

#[tokio::test]
async fn an_eight_bit_letter_that_cannot_be_converted_needs_a_server_that_takes_it() {
    let old = MailServer::start(Manners::default()).await;
    let new = MailServer::start(Manners {
        offers: &["8BITMIME"],
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let (both, only_old) = ([old.address, new.address], [old.address]);
    let routes = [("both.example", &both[..]), ("old.example", &only_old[..])];
    let queue = start_one(config(), &store, &MemoryRouting::to(&routes));
    let letter = "Subject: é\r\n\r\nx\r\n";
    let taken = store.spool("a@example.org", &["x@both.example"], letter);
    let returned = store.spool("a@example.org", &["x@old.example"], letter);
    until("both are settled", || {
        store.is_settled(taken) && store.is_settled(returned)
    })
    .await;
    assert_eq!(new.received()[0].body, letter);
    assert_eq!(
        new.received()[0].mail,
        "MAIL FROM:<a@example.org> BODY=8BITMIME"
    );
    assert!(old.received().is_empty());
    let state = store.letter_of(returned).recipients.remove(0);
    assert_eq!(state.status(), RecipientStatus::Bounced);
    assert!(state.last_reply.starts_with("554 5.6.3 "), "{state:?}");
    queue.stop().await;
}

#[tokio::test]
async fn a_letter_for_a_dead_site_has_a_reason_and_a_retry_is_tried_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.expect("an address where nobody listens");
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[address])]);
    let hour = postino_config::Duration::secs(3600);
    let mut config = postino_queue::QueueConfig {
        min_backoff: hour,
        max_backoff: hour,
        lifetime: postino_config::Duration::secs(5 * 86_400),
        ..config()
    };
    config.remote.site_failed_cohorts = 1;
    config.remote.site_initial = 1;
    (config.remote.site_min_pause, config.remote.site_max_pause) = (hour, hour);
    let queue = start_one(config, &store, &routing);
    let tried = store.spool("a@example.org", &["x@remote.example"], LETTER);
    let state = |id| store.letter_of(id).recipients.remove(0);
    until("it was tried", || state(tried).attempts == 1).await;
    assert!(state(tried).last_reply.contains("cannot connect"));
    assert_eq!(state(tried).last_remote, "", "nobody said so");
    let waiting = store.spool("a@example.org", &["y@remote.example"], LETTER);
    until("the other waits", || !state(waiting).last_reply.is_empty()).await;
    let reason = "451 4.4.1 the site is left alone for a while, after: 451 4.4.1 mx0.remote";
    assert!(
        state(waiting).last_reply.starts_with(reason),
        "{:?}",
        state(waiting)
    );
    let server = MailServer::start_at(address, Manners::default()).await;
    store.retry(tried);
    until("it is settled", || store.is_settled(tried)).await;
    store.retry(waiting);
    until("the other, too", || store.is_settled(waiting)).await;
    assert_eq!(server.received().len(), 2);
    queue.stop().await;
}

#[tokio::test]
async fn tls_that_fails_is_done_without() {
    let server = MailServer::start(Manners {
        offers: &["STARTTLS"],
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let queue = start_one(config(), &store, &routing);
    let id = store.spool("a@example.org", &["x@remote.example"], LETTER);
    until("it is settled", || store.is_settled(id)).await;
    assert_eq!(store.letter_of(id).recipients[0].attempts, 1);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    queue.stop().await;
}

#[tokio::test]
async fn a_connection_lost_after_the_final_dot_means_again() {
    let server = MailServer::start(Manners {
        dots: vec![""],
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let queue = start_one(config(), &store, &routing);
    let id = store.spool("a@example.org", &["x@remote.example"], LETTER);
    until("it is settled", || store.is_settled(id)).await;
    let state = &store.letter_of(id).recipients[0];
    assert_eq!(
        (state.status(), state.attempts),
        (RecipientStatus::Delivered, 2)
    );
    assert_eq!(server.received().len(), 2, "at least once");
    queue.stop().await;
}

#[tokio::test]
async fn a_letter_that_expires_comes_back_and_a_notification_does_not() {
    let server = MailServer::start(Manners {
        dots: vec!["452 4.3.1 full"; 1000],
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[
        ("remote.example", &[server.address]),
        ("sender.example", &[]),
    ]);
    let lifetime = postino_config::Duration::millis(300);
    let queue = start_one(
        postino_queue::QueueConfig {
            lifetime,
            ..config()
        },
        &store,
        &routing,
    );
    let id = store.spool("me@sender.example", &["x@remote.example"], LETTER);
    until("it is settled", || store.is_settled(id)).await;
    let state = store.letter_of(id).recipients[0].clone();
    assert_eq!(state.status(), RecipientStatus::Bounced);
    assert!(state.attempts >= 3, "{}", state.attempts);
    // The notification about it fails, too: its domain has no host that can be reached.
    let notification = || store.state().gone.keys().find(|key| **key != id).copied();
    until("the notification expires", || notification().is_some()).await;
    let lost = store.letter_of(notification().expect("it is gone"));
    assert_eq!(lost.recipients[0].status(), RecipientStatus::Bounced);
    assert_eq!(lost.envelope.expect("envelope").reverse_path, "");
    assert!(
        store.notifications(&[]).is_empty(),
        "no bounce for a bounce"
    );
    queue.stop().await;
}

#[tokio::test]
async fn an_account_that_is_gone_and_a_sender_that_does_not_exist() {
    let store = MemoryStore::new();
    let queue = start_one(config(), &store, &MemoryRouting::to(&[]));
    let gone = store.spool("sender@example.org", &["404:gone@example.org"], LETTER);
    let lost = store.spool("nobody@example.org", &["x@nowhere.example"], LETTER);
    until("both are settled", || {
        store.is_settled(gone) && store.is_settled(lost)
    })
    .await;
    assert_eq!(
        store.letter_of(gone).recipients[0].last_reply,
        "550 5.1.1 no such user here"
    );
    assert_eq!(
        store.letter_of(lost).recipients[0].last_reply,
        "550 5.1.2 no such domain"
    );
    until("the notification is filed", || {
        store.state().mailboxes.contains_key(&1)
    })
    .await;
    assert_eq!(store.state().mailboxes[&1].len(), 1);
    queue.stop().await;
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_records_nothing() {
    let store = MemoryStore::new();
    let settle_delay = postino_config::Duration::millis(300);
    let config = postino_queue::QueueConfig {
        settle_delay,
        ..config()
    };
    let queue = start_one(config, &store, &MemoryRouting::to(&[]));
    let id = store.spool("a@example.org", &["7:x@example.org"], LETTER);
    until("it is filed", || store.state().mailboxes.contains_key(&7)).await;
    store.steal_lease();
    until("the stale write is refused", || {
        store.state().refused_settles > 0
    })
    .await;
    assert!(!store.is_settled(id));
    // The next holder, here the same process again, finds it filed already.
    store.free_lease();
    until("it is settled", || store.is_settled(id)).await;
    assert_eq!(store.state().mailboxes[&7].len(), 1);
    assert!(store.state().deliveries >= 2);
    queue.stop().await;
}

#[tokio::test]
async fn a_queue_that_stops_gives_its_shards_back() {
    let store = MemoryStore::new();
    let queue = start_one(config(), &store, &MemoryRouting::to(&[]));
    let name = queue.instance.clone();
    until("the shard is taken", || {
        store.lease_holder() == Some(name.clone())
    })
    .await;
    queue.stop().await;
    assert_eq!(store.lease_holder(), None);
}

#[tokio::test]
async fn the_process_that_works_a_site_sends_for_the_lease_holder() {
    let server = MailServer::start(Manners::default()).await;
    let store = MemoryStore::new();
    let domains: Vec<String> = (0..8).map(|n| format!("remote{n}.example")).collect();
    let hosts = [server.address];
    let routes: Vec<_> = domains.iter().map(|d| (d.as_str(), &hosts[..])).collect();
    let routing = MemoryRouting::to(&routes);
    let channels = Channels::new(GrpcConfig::default());
    let first = start(config(), &store, &routing, &channels, "http://queue-1:1");
    let second = start(config(), &store, &routing, &channels, "http://queue-2:1");
    until("both are known", || store.state().peers.len() == 2).await;
    let to: Vec<String> = domains.iter().map(|domain| format!("x@{domain}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let id = store.spool("a@example.org", &to, LETTER);
    until("it is settled", || store.is_settled(id)).await;
    assert_eq!(server.received().len(), 8);
    assert!(
        store
            .letter_of(id)
            .recipients
            .iter()
            .all(|r| r.attempts == 1)
    );
    // One of them is lost; the other takes over what it worked.
    first.task.abort();
    store.state().peers.remove(&first.instance);
    let id = store.spool("a@example.org", &to, LETTER);
    until("it is settled", || store.is_settled(id)).await;
    second.stop().await;
}

#[tokio::test]
async fn a_delay_is_reported_once() {
    let server = MailServer::start(Manners {
        recipients: HashMap::from([(
            "x@remote.example",
            vec![
                "450 4.2.0 grey",
                "450 4.2.0 grey",
                "450 4.2.0 grey",
                "450 4.2.0 grey",
                "250 ok",
            ],
        )]),
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let delay_notice = Some(postino_config::Duration::millis(1));
    let config = postino_queue::QueueConfig {
        delay_notice,
        ..config()
    };
    let queue = start_one(config, &store, &routing);
    let id = store.spool("sender@example.org", &["x@remote.example"], LETTER);
    until("it is settled", || store.is_settled(id)).await;
    assert_eq!(store.letter_of(id).recipients[0].attempts, 5);
    until("the notice is filed", || {
        store.state().mailboxes.contains_key(&1)
    })
    .await;
    let filed = store.state().mailboxes[&1].clone();
    assert_eq!(filed.len(), 1, "one notice");
    let notice = String::from_utf8_lossy(&filed[0]).into_owned();
    for expected in ["Action: delayed", "Will-Retry-Until: ", "Status: 4.2.0"] {
        assert!(notice.contains(expected), "{expected} in {notice}");
    }
    queue.stop().await;
}

#[tokio::test]
async fn attempts_and_times_survive_a_restart() {
    let server = MailServer::start(Manners {
        recipients: HashMap::from([("x@remote.example", vec!["450 4.2.0 later"])]),
        ..Manners::default()
    })
    .await;
    let store = MemoryStore::new();
    let routing = MemoryRouting::to(&[("remote.example", &[server.address])]);
    let slow = || postino_queue::QueueConfig {
        min_backoff: postino_config::Duration::secs(30),
        max_backoff: postino_config::Duration::secs(30),
        ..config()
    };
    let queue = start_one(slow(), &store, &routing);
    let id = store.spool("sender@example.org", &["x@remote.example"], LETTER);
    until("it was tried", || {
        store.letter_of(id).recipients[0].attempts == 1
    })
    .await;
    queue.stop().await;
    let before = store.letter_of(id).recipients;
    let queue = start_one(slow(), &store, &routing);
    // A letter that came later shows that the new process works.
    let other = store.spool("a@example.org", &["7:x@example.org"], LETTER);
    until("the other is settled", || store.is_settled(other)).await;
    assert_eq!(store.letter_of(id).recipients, before);
    queue.stop().await;
}

//! Letters: accepted, filed, read, settled.

use crate::node::{DEADLINE, Node, RETURN_PATH, email, message, mint, now_ms};
use postino_proto::admin::v1::{
    AddAccountRequest, CredentialCost, GetCredentialCostRequest, RemoveAccountRequest,
    RetryQueueRequest,
};
use postino_proto::store::v1::recipient_outcome::Outcome;
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use prost::Message;
use tonic::Code;

const INBOX: u64 = 1;

fn kind(status: &tonic::Status) -> Option<FaultKind> {
    Fault::of(status).map(|fault| fault.kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_accepted_filed_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    let bob = node.account("bob@example.org").await;
    assert_ne!(alice.shard, bob.shard);

    // Small ones go inline, large ones in chunks; both come back octet by octet.
    for (count, size) in [(1, 0), (2, 5_000), (3, 9_000), (4, 300_000)] {
        let (id, octets) = (mint(alice.shard), message(size));
        let accepted = node.accept(&id, &[Some(alice)], &octets, 7_000).await;
        assert!(accepted.filed, "{size}");
        let again = node.accept(&id, &[Some(alice)], &octets, 9_000).await;
        assert_eq!(accepted, again);
        let state = node.open(alice, "inbox").await;
        assert_eq!(
            (state.mailbox, state.exists, state.unseen),
            (INBOX, count, count)
        );
        assert_eq!((state.uid_next, state.first_unseen), (count + 1, 1));
        let whole = [RETURN_PATH, &octets].concat();
        assert_eq!(node.read(alice, INBOX, count, 0, 0).await, whole);
        let (from, to) = (whole.len() / 3, whole.len() / 2);
        let part = node
            .read(alice, INBOX, count, from as u64, (to - from) as u64)
            .await;
        assert_eq!(part, whole[from..to]);
    }
    let rows = node.rows(alice, INBOX).await;
    let uids: Vec<u32> = rows.iter().map(|row| row.uid).collect();
    assert_eq!(uids, [1, 2, 3, 4]);
    assert_eq!(rows[3].size, 300_000 + RETURN_PATH.len() as u64);

    let request = GetEmailsRequest {
        account: Some(alice),
        mailbox: INBOX,
        uids: vec![UidRange { first: 2, last: 3 }],
    };
    let mut pages = node.mail.get_emails(request).await.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    let content = page.emails[1].content.clone().unwrap();
    assert_eq!((page.emails.len(), page.emails[1].uid), (2, 3));
    assert_eq!(content.message_id, "<m@example.net>");
    assert!(content.segments.is_empty());
    // An open stream would keep the connection, and so the store, alive.
    drop(pages);

    // All of it survives a restart, and so does the memory of what was accepted.
    let id = mint(alice.shard);
    let first = node.accept(&id, &[Some(alice)], b"last", 100).await;
    node.stop().await;
    let mut node = Node::start(directory.path()).await;
    assert_eq!(node.accept(&id, &[Some(alice)], b"last", 100).await, first);
    assert_eq!(node.rows(alice, INBOX).await.len(), 5);
    assert_eq!(
        node.read(alice, INBOX, 5, 0, 0).await,
        [RETURN_PATH, b"last"].concat()
    );
    assert_eq!(node.open(bob, "INBOX").await.exists, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_waits_in_the_spool_until_it_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    let bob = node.account("bob@example.org").await;
    let shard = alice.shard;
    let acquire = |holder: &str| AcquireLeaseRequest {
        shard,
        holder: holder.into(),
        ttl_ms: 20_000,
    };
    let lease = node
        .spool
        .acquire_lease(acquire("q1"))
        .await
        .unwrap()
        .into_inner();
    assert!(lease.granted);
    let lease_epoch = lease.lease_epoch;
    let other = node
        .spool
        .acquire_lease(acquire("q2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((other.granted, other.holder.as_str()), (false, "q1"));
    assert!((1..=20_000).contains(&other.remaining_ms));

    let follow = FollowRequest { shard, lease_epoch };
    let mut events = node.spool.follow(follow).await.unwrap().into_inner();
    let (id, octets) = (mint(shard), message(40_000));
    // Alice lives here, Bob elsewhere, and the third is remote.
    let accepted = node
        .accept(&id, &[Some(alice), Some(bob), None], &octets, 7_000)
        .await;
    assert!(!accepted.filed);
    assert_eq!(node.open(alice, "INBOX").await.exists, 1);
    let due = async {
        loop {
            let event = events.message().await.unwrap().unwrap();
            if let Some(letter) = event.letters.first() {
                return letter.queue_id.clone();
            }
        }
    };
    assert_eq!(
        tokio::time::timeout(DEADLINE, due).await.unwrap(),
        id.to_string()
    );

    let list = ListDueRequest {
        shard,
        lease_epoch,
        until_ms: now_ms() + 1000,
        ..ListDueRequest::default()
    };
    let page = node.spool.list_due(list).await.unwrap().into_inner();
    assert_eq!(page.letters.len(), 1);
    let queue_id = id.to_string();
    let get = GetLetterRequest {
        queue_id: queue_id.clone(),
    };
    let letter = node
        .spool
        .get_letter(get.clone())
        .await
        .unwrap()
        .into_inner();
    let statuses: Vec<_> = letter
        .recipients
        .iter()
        .map(RecipientState::status)
        .collect();
    let (pending, delivered) = (RecipientStatus::Pending, RecipientStatus::Delivered);
    assert_eq!(statuses, [delivered, pending, pending]);
    assert_eq!(letter.size, octets.len() as u64);

    // The queue reads the letter and delivers it to Bob's shard.
    let read = ReadLetterBodyRequest {
        queue_id: queue_id.clone(),
        offset: 0,
        length: 0,
    };
    let mut chunks = node.spool.read_body(read).await.unwrap().into_inner();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        body.push(chunk.data);
    }
    assert_eq!(body.concat(), octets);
    let step = |step| DeliverRequest { step: Some(step) };
    let mut steps = vec![step(deliver_request::Step::Begin(DeliverBegin {
        shard: bob.shard,
        queue_id: queue_id.clone(),
        targets: vec![DeliverTarget {
            recipient: 1,
            account: bob.account,
        }],
        email: letter.email,
        size: letter.size,
    }))];
    steps.extend(
        body.into_iter()
            .map(|data| step(deliver_request::Step::Chunk(data))),
    );
    steps.push(step(deliver_request::Step::Finish(DeliverFinish {})));
    for expected in [DeliverStatus::Filed, DeliverStatus::Duplicate] {
        let delivered = node
            .mail
            .deliver(tokio_stream::iter(steps.clone()))
            .await
            .unwrap();
        assert_eq!(delivered.into_inner().results[0].status(), expected);
    }
    assert_eq!(
        node.read(bob, INBOX, 1, 0, 0).await,
        [RETURN_PATH, &octets].concat()
    );
    assert_eq!(node.open(bob, "INBOX").await.exists, 1);

    let done = |recipient| RecipientOutcome {
        recipient,
        outcome: Some(Outcome::Delivered(Delivered::default())),
        attempt: 1,
    };
    let settle = |lease_epoch, recipients| SettleRequest {
        shard,
        holder: "q1".into(),
        lease_epoch,
        letters: vec![LetterOutcome {
            queue_id: queue_id.clone(),
            recipients,
            notifications: Vec::new(),
        }],
    };
    let stale = node
        .spool
        .settle(settle(lease_epoch - 1, vec![done(1)]))
        .await
        .unwrap_err();
    assert_eq!(kind(&stale), Some(FaultKind::LeaseLost));
    node.spool
        .settle(settle(lease_epoch, vec![done(1)]))
        .await
        .unwrap();
    let everything = RetryQueueRequest::default();
    assert_eq!(
        node.admin
            .retry_queue(everything)
            .await
            .unwrap()
            .into_inner()
            .letters,
        1
    );
    node.spool
        .settle(settle(lease_epoch, vec![done(2)]))
        .await
        .unwrap();
    let gone = node.spool.get_letter(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);

    let release = ReleaseLeaseRequest {
        shard,
        holder: "q1".into(),
        lease_epoch,
    };
    node.spool.release_lease(release).await.unwrap();
    let next = node
        .spool
        .acquire_lease(acquire("q2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((next.granted, next.lease_epoch), (true, lease_epoch + 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_who_watches() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    let watch = |since| WatchRequest {
        account: Some(alice),
        since,
    };
    let mut events = node.mail.watch(watch(None)).await.unwrap().into_inner();
    let start = events.message().await.unwrap().unwrap();
    let since = node.open(alice, "INBOX").await.highest_mod_seq;
    for _ in 0..7 {
        node.accept(&mint(alice.shard), &[Some(alice)], b"hello", 100)
            .await;
    }
    let heard = async {
        let (mut mod_seq, mut touched) = (0, false);
        while mod_seq < start.mod_seq + 7 {
            let event = events.message().await.unwrap().unwrap();
            touched |= event.mailboxes.contains(&INBOX);
            mod_seq = event.mod_seq;
        }
        touched
    };
    assert!(tokio::time::timeout(DEADLINE, heard).await.unwrap());

    // Who was away goes on where they were.
    for (known, touched) in [(start.mod_seq, vec![INBOX]), (start.mod_seq + 7, vec![])] {
        let again = node.mail.watch(watch(Some(known))).await;
        let first = again.unwrap().into_inner().message().await.unwrap();
        assert_eq!(first.unwrap().mailboxes, touched);
    }

    // More messages than one command changes: the call still does them all.
    let store = StoreFlagsRequest {
        account: Some(alice),
        mailbox: INBOX,
        uids: vec![UidRange {
            first: 2,
            last: u32::MAX,
        }],
        operation: FlagOperation::Add.into(),
        system_flags: 8,
        keywords: vec!["$Work".into()],
        unchanged_since: None,
    };
    let stored = node.mail.store_flags(store).await.unwrap().into_inner();
    let uids: Vec<u32> = stored.messages.iter().map(|row| row.uid).collect();
    assert_eq!(uids, [2, 3, 4, 5, 6, 7]);
    let copy = CopyMessagesRequest {
        account: Some(alice),
        mailbox: INBOX,
        uids: vec![UidRange {
            first: 1,
            last: u32::MAX,
        }],
        target: "INBOX".into(),
    };
    let copied = node
        .mail
        .copy_messages(copy)
        .await
        .unwrap()
        .into_inner()
        .copied;
    assert_eq!(copied.len(), 7);
    let expunge = ExpungeRequest {
        account: Some(alice),
        mailbox: INBOX,
        uids: vec![UidRange { first: 3, last: 9 }],
        ignore_deleted_flag: false,
    };
    let expunged = node.mail.expunge(expunge).await.unwrap().into_inner();
    let expunged: Vec<_> = expunged
        .expunged
        .iter()
        .map(|run| (run.first, run.last))
        .collect();
    assert_eq!(
        expunged
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum::<u32>(),
        6
    );

    let changes = ListChangesRequest {
        account: Some(alice),
        mailbox: INBOX,
        since_mod_seq: since,
    };
    let mut pages = node.mail.list_changes(changes).await.unwrap().into_inner();
    let (mut changed, mut gone, mut last) = (Vec::new(), 0, None);
    while let Some(page) = pages.message().await.unwrap() {
        changed.extend(page.changed.iter().map(|row| row.uid));
        gone += page
            .expunged
            .iter()
            .map(|run| run.last - run.first + 1)
            .sum::<u32>();
        last = page.highest_mod_seq.or(last);
    }
    changed.sort_unstable();
    assert_eq!(changed, [1, 2, 8, 10, 11, 12, 13, 14]);
    let state = node.open(alice, "INBOX").await;
    assert_eq!((gone, last), (6, Some(state.highest_mod_seq)));
    assert_eq!((state.exists, state.deleted), (8, 6));
    assert_eq!(state.keywords, ["$work"]);
    let uids = ListUidsRequest {
        account: Some(alice),
        mailbox: INBOX,
    };
    let uids = node.mail.list_uids(uids).await.unwrap().into_inner().uids;
    let uids: Vec<_> = uids.iter().map(|run| (run.first, run.last)).collect();
    assert_eq!(uids, [(1, 2), (8, 8), (10, 14)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_filed_once_and_a_maildrop_held_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    let octets = message(50_000);
    let append = |name: &str| {
        let step = |step| AppendRequest { step: Some(step) };
        let mut steps = vec![step(append_request::Step::Begin(AppendBegin {
            account: Some(alice),
            mailbox: name.into(),
            size: octets.len() as u64,
            upload_id: "session-1".into(),
        }))];
        let chunk = |chunk: &[u8]| step(append_request::Step::Chunk(chunk.to_vec().into()));
        steps.extend(octets.chunks(9_000).map(chunk));
        steps.push(step(append_request::Step::Finish(AppendFinish {
            system_flags: 1,
            keywords: vec!["$Sent".into()],
            internal_date_ms: 1_000,
            internal_date_offset: 60,
            email: Some(email(octets.len() as u64)),
        })));
        tokio_stream::iter(steps)
    };
    let first = node.mail.append(append("Sent")).await.unwrap().into_inner();
    let again = node.mail.append(append("Sent")).await.unwrap().into_inner();
    assert_eq!(first, again);
    let rows = node.rows(alice, first.mailbox).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].keywords, ["$sent"]);
    assert_eq!(
        (rows[0].internal_date_ms, rows[0].internal_date_offset),
        (1_000, 60)
    );
    assert_eq!(
        node.read(alice, first.mailbox, 1, 0, 0).await,
        [RETURN_PATH, &octets].concat()
    );
    let missing = node.mail.append(append("none")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);

    let hold = HoldMaildropRequest {
        account: Some(alice),
        holder: "pop".into(),
    };
    let mut held = node
        .mail
        .hold_maildrop(hold.clone())
        .await
        .unwrap()
        .into_inner();
    held.message().await.unwrap().unwrap();
    let second = node.mail.hold_maildrop(hold.clone()).await.unwrap_err();
    assert_eq!(kind(&second), Some(FaultKind::InUse));
    drop(held);
    let free = async {
        while node.mail.hold_maildrop(hold.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, free).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_removed_and_added_again_is_a_new_account() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let old = node.account("Alice@Example.org").await;
    node.accept(&mint(old.shard), &[Some(old)], b"hello", 100)
        .await;
    let lookup = LookupRequest {
        address: "alice@example.org".into(),
    };
    let found = node
        .directory
        .lookup(lookup.clone())
        .await
        .unwrap()
        .into_inner();
    let Some(lookup_response::Entry::Account(entry)) = found.entry else {
        panic!("{found:?}");
    };
    assert_eq!(
        (entry.account, entry.state()),
        (old.account, AccountState::Active)
    );
    let remove = RemoveAccountRequest {
        address: "ALICE@example.org".into(),
    };
    node.admin.remove_account(remove).await.unwrap();
    let found = node.directory.lookup(lookup).await.unwrap().into_inner();
    assert_eq!((found.domain_is_local, found.entry), (true, None));
    // A letter that was addressed before waits, to be returned.
    assert!(
        !node
            .accept(&mint(old.shard), &[Some(old)], b"late", 100)
            .await
            .filed
    );
    let new = node.account("alice@example.org").await;
    assert_ne!(new.account, old.account);
    assert_eq!(node.open(new, "INBOX").await.exists, 0);
    let credential = GetCredentialRequest { account: Some(old) };
    let none = node.mail.get_credential(credential).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_half_made_is_completed_by_the_next_leader() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    node.account("alice@example.org").await;
    // Whoever makes the account dies after the first of its three steps.
    let create = Command {
        kind: Some(command::Kind::CreateAccount(CreateAccountCommand {
            domain: "example.org".into(),
            local_part: "bob".into(),
            address: "bob@example.org".into(),
            credential: Some(Credential {
                password_hash: "$argon2id$bob".into(),
                ..Credential::default()
            }),
            mail_shards: 2,
            ..CreateAccountCommand::default()
        })),
    };
    let propose = ProposeRequest {
        shard: 0,
        command: [&[1], create.encode_to_vec().as_slice()].concat().into(),
        ..ProposeRequest::default()
    };
    node.shards.propose(propose).await.unwrap();
    node.stop().await;
    let mut node = Node::start(directory.path()).await;
    let active = async {
        loop {
            let address = "bob@example.org".into();
            let found = node
                .directory
                .lookup(LookupRequest { address })
                .await
                .unwrap();
            match found.into_inner().entry {
                Some(lookup_response::Entry::Account(entry))
                    if entry.state() == AccountState::Active =>
                {
                    return entry;
                }
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let entry = tokio::time::timeout(DEADLINE, active).await.unwrap();
    let bob = Account {
        account: entry.account,
        shard: entry.shard,
    };
    let credential = GetCredentialRequest { account: Some(bob) };
    let credential = node.mail.get_credential(credential).await.unwrap();
    let credential = credential.into_inner().credential.unwrap();
    assert_eq!(
        (credential.epoch, credential.password_hash.as_str()),
        (1, "$argon2id$bob")
    );
    assert!(
        node.accept(&mint(bob.shard), &[Some(bob)], b"hello", 100)
            .await
            .filed
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_added_again_by_the_same_request_is_the_same_and_by_another_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    // The same credential: the answer was lost, and the client asks again.
    assert_eq!(node.account("alice@example.org").await, alice);
    let other = AddAccountRequest {
        address: "Alice@example.org".into(),
        credential: Some(Credential {
            password_hash: "$argon2id$y".into(),
            ..Credential::default()
        }),
    };
    let refused = node.admin.add_account(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_a_credential_is_told_what_it_shall_cost() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let cost = node
        .admin
        .get_credential_cost(GetCredentialCostRequest {})
        .await;
    let default = postino_config::AuthConfig::default();
    let expected = CredentialCost {
        argon2_memory: default.argon2.memory.get(),
        argon2_passes: default.argon2.passes,
        argon2_lanes: default.argon2.lanes,
        scram_iterations: default.scram_iterations,
    };
    assert_eq!(cost.unwrap().into_inner(), expected);
    node.stop().await;
}

//! Accounts that move from shard to shard, in use all the time.

use std::time::Duration;

use crate::node::{DEADLINE, Node, RETURN_PATH, email, message, mint};
use bytes::Bytes;
use postino_config::ByteSize;
use postino_proto::admin::v1::{
    AccountMoveProgress, CallOffAccountMoveRequest, ListAccountMovesRequest, MoveAccountRequest,
    RemoveAccountRequest,
};
use postino_proto::mail::v1::EmailContent;
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use postino_types::{QueueId, ShardId};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

const INBOX: u64 = 1;

/// Everything that somebody who uses an account can see of it.
#[derive(Debug, PartialEq)]
struct Picture {
    credential: Option<Credential>,
    subscribed: Vec<String>,
    mailboxes: Vec<MailboxPicture>,
}

#[derive(Debug, PartialEq)]
struct MailboxPicture {
    state: MailboxState,
    rows: Vec<MessageRow>,
    octets: Vec<Vec<u8>>,
    changes: Vec<ChangePage>,
}

async fn picture(node: &mut Node, account: Account) -> Picture {
    let list = ListMailboxesRequest {
        account: Some(account),
        subscriptions: true,
    };
    let listed = node.mail.list_mailboxes(list).await.unwrap().into_inner();
    let mut mailboxes = Vec::new();
    for state in listed.mailboxes {
        let id = state.mailbox;
        let rows = node.rows(account, id).await;
        let mut octets = Vec::new();
        for row in &rows {
            octets.push(node.read(account, id, row.uid, 0, 0).await);
        }
        let request = ListChangesRequest {
            account: Some(account),
            mailbox: id,
            since_mod_seq: 0,
        };
        let mut pages = node.mail.list_changes(request).await.unwrap().into_inner();
        let mut changes = Vec::new();
        while let Some(page) = pages.message().await.unwrap() {
            changes.push(page);
        }
        mailboxes.push(MailboxPicture {
            state,
            rows,
            octets,
            changes,
        });
    }
    let request = GetCredentialRequest {
        account: Some(account),
    };
    let credential = node.mail.get_credential(request).await.unwrap();
    Picture {
        credential: credential.into_inner().credential,
        subscribed: listed.subscribed,
        mailboxes,
    }
}

/// Begins a move, once the shards allow it.
async fn begin(node: &mut Node, address: &str, shard: u32) {
    let end = Instant::now() + DEADLINE;
    let request = MoveAccountRequest {
        address: address.into(),
        shard,
    };
    // The feature level rises by itself in the first moments of a cluster.
    while let Err(status) = node.admin.move_account(request.clone()).await {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(Instant::now() < end, "{status}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn moves(node: &mut Node) -> Vec<AccountMoveProgress> {
    let listed = node.admin.list_account_moves(ListAccountMovesRequest {});
    listed.await.unwrap().into_inner().moves
}

/// Moves an account, and waits until it is there.
async fn relocate(node: &mut Node, address: &str, shard: u32) -> Account {
    begin(node, address, shard).await;
    arrived(node, address, shard).await
}

async fn arrived(node: &mut Node, address: &str, shard: u32) -> Account {
    let end = Instant::now() + DEADLINE;
    loop {
        let under_way = moves(node).await;
        if under_way.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{under_way:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let account = home(node, address).await;
    assert_eq!(account.shard, shard);
    account
}

/// Where the directory says that an account lives.
async fn home(node: &mut Node, address: &str) -> Account {
    let request = LookupRequest {
        address: address.into(),
    };
    let found = node.directory.lookup(request).await.unwrap().into_inner();
    match found.entry {
        Some(lookup_response::Entry::Account(entry)) => Account {
            account: entry.account,
            shard: entry.shard,
        },
        other => panic!("{other:?}"),
    }
}

async fn deliver(node: &mut Node, shard: u32, id: &QueueId, account: u64) -> DeliverResult {
    let step = |step| DeliverRequest { step: Some(step) };
    let octets = Bytes::from_static(b"late");
    let steps = [
        step(deliver_request::Step::Begin(DeliverBegin {
            shard,
            queue_id: id.to_string(),
            targets: vec![DeliverTarget {
                recipient: 0,
                account,
            }],
            email: Some(email(octets.len() as u64)),
            size: octets.len() as u64,
        })),
        step(deliver_request::Step::Chunk(octets)),
        step(deliver_request::Step::Finish(DeliverFinish {})),
    ];
    let delivered = node.mail.deliver(tokio_stream::iter(steps)).await;
    delivered.unwrap().into_inner().results.remove(0)
}

async fn append(node: &mut Node, account: Account, upload_id: &str) -> AppendResponse {
    let step = |step| AppendRequest { step: Some(step) };
    let octets = Bytes::from_static(b"Subject: x\r\n\r\nappended\r\n");
    let steps = [
        step(append_request::Step::Begin(AppendBegin {
            account: Some(account),
            mailbox: "Drafts".into(),
            size: octets.len() as u64,
            upload_id: upload_id.into(),
        })),
        step(append_request::Step::Chunk(octets.clone())),
        step(append_request::Step::Finish(AppendFinish {
            system_flags: 16,
            keywords: vec!["$Draft".into()],
            internal_date_ms: 1_700_000_000_000,
            internal_date_offset: 60,
            email: Some(EmailContent {
                segments: email(octets.len() as u64).segments.split_off(1),
                size: octets.len() as u64,
                ..EmailContent::default()
            }),
        })),
    ];
    let appended = node.mail.append(tokio_stream::iter(steps)).await;
    appended.unwrap().into_inner()
}

fn uids(first: u32, last: u32) -> Vec<UidRange> {
    vec![UidRange { first, last }]
}

/// Does to an account what people do to theirs.
async fn live(node: &mut Node, account: Account) {
    let of = Some(account);
    for name in ["Projects/2026", "Trash/old"] {
        let create = CreateMailboxRequest {
            account: of,
            name: name.into(),
            special_use: 0,
        };
        node.mail.create_mailbox(create).await.unwrap();
        let copy = CopyMessagesRequest {
            account: of,
            mailbox: INBOX,
            uids: uids(1, 3),
            target: name.into(),
        };
        node.mail.copy_messages(copy).await.unwrap();
    }
    // Its messages are still there for a while, and show emails that others show, too.
    let delete = DeleteMailboxRequest {
        account: of,
        name: "Trash/old".into(),
    };
    node.mail.delete_mailbox(delete).await.unwrap();
    let flags =
        |uids, operation: FlagOperation, system_flags, keywords: &[&str]| StoreFlagsRequest {
            account: of,
            mailbox: INBOX,
            uids,
            operation: operation.into(),
            system_flags,
            keywords: keywords.iter().map(|&keyword| keyword.to_owned()).collect(),
            unchanged_since: None,
        };
    let changes = [
        flags(uids(1, 2), FlagOperation::Add, 1, &["$Work", "later"]),
        flags(uids(2, 2), FlagOperation::Remove, 0, &["later"]),
        flags(uids(4, 4), FlagOperation::Add, 8, &[]),
    ];
    for change in changes {
        node.mail.store_flags(change).await.unwrap();
    }
    let expunge = ExpungeRequest {
        account: of,
        mailbox: INBOX,
        uids: Vec::new(),
        ignore_deleted_flag: false,
    };
    node.mail.expunge(expunge).await.unwrap();
    let subscribe = SetSubscriptionRequest {
        account: of,
        name: "Projects/2026".into(),
        subscribed: true,
    };
    node.mail.set_subscription(subscribe).await.unwrap();
    // One that is left with \Deleted.
    let deleted = flags(uids(3, 3), FlagOperation::Add, 8, &[]);
    node.mail.store_flags(deleted).await.unwrap();
}

fn fault(status: &tonic::Status) -> (FaultKind, Option<ShardId>) {
    let fault = Fault::of(status).unwrap_or_else(|| panic!("{status}"));
    (fault.kind, fault.shard)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_looks_the_same_on_another_shard() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    let alice = node.account("alice@example.org").await;
    let bob = node.account("bob@example.org").await;
    let carol = node.account("carol@example.org").await;
    assert_eq!((alice.shard, bob.shard, carol.shard), (1, 2, 1));
    // Letters that both have, and letters of one alone; inline and in chunks.
    let mut first = None;
    for size in [0, 5_000, 9_000, 300_000, 20] {
        let id = mint(1);
        node.accept(&id, &[Some(alice), Some(carol)], &message(size), 7_000)
            .await;
        first.get_or_insert(id);
        node.accept(&mint(1), &[Some(alice)], &message(size + 1), 7_000)
            .await;
    }
    live(&mut node, alice).await;
    let appended = append(&mut node, alice, "u1").await;
    let (before, others) = (
        picture(&mut node, alice).await,
        picture(&mut node, carol).await,
    );

    let watch = WatchRequest {
        account: Some(alice),
        since: None,
    };
    let mut events = node.mail.watch(watch).await.unwrap().into_inner();
    assert!(events.message().await.unwrap().is_some());

    let moved = relocate(&mut node, "alice@example.org", 2).await;
    assert_eq!(picture(&mut node, moved).await, before);
    assert_eq!(picture(&mut node, carol).await, others);
    // Who followed it on the old shard is told, and who asks there, too.
    let ended = timeout(DEADLINE, async {
        loop {
            if let Err(status) = events.message().await {
                return fault(&status);
            }
        }
    });
    let (told, _) = ended.await.unwrap();
    assert!(matches!(told, FaultKind::Moving | FaultKind::Moved));
    let list = ListMailboxesRequest {
        account: Some(alice),
        subscriptions: false,
    };
    let refused = node.mail.list_mailboxes(list).await.unwrap_err();
    let elsewhere = (FaultKind::Moved, Some(ShardId::new(2)));
    assert_eq!(fault(&refused), elsewhere);
    let refused = node.mail.watch(watch).await.unwrap_err();
    assert_eq!(fault(&refused), elsewhere);
    let flags = StoreFlagsRequest {
        account: Some(alice),
        mailbox: INBOX,
        uids: uids(1, 1),
        operation: FlagOperation::Add.into(),
        ..StoreFlagsRequest::default()
    };
    let refused = node.mail.store_flags(flags).await.unwrap_err();
    assert_eq!(fault(&refused), elsewhere);

    // A letter that was filed before is known on both shards; a new one goes to the new one.
    let first = first.unwrap();
    for shard in [1, 2] {
        let again = deliver(&mut node, shard, &first, alice.account).await;
        assert_eq!(again.status(), DeliverStatus::Duplicate, "{shard}");
    }
    let late = mint(1);
    let accepted = node.accept(&late, &[Some(alice)], b"late", 100).await;
    assert!(!accepted.filed);
    let redirected = deliver(&mut node, 1, &late, alice.account).await;
    assert_eq!(
        (redirected.status(), redirected.shard),
        (DeliverStatus::Moved, 2)
    );
    for expected in [DeliverStatus::Filed, DeliverStatus::Duplicate] {
        let delivered = deliver(&mut node, 2, &late, alice.account).await;
        assert_eq!(delivered.status(), expected);
    }
    let uid_next = before.mailboxes[0].state.uid_next;
    assert_eq!(
        node.read(moved, INBOX, uid_next, 0, 0).await,
        [RETURN_PATH, b"late"].concat()
    );
    assert_eq!(append(&mut node, moved, "u1").await, appended);

    // And back, to where it once was.
    let before = picture(&mut node, moved).await;
    let back = relocate(&mut node, "alice@example.org", 1).await;
    assert_eq!(picture(&mut node, back).await, before);
    assert_eq!(picture(&mut node, carol).await, others);
    let again = deliver(&mut node, 1, &late, alice.account).await;
    assert_eq!(again.status(), DeliverStatus::Duplicate);

    // What others show stays when the account goes for good.
    let remove = RemoveAccountRequest {
        address: "alice@example.org".into(),
    };
    node.admin.remove_account(remove).await.unwrap();
    assert_eq!(picture(&mut node, carol).await, others);
    drop(events);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_on_after_a_restart_and_the_account_is_in_use_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let slowly = |config: &mut postino_store::StoreConfig| {
        config.placement.account_rate = ByteSize::kib(64);
    };
    let mut node = Node::start_with(directory.path(), slowly).await;
    let alice = node.account("alice@example.org").await;
    for number in 0..12 {
        let letter = message(30_000 + number);
        node.accept(&mint(alice.shard), &[Some(alice)], &letter, 7_000)
            .await;
    }
    begin(&mut node, "alice@example.org", 2).await;
    let end = Instant::now() + DEADLINE;
    loop {
        let under_way = moves(&mut node).await;
        let progress = under_way.first().expect("it takes seconds");
        if progress.emails_sent >= 2 {
            assert_eq!(progress.emails, 12);
            break;
        }
        assert!(Instant::now() < end, "{progress:?}");
        sleep(Duration::from_millis(20)).await;
    }
    // Neither removed nor moved elsewhere meanwhile; but used.
    let remove = RemoveAccountRequest {
        address: "alice@example.org".into(),
    };
    let refused = node.admin.remove_account(remove).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let accepted = node
        .accept(&mint(1), &[Some(alice)], b"meanwhile", 100)
        .await;
    assert!(accepted.filed);
    let before = picture(&mut node, alice).await;
    assert_eq!(before.mailboxes[0].rows.len(), 13);
    node.stop().await;

    let mut node = Node::start(directory.path()).await;
    let moved = arrived(&mut node, "alice@example.org", 2).await;
    assert_eq!(picture(&mut node, moved).await, before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_called_off_leaves_the_account_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let slowly = |config: &mut postino_store::StoreConfig| {
        config.placement.account_rate = ByteSize::kib(64);
    };
    let mut node = Node::start_with(directory.path(), slowly).await;
    let alice = node.account("alice@example.org").await;
    let call_off = || CallOffAccountMoveRequest {
        address: "alice@example.org".into(),
    };
    let refused = node.admin.call_off_account_move(call_off()).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    for number in 0..12 {
        let letter = message(30_000 + number);
        node.accept(&mint(alice.shard), &[Some(alice)], &letter, 7_000)
            .await;
    }
    let before = picture(&mut node, alice).await;
    begin(&mut node, "alice@example.org", 2).await;
    let end = Instant::now() + DEADLINE;
    while moves(&mut node).await[0].emails_sent < 2 {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(20)).await;
    }
    node.admin.call_off_account_move(call_off()).await.unwrap();
    let back = arrived(&mut node, "alice@example.org", alice.shard).await;
    assert_eq!(picture(&mut node, back).await, before);
    let accepted = node.accept(&mint(1), &[Some(alice)], b"later", 100).await;
    assert!(accepted.filed);
    let account = Some(Account { shard: 2, ..alice });
    let list = ListMailboxesRequest {
        account,
        subscriptions: false,
    };
    let elsewhere = node.mail.list_mailboxes(list).await.unwrap_err();
    assert_eq!(fault(&elsewhere), (FaultKind::Moved, Some(ShardId::new(1))));
    node.stop().await;

    // It can go there after all.
    let mut node = Node::start(directory.path()).await;
    let before = picture(&mut node, alice).await;
    let moved = relocate(&mut node, "alice@example.org", 2).await;
    assert_eq!(picture(&mut node, moved).await, before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_move_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start(directory.path()).await;
    node.account("alice@example.org").await;
    // There already: nothing to do.
    begin(&mut node, "alice@example.org", 1).await;
    assert_eq!(moves(&mut node).await, []);
    for (address, shard, code) in [
        ("nobody@example.org", 2, Code::NotFound),
        ("alice@example.org", 0, Code::InvalidArgument),
        ("alice@example.org", 3, Code::InvalidArgument),
        ("no address", 2, Code::InvalidArgument),
    ] {
        let request = MoveAccountRequest {
            address: address.into(),
            shard,
        };
        let refused = node.admin.move_account(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{address} {shard}: {refused}");
    }
    node.stop().await;
}

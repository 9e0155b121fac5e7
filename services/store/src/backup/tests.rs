//! Real stores on real ports: what is in a backup, and what becomes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use postino_client::Channels;
use postino_config::{AuthConfig, Duration as Setting, GrpcConfig};
use postino_proto::admin::v1::read_step::{Go, Open, Step};
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::admin::v1::*;
use postino_proto::mail::v1::{EmailContent, Envelope, Recipient};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::*;
use postino_types::{QueueId, ShardId};
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};

use super::file::{Reader, Writer};
use super::verify::read_back;
use super::*;
use crate::config::{BackupConfig, PlacementConfig};
use crate::db::{Db, Family, KeyRange, Read};
use crate::levels;
use crate::model::account::{self, AccountRow};
use crate::model::mailbox::{self, INBOX, MailboxRow};
use crate::model::spool::{self, LeaseRow, ShardRow};
use crate::model::{decode, directory};
use crate::raft::Group;
use crate::service::now_ms;
use crate::{Store, StoreConfig};

const DEADLINE: Duration = Duration::from_secs(30);
/// Mail shards; the last one is never used.
const SHARDS: u32 = 3;

/// A store that belongs to no cluster yet.
struct Node {
    store: Store,
    endpoint: String,
    _directory: TempDir,
}

async fn waiting(hold_ms: u64) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let config = StoreConfig {
        shards: SHARDS,
        backup: BackupConfig {
            hold: Setting::millis(hold_ms),
            ..BackupConfig::default()
        },
        placement: PlacementConfig {
            interval: Setting::millis(50),
            ..PlacementConfig::default()
        },
        ..StoreConfig::default()
    };
    let channels = Channels::new(GrpcConfig::default());
    let store = Store::start(config, directory.path(), endpoint.clone(), channels);
    let store = store.await.unwrap();
    let routes = store.routes(&AuthConfig::default(), 16 << 20);
    let server = Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Node {
        store,
        endpoint,
        _directory: directory,
    }
}

impl Node {
    async fn leading(hold_ms: u64) -> Self {
        let node = waiting(hold_ms).await;
        node.store.cluster().init(0).await.unwrap();
        node.leads().await;
        let low = |shard| {
            let level = levels::of_shard(node.db(), ShardId::new(shard)).unwrap();
            level < levels::BACKUPS
        };
        let end = tokio::time::Instant::now() + DEADLINE;
        while (1..=SHARDS).any(low) {
            assert!(tokio::time::Instant::now() < end, "shards do not rise");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        node
    }

    async fn leads(&self) {
        for group in self.store.cluster().node().unwrap().groups() {
            let mut leadership = group.leadership();
            let leads = leadership.wait_for(|now| now.is_leader);
            let leads = tokio::time::timeout(DEADLINE, leads).await;
            leads.unwrap().unwrap();
        }
    }

    fn group(&self, shard: u32) -> Group {
        let node = self.store.cluster().node().unwrap();
        node.group(ShardId::new(shard)).unwrap().clone()
    }

    async fn command(&self, shard: u32, kind: Kind, body: &[u8]) -> Result<Answer, Status> {
        let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body));
        let shards = self.store.shards();
        let done = shards.propose(&self.group(shard), kind, body).await?;
        Ok(done.answer)
    }

    async fn done(&self, shard: u32, kind: Kind, body: &[u8]) {
        self.command(shard, kind, body).await.unwrap();
    }

    fn db(&self) -> &Db {
        self.store.shards().db()
    }

    fn row<M: Message + Default>(&self, shard: u32, family: Family, key: &[u8]) -> Option<M> {
        let space = self.db().space(ShardId::new(shard)).unwrap();
        let row = Read::get(self.db(), family, space.key().bytes(key)).unwrap();
        row.map(|row| decode(row).unwrap())
    }

    fn mailbox(&self, id: u64) -> MailboxRow {
        let space = self.db().space(ShardId::new(1)).unwrap();
        mailbox::find(self.db(), space, 1, id).unwrap().unwrap()
    }

    fn account(&self) -> AccountRow {
        let space = self.db().space(ShardId::new(1)).unwrap();
        account::row(self.db(), space, 1).unwrap().unwrap()
    }

    /// All rows of a shard, without the space in their keys.
    fn rows(&self, shard: u32) -> BTreeMap<(&'static str, Vec<u8>), Bytes> {
        let space = self.db().space(ShardId::new(shard)).unwrap();
        let mut found = BTreeMap::new();
        for family in Family::STATE.into_iter().chain([Family::Bodies]) {
            for row in self.db().scan(family, KeyRange::prefix(space.key())) {
                let row = row.unwrap();
                let key = row.key[space.key().as_slice().len()..].to_vec();
                found.insert((family.name(), key), row.value);
            }
        }
        found
    }

    /// An account on shard 1 with a message in its INBOX; letters for it and for others in the
    /// spool of shard 2; a lease; an upload that was not finished.
    async fn fill(&self) {
        let domain = "example.org".to_owned();
        let add = Kind::AddDomain(AddDomainCommand {
            domain: domain.clone(),
        });
        self.done(0, add, b"").await;
        let create = Kind::CreateAccount(CreateAccountCommand {
            domain,
            local_part: "a".into(),
            address: "a@example.org".into(),
            credential: Some(Credential::default()),
            mail_shards: 1,
            ..CreateAccountCommand::default()
        });
        self.done(0, create, b"").await;
        let init = Kind::InitAccount(InitAccountCommand {
            account: 1,
            address: "a@example.org".into(),
            credential: Some(Credential::default()),
            ..InitAccountCommand::default()
        });
        self.done(1, init, b"").await;
        let activate = Kind::ActivateAccount(ActivateAccountCommand { account: 1 });
        self.done(0, activate, b"").await;
        let append = Kind::Append(AppendCommand {
            account: 1,
            mailbox: "INBOX".into(),
            upload_id: "p1.first".into(),
            email: email(),
            email_size: 5,
            body: Some(own(5)),
            ..AppendCommand::default()
        });
        self.done(1, append, b"first").await;
        for unique in 1..=2 {
            self.done(2, accept(&letter(unique)), b"letter").await;
        }
        let acquire = Kind::AcquireLease(AcquireLeaseCommand {
            holder: "q".into(),
            ttl_ms: 1000,
            expected_epoch: 0,
        });
        self.done(2, acquire, b"").await;
        let chunk = Kind::UploadChunk(UploadChunkCommand {
            upload_id: "left".into(),
            number: 0,
        });
        self.done(2, chunk, b"left over").await;
    }
}

/// Young, or what is known of it would be reaped.
static MINTED_MS: LazyLock<u64> = LazyLock::new(now_ms);

fn letter(unique: u64) -> QueueId {
    QueueId::mint(ShardId::new(2), *MINTED_MS, unique).unwrap()
}

fn email() -> Bytes {
    let email = EmailContent {
        message_id: "<m@example.org>".into(),
        ..EmailContent::default()
    };
    email.encode_to_vec().into()
}

fn own(length: u64) -> BodySource {
    BodySource {
        length,
        ..BodySource::default()
    }
}

/// A letter for the account, which lives on shard 1.
fn accept(id: &QueueId) -> Kind {
    let envelope = Envelope {
        recipients: vec![Recipient::default()],
        ..Envelope::default()
    };
    Kind::Accept(AcceptCommand {
        queue_id: id.to_string(),
        envelope: envelope.encode_to_vec().into(),
        recipients: 1,
        email: email(),
        size: 6,
        body: Some(own(6)),
        ..AcceptCommand::default()
    })
}

fn deliver(id: &QueueId) -> Kind {
    Kind::Deliver(DeliverCommand {
        queue_id: id.to_string(),
        targets: vec![DeliverTarget {
            recipient: 0,
            account: 1,
        }],
        email: email(),
        email_size: 6,
        body: Some(own(6)),
        ..DeliverCommand::default()
    })
}

fn settle(id: &QueueId) -> Kind {
    let delivered = recipient_outcome::Outcome::Delivered(Delivered::default());
    Kind::Settle(SettleCommand {
        holder: "q".into(),
        lease_epoch: 1,
        letters: vec![SettledLetter {
            queue_id: id.to_string(),
            recipients: vec![RecipientOutcome {
                recipient: 0,
                outcome: Some(delivered),
                attempt: 1,
            }],
            notifications: Vec::new(),
        }],
    })
}

static QUIET: &Tell = &|_| {};

async fn backup(node: &Node) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let manifest = create(&node.endpoint, directory.path(), None, QUIET).await;
    assert_eq!(manifest.unwrap().shard_count, SHARDS);
    directory
}

async fn incremental(node: &Node, earlier: &TempDir) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let manifest = create(
        &node.endpoint,
        directory.path(),
        Some(earlier.path()),
        QUIET,
    );
    assert_eq!(manifest.await.unwrap().shard_count, SHARDS);
    directory
}

/// Takes the rows out that a restore renews.
fn unchanged(
    mut rows: BTreeMap<(&'static str, Vec<u8>), Bytes>,
) -> BTreeMap<(&'static str, Vec<u8>), Bytes> {
    let (account, mailbox) = (account::ACCOUNT, mailbox::MAILBOX);
    rows.retain(|(family, key), value| match (*family, key[0]) {
        ("directory", tag) => ![directory::NODE, directory::REPLICAS].contains(&tag),
        ("spool", tag) => ![spool::LEASE, spool::UPLOAD, spool::CHUNK, spool::SHARD].contains(&tag),
        ("dedupe", tag) => ![spool::APPENDED, spool::APPENDED_AT].contains(&tag),
        ("mailbox", _) => ![account, mailbox].contains(&key[8]),
        ("bodies", _) => value != "left over",
        _ => true,
    });
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_has_the_same_rows_under_new_uid_validities() {
    let old = Node::leading(10_000).await;
    old.fill().await;
    let directory = backup(&old).await;
    assert_eq!(read_back(directory.path(), QUIET).unwrap().shards.len(), 4);
    let before: Vec<_> = (0..=SHARDS)
        .map(|shard| unchanged(old.rows(shard)))
        .collect();
    assert!(before[1].values().any(|value| value == "first"));
    assert!(before[2].values().any(|value| value == "letter"));

    let new = waiting(10_000).await;
    let members = [new.endpoint.clone()];
    let id = restore(directory.path(), &members, QUIET).await.unwrap();
    assert_ne!(
        id,
        old.store
            .cluster()
            .node()
            .unwrap()
            .identity()
            .cluster
            .to_string()
    );
    new.leads().await;
    for (shard, before) in (0..).zip(before) {
        assert_eq!(unchanged(new.rows(shard)), before, "shard {shard}");
        let row: ShardRow = new.row(shard, Family::Spool, &[spool::SHARD]).unwrap();
        assert_eq!(row.remote_held, shard > 0, "shard {shard}");
        assert_eq!(row.hold, None);
    }
    // The rows that are not the same.
    let left = |(family, key): &(&str, Vec<u8>), value: &Bytes| {
        let upload = [spool::UPLOAD, spool::CHUNK].contains(&key[0]);
        (*family == "spool" && upload) || value == "left over"
    };
    assert!(old.rows(2).iter().any(|(key, value)| left(key, value)));
    assert!(!new.rows(2).iter().any(|(key, value)| left(key, value)));
    let lease: LeaseRow = new.row(2, Family::Spool, &[spool::LEASE]).unwrap();
    assert_eq!((lease.holder.as_str(), lease.epoch), ("", 1));
    let mut validities = Vec::new();
    for id in INBOX..=5 {
        let (was, is) = (old.mailbox(id), new.mailbox(id));
        assert!(is.uid_validity > old.account().last_uid_validity);
        assert!(is.uid_validity < new.account().last_uid_validity + 1);
        validities.push(is.uid_validity);
        let renumbered = MailboxRow {
            uid_validity: was.uid_validity,
            ..is
        };
        assert_eq!(renumbered, was);
    }
    validities.sort_unstable();
    validities.dedup();
    assert_eq!(validities.len(), 5);

    // It works on: the log goes on where the old one was, and what came before is known.
    let unique = letter(1);
    let acquire = Kind::AcquireLease(AcquireLeaseCommand {
        holder: "q".into(),
        ttl_ms: 1000,
        expected_epoch: 1,
    });
    new.done(2, acquire, b"").await;
    new.done(1, deliver(&unique), b"letter").await;
    let again = new.command(1, deliver(&unique), b"letter").await.unwrap();
    let Answer::Delivered(again) = again else {
        panic!("{again:?}")
    };
    assert_eq!(again.results[0].status(), DeliverStatus::Duplicate);
    assert_eq!(new.mailbox(INBOX).exists, 2);
    let again = backup(&new).await;
    read_back(again.path(), QUIET).unwrap();
}

fn append(unique: &str, length: u64) -> Kind {
    Kind::Append(AppendCommand {
        account: 1,
        mailbox: "INBOX".into(),
        upload_id: unique.into(),
        email: email(),
        email_size: length,
        body: Some(own(length)),
        ..AppendCommand::default()
    })
}

fn expunge(uid: u32) -> Kind {
    Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        uids: vec![UidRange {
            first: uid,
            last: uid,
        }],
        ignore_deleted_flag: true,
        limit: 1,
    })
}

/// The bodies of shard 1.
fn bodies(node: &Node) -> Vec<Bytes> {
    let rows = node.rows(1).into_iter();
    let bodies = rows.filter(|((family, _), _)| *family == "bodies");
    bodies.map(|(_, body)| body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_backups_stand_for_themselves_and_hold_what_came_between() {
    let old = Node::leading(10_000).await;
    old.fill().await;
    let large = "A".repeat(50_000);
    old.done(1, append("p2.large", 50_000), large.as_bytes())
        .await;
    let first = backup(&old).await;

    old.done(1, append("p3.second", 6), b"second").await;
    old.done(1, expunge(1), b"").await;
    let second = incremental(&old, &first).await;
    // Of the letter of before there is a second name, not a second copy.
    let own = std::fs::metadata(second.path().join("shard-0001")).unwrap();
    assert!(own.len() < 10_000, "{}", own.len());
    drop(first);
    read_back(second.path(), QUIET).unwrap();

    old.done(1, append("p4.third", 5), b"third").await;
    let third = incremental(&old, &second).await;
    // Nothing happens between these two.
    let fourth = incremental(&old, &third).await;
    drop((second, third));
    read_back(fourth.path(), QUIET).unwrap();

    let new = waiting(10_000).await;
    let members = [new.endpoint.clone()];
    restore(fourth.path(), &members, QUIET).await.unwrap();
    new.leads().await;
    for shard in 0..=SHARDS {
        let (old, new) = (unchanged(old.rows(shard)), unchanged(new.rows(shard)));
        assert_eq!(new, old, "shard {shard}");
    }
    // What was expunged between two backups is not there any more.
    let lengths: Vec<usize> = bodies(&new).iter().map(Bytes::len).collect();
    assert_eq!(lengths, [50_000, 6, 5]);

    // A damaged file of an earlier backup, or none, is found.
    let manifest = read_back(fourth.path(), QUIET).unwrap();
    let earlier = manifest.shards[1].earlier[0].file.clone();
    let path = fourth.path().join(&earlier);
    flip(&path, 30_000);
    let refused = read_back(fourth.path(), QUIET).unwrap_err();
    assert!(refused.to_string().contains(&earlier), "{refused}");
    std::fs::write(&path, b"short").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let refused = create(&old.endpoint, directory.path(), Some(fourth.path()), QUIET);
    let refused = refused.await.unwrap_err();
    assert!(refused.to_string().contains("size"), "{refused}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    // An index of the old cluster's log says nothing in the new one.
    let refused = create(&new.endpoint, directory.path(), Some(fourth.path()), QUIET);
    let refused = refused.await.unwrap_err();
    assert!(refused.to_string().contains("of cluster"), "{refused}");
}

/// The backup service, asked step by step.
struct Asked(backup_client::BackupClient<Channel>);

struct Opened {
    steps: mpsc::Sender<ReadStep>,
    parts: tonic::Streaming<ShardPart>,
}

impl Asked {
    async fn at(node: &Node) -> Self {
        let client = backup_client::BackupClient::connect(node.endpoint.clone()).await;
        Self(client.unwrap())
    }

    async fn hold(&mut self, cut: &str) -> Result<(), Status> {
        let request = HoldRequest { cut: cut.into() };
        self.0.hold(request).await.map(drop)
    }

    async fn end_hold(&mut self, cut: &str) -> Result<(), Status> {
        let request = EndHoldRequest { cut: cut.into() };
        self.0.end_hold(request).await.map(drop)
    }

    async fn open(&mut self, shard: u32) -> Opened {
        let (steps, asked) = mpsc::channel(2);
        let step = |step| ReadStep { step: Some(step) };
        let open = Open {
            shard,
            bodies_after: 0,
        };
        steps.send(step(Step::Open(open))).await.unwrap();
        let parts = self.0.read(ReceiverStream::new(asked)).await.unwrap();
        let mut parts = parts.into_inner();
        let head = parts.message().await.unwrap().unwrap();
        assert!(matches!(head.part, Some(Part::Head(_))), "{head:?}");
        Opened { steps, parts }
    }
}

impl Opened {
    /// The keys of a family.
    async fn keys(mut self, family: Family) -> Vec<Bytes> {
        let go = ReadStep {
            step: Some(Step::Go(Go {})),
        };
        self.steps.send(go).await.unwrap();
        let mut keys = Vec::new();
        while let Some(part) = self.parts.message().await.unwrap() {
            if let Some(Part::Rows(rows)) = part.part
                && rows.family == family.name()
            {
                keys.extend(rows.rows.into_iter().map(|row| row.key));
            }
        }
        keys
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_filed_between_two_cuts_is_in_the_spool() {
    let node = Node::leading(30_000).await;
    node.fill().await;
    let mut asked = Asked::at(&node).await;
    asked.hold("a").await.unwrap();
    let mailboxes = asked.open(1).await;
    // Filed behind the cut of its mailbox; its outcome cannot be recorded ahead of the other.
    node.done(1, deliver(&letter(1)), b"letter").await;
    let settled = node.command(2, settle(&letter(1)), b"").await;
    assert_eq!(settled.unwrap_err().code(), Code::ResourceExhausted);
    let spool = asked.open(2).await;
    // Nor can another backup take its cut.
    let other = asked.hold("b").await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition, "{other}");
    asked.end_hold("a").await.unwrap();
    node.done(2, settle(&letter(1)), b"").await;

    let space = node.db().space(ShardId::new(2)).unwrap();
    let key = spool::letter(space, &letter(1));
    assert!(!node.db().contains(Family::Spool, &key).unwrap());
    let tail = &key.as_slice()[space.key().as_slice().len()..];
    assert!(
        spool
            .keys(Family::Spool)
            .await
            .iter()
            .any(|key| key == tail)
    );
    assert_eq!(mailboxes.keys(Family::Email).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_took_too_long_is_told_to_be_no_good() {
    let node = Node::leading(50).await;
    node.fill().await;
    let mut asked = Asked::at(&node).await;
    asked.hold("a").await.unwrap();
    let settled = async || node.command(2, settle(&letter(1)), b"").await;
    while let Err(status) = settled().await {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    let ended = asked.end_hold("a").await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition, "{ended}");
}

fn flip(path: &Path, place: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[place] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_is_found_and_nothing_is_restored_of_it() {
    let node = Node::leading(10_000).await;
    node.fill().await;
    let directory = backup(&node).await;
    let target = waiting(10_000).await;
    for name in ["manifest.json", "shard-0000", "shard-0001", "shard-0002"] {
        let path = directory.path().join(name);
        let length = std::fs::metadata(&path).unwrap().len();
        for place in (0..usize::try_from(length).unwrap()).step_by(37) {
            flip(&path, place);
            let verified = read_back(directory.path(), QUIET);
            assert!(verified.is_err(), "{name}, byte {place}");
            flip(&path, place);
        }
        read_back(directory.path(), QUIET).unwrap();
        // Half of a file is no file either.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let members = [target.endpoint.clone()];
        let refused = restore(directory.path(), &members, QUIET)
            .await
            .unwrap_err();
        assert!(matches!(refused, BackupError::Damaged { .. }), "{refused}");
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(target.store.cluster().node().is_none());
    // A store that is in a cluster takes none, and a directory with files holds no second backup.
    let members = [node.endpoint.clone()];
    let refused = restore(directory.path(), &members, QUIET)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
    let refused = create(&node.endpoint, directory.path(), None, QUIET).await;
    assert!(refused.unwrap_err().to_string().contains("not empty"));
    std::fs::remove_file(directory.path().join("manifest.json")).unwrap();
    let refused = read_back(directory.path(), QUIET).unwrap_err();
    assert!(refused.to_string().contains("not finished"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_is_repeated_and_nothing_else() {
    let old = Node::leading(10_000).await;
    old.fill().await;
    let directory = backup(&old).await;
    let new = waiting(10_000).await;
    let mut client = Asked::at(&new).await;
    // Up to the middle of shard 1.
    let step = |step| RestoreStep { step: Some(step) };
    let begin = restore_step::Step::Begin(RestoreBegin {
        shard_count: SHARDS,
    });
    let mut steps = vec![step(begin)];
    let mut file = Reader::open(&directory.path().join("shard-0000")).unwrap();
    while let Some(part) = file.next().unwrap() {
        steps.push(step(restore_step::Step::Part(part)));
    }
    let mut file = Reader::open(&directory.path().join("shard-0001")).unwrap();
    for _ in 0..2 {
        let part = file.next().unwrap().unwrap();
        steps.push(step(restore_step::Step::Part(part)));
    }
    let broken = client.0.restore(tokio_stream::iter(steps)).await;
    assert!(broken.is_err(), "{broken:?}");
    let refused = new.store.cluster().init(0).await.unwrap_err();
    assert!(refused.to_string().contains("interrupted"), "{refused}");
    let members = [new.endpoint.clone()];
    restore(directory.path(), &members, QUIET).await.unwrap();
    new.leads().await;
    for shard in 0..=SHARDS {
        assert_eq!(unchanged(new.rows(shard)), unchanged(old.rows(shard)));
    }
}

#[test]
fn files_are_golden() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shard-0001");
    let head = ShardPart {
        part: Some(Part::Head(ShardHead {
            cluster_id: Bytes::from_static(b"c"),
            shard_count: 2,
            shard: 1,
            term: 4,
            index: 5,
            bodies_after: 0,
        })),
    };
    let rows = ShardPart {
        part: Some(Part::Rows(postino_proto::raft::v1::SnapshotRows {
            family: "spool".into(),
            rows: vec![postino_proto::raft::v1::snapshot_rows::Row {
                key: Bytes::from_static(b"k"),
                value: Bytes::from_static(b"v"),
            }],
        })),
    };
    let end = ShardPart {
        part: Some(Part::End(postino_proto::raft::v1::SnapshotEnd {
            rows: 1,
            digest: Bytes::from_static(b"d"),
        })),
    };
    let mut writer = Writer::create(path.clone()).unwrap();
    for part in [&head, &rows, &end] {
        writer.write(part).unwrap();
    }
    let written = writer.finish().unwrap();
    let golden = b"postino shard 1\n\
        \0\0\0\x0d\x0a\x0b\x0a\x01c\x10\x02\x18\x01\x20\x04\x28\x05\
        \0\0\0\x11\x12\x0f\x0a\x05spool\x12\x06\x0a\x01k\x12\x01v\
        \0\0\0\x07\x1a\x05\x08\x01\x12\x01d";
    assert_eq!(std::fs::read(&path).unwrap(), golden);
    assert_eq!(written.bytes, golden.len() as u64);
    let mut reader = Reader::open(&path).unwrap();
    for part in [head, rows, end] {
        assert_eq!(reader.next().unwrap(), Some(part));
    }
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.read().blake3, written.blake3);
}

#[test]
fn the_manifest_is_golden() {
    let directory = tempfile::tempdir().unwrap();
    let file = |shard| ShardFile {
        shard,
        file: ShardFile::name(shard),
        term: 1,
        index: 2,
        rows: 3,
        bytes: 4,
        blake3: "b".into(),
        bodies_after: 0,
        earlier: Vec::new(),
    };
    let manifest = Manifest {
        version: "1.2.3".into(),
        ..Manifest::new("c".into(), now_ms(), vec![file(0), file(1)])
    };
    let golden = Manifest {
        taken_ms: 5,
        ..manifest
    };
    golden.write(directory.path()).unwrap();
    assert_eq!(Manifest::read(directory.path()).unwrap(), golden);
    let text = std::fs::read_to_string(directory.path().join("manifest.json")).unwrap();
    let compact: String = text.split_whitespace().collect();
    let expected = "{\"manifest\":{\"format\":1,\"version\":\"1.2.3\",\"cluster\":\"c\",\
        \"taken_ms\":5,\"shard_count\":1,\"shards\":[\
        {\"shard\":0,\"file\":\"shard-0000\",\"term\":1,\"index\":2,\"rows\":3,\"bytes\":4,\
        \"blake3\":\"b\"},\
        {\"shard\":1,\"file\":\"shard-0001\",\"term\":1,\"index\":2,\"rows\":3,\"bytes\":4,\
        \"blake3\":\"b\"}]},\"blake3\":\"";
    assert!(compact.starts_with(expected), "{compact}");

    // With files of earlier backups it is of another format.
    let later = ShardFile {
        index: 7,
        bodies_after: 2,
        earlier: vec![ShardFile {
            file: ShardFile::earlier_name(1, 2),
            ..file(1)
        }],
        ..file(1)
    };
    let golden = Manifest {
        version: "1.2.3".into(),
        taken_ms: 5,
        ..Manifest::new("c".into(), 5, vec![file(0), later.clone()])
    };
    golden.write(directory.path()).unwrap();
    assert_eq!(Manifest::read(directory.path()).unwrap(), golden);
    let text = std::fs::read_to_string(directory.path().join("manifest.json")).unwrap();
    let compact: String = text.split_whitespace().collect();
    let expected = "{\"shard\":1,\"file\":\"shard-0001\",\"term\":1,\"index\":7,\"rows\":3,\"bytes\":4,\
        \"blake3\":\"b\",\"bodies_after\":2,\"earlier\":[\
        {\"shard\":1,\"file\":\"shard-0001-2\",\"term\":1,\"index\":2,\"rows\":3,\"bytes\":4,\
        \"blake3\":\"b\"}]}";
    assert!(compact.contains(expected), "{compact}");
    assert!(
        compact.starts_with("{\"manifest\":{\"format\":2,"),
        "{compact}"
    );

    // Files between which bodies would be missing do not make a backup.
    let gap = ShardFile {
        bodies_after: 3,
        ..later
    };
    let gap = Manifest::new("c".into(), 5, vec![file(0), gap]);
    gap.write(directory.path()).unwrap();
    let refused = Manifest::read(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("fit together"), "{refused}");
}

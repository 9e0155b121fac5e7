//! One store node on a real directory and a real port.

use std::time::Duration;

use bytes::Bytes;
use postino_client::Channels;
use postino_config::{AuthConfig, ByteSize, GrpcConfig};
use postino_proto::admin::v1::admin_client::AdminClient;
use postino_proto::admin::v1::{AddAccountRequest, AddDomainRequest};
use postino_proto::mail::v1::segment::Piece;
use postino_proto::mail::v1::{EmailContent, Envelope, LocalTarget, Range, Recipient, Segment};
use postino_proto::store::v1::directory_client::DirectoryClient;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::shards_client::ShardsClient;
use postino_proto::store::v1::spool_client::SpoolClient;
use postino_proto::store::v1::*;
use postino_store::{Store, StoreConfig, StoreError};
use postino_types::{QueueId, ShardId};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

/// Nothing here takes this long unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A store with its clients.
pub(crate) struct Node {
    store: Store,
    serving: tokio::task::JoinHandle<()>,
    pub(crate) spool: SpoolClient<Channel>,
    pub(crate) mail: MailStoreClient<Channel>,
    pub(crate) directory: DirectoryClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
    pub(crate) shards: ShardsClient<Channel>,
}

/// Opens the store, once the last one has let go of its directory.
async fn open(config: &StoreConfig, directory: &std::path::Path, endpoint: &str) -> Store {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        let channels = Channels::new(GrpcConfig::default());
        match Store::start(config.clone(), directory, endpoint.to_owned(), channels).await {
            Err(StoreError::Db(_)) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

impl Node {
    /// Starts on `directory`; a new one becomes a cluster with two mail shards.
    pub(crate) async fn start(directory: &std::path::Path) -> Self {
        Self::start_with(directory, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn start_with(
        directory: &std::path::Path,
        set: impl FnOnce(&mut StoreConfig),
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut config = StoreConfig {
            shards: 2,
            inline_limit: ByteSize::kib(8),
            chunk_size: ByteSize::kib(16),
            messages_page: 3,
            ..StoreConfig::default()
        };
        set(&mut config);
        let store = open(&config, directory, &endpoint).await;
        if store.cluster().node().is_none() {
            store.cluster().init(0).await.unwrap();
        }
        tokio::time::timeout(DEADLINE, store.ready()).await.unwrap();
        let server = Server::builder().add_routes(store.routes(&AuthConfig::default(), 16 << 20));
        let serving = tokio::spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let channel = Endpoint::from_shared(endpoint).unwrap().connect_lazy();
        let node = Self {
            store,
            serving,
            spool: SpoolClient::new(channel.clone()),
            mail: MailStoreClient::new(channel.clone()),
            directory: DirectoryClient::new(channel.clone()),
            admin: AdminClient::new(channel.clone()),
            shards: ShardsClient::new(channel),
        };
        node.leads().await;
        node
    }

    /// Waits until it leads all its groups.
    async fn leads(&self) {
        let node = self.store.cluster().node().unwrap();
        for group in node.groups() {
            let mut leadership = group.leadership();
            let leads = leadership.wait_for(|now| now.is_leader);
            tokio::time::timeout(DEADLINE, leads)
                .await
                .unwrap()
                .unwrap();
        }
    }

    pub(crate) async fn stop(self) {
        self.serving.abort();
        self.store.shutdown(Duration::from_secs(1)).await;
    }

    /// Adds an account at example.org, and the domain if need be.
    pub(crate) async fn account(&mut self, address: &str) -> Account {
        let domain = "example.org".into();
        // A second account finds the domain there.
        let _ = self.admin.add_domain(AddDomainRequest { domain }).await;
        let request = AddAccountRequest {
            address: address.into(),
            credential: Some(Credential {
                password_hash: "$argon2id$x".into(),
                ..Credential::default()
            }),
        };
        let added = self.admin.add_account(request).await.unwrap().into_inner();
        Account {
            account: added.account,
            shard: added.shard,
        }
    }

    /// Accepts a letter in pieces of `piece` octets.
    pub(crate) async fn accept(
        &mut self,
        id: &QueueId,
        to: &[Option<Account>],
        message: &[u8],
        piece: usize,
    ) -> AcceptResponse {
        let (prefix, rest) = message.split_at(10.min(message.len()));
        let step = |step| AcceptRequest { step: Some(step) };
        let mut steps = vec![step(accept_request::Step::Begin(AcceptBegin {
            queue_id: id.to_string(),
            size_hint: 0,
        }))];
        for chunk in rest.chunks(piece) {
            let chunk = Bytes::copy_from_slice(chunk);
            steps.push(step(accept_request::Step::Chunk(chunk)));
        }
        steps.push(step(accept_request::Step::Finish(AcceptFinish {
            envelope: Some(envelope(to)),
            prefix: Bytes::copy_from_slice(prefix),
            chunk_octets: rest.len() as u64,
            trace: None,
            email: Some(email(message.len() as u64)),
        })));
        let accepted = self.spool.accept(tokio_stream::iter(steps)).await;
        accepted.unwrap().into_inner()
    }

    pub(crate) async fn open(&mut self, account: Account, name: &str) -> MailboxState {
        let request = OpenMailboxRequest {
            account: Some(account),
            which: Some(open_mailbox_request::Which::Name(name.into())),
            claim_recent: false,
        };
        self.mail.open_mailbox(request).await.unwrap().into_inner()
    }

    pub(crate) async fn rows(&mut self, account: Account, mailbox: u64) -> Vec<MessageRow> {
        let request = ListMessagesRequest {
            account: Some(account),
            mailbox,
            uids: Vec::new(),
        };
        let mut pages = self.mail.list_messages(request).await.unwrap().into_inner();
        let mut rows = Vec::new();
        while let Some(page) = pages.message().await.unwrap() {
            rows.extend(page.messages);
        }
        rows
    }

    pub(crate) async fn read(
        &mut self,
        account: Account,
        mailbox: u64,
        uid: u32,
        offset: u64,
        length: u64,
    ) -> Vec<u8> {
        let request = ReadMessageRequest {
            account: Some(account),
            mailbox,
            uid,
            offset,
            length,
        };
        let mut chunks = self.mail.read_message(request).await.unwrap().into_inner();
        let mut octets = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            octets.extend_from_slice(&chunk.data);
        }
        octets
    }
}

/// What filing puts in front.
pub(crate) const RETURN_PATH: &[u8] = b"Return-Path: <x@example.net>\r\n";

pub(crate) fn email(size: u64) -> EmailContent {
    let literal = Piece::Literal(Bytes::from_static(RETURN_PATH));
    let range = Piece::Range(Range {
        offset: 0,
        length: size,
    });
    let segment = |piece| Segment { piece: Some(piece) };
    EmailContent {
        segments: vec![segment(literal), segment(range)],
        size: RETURN_PATH.len() as u64 + size,
        message_id: "<m@example.net>".into(),
        ..EmailContent::default()
    }
}

/// To these accounts; `None` is a remote recipient.
pub(crate) fn envelope(to: &[Option<Account>]) -> Envelope {
    let recipient = |target: &Option<Account>| Recipient {
        address: "to@example.org".into(),
        original: "to@example.org".into(),
        local: target.as_ref().map(|target| LocalTarget {
            account: target.account,
            shard: target.shard,
        }),
        orcpt: String::new(),
    };
    Envelope {
        reverse_path: "x@example.net".into(),
        recipients: to.iter().map(recipient).collect(),
        ..Envelope::default()
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

pub(crate) fn mint(shard: u32) -> QueueId {
    QueueId::mint(ShardId::new(shard), now_ms(), fastrand::u64(..)).unwrap()
}

/// Octets that compress badly and are all different.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(size as u64);
    (0..size).map(|_| random.u8(..)).collect()
}

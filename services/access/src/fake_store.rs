//! A `MailStore` for the tests of this crate: one account, in memory, over real gRPC. It follows
//! the comments of `mailstore.proto`; the real store is tested together with this crate in the
//! end-to-end tests.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use postino_client::{Channels, StoreClient, StoreClientConfig};
use postino_config::GrpcConfig;
use postino_proto::mail::v1::EmailContent;
use postino_proto::store::v1::directory_server::{Directory, DirectoryServer};
use postino_proto::store::v1::mail_store_server::{MailStore, MailStoreServer};
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;
type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Octets of one chunk of a body: small, so that tests meet the borders between them.
const CHUNK: usize = 100;

#[derive(Clone)]
struct Message {
    row: MessageRow,
    content: EmailContent,
    octets: Bytes,
}

struct Mailbox {
    state: MailboxState,
    messages: BTreeMap<u32, Message>,
    tombstones: Vec<(u32, u64)>,
}

impl Mailbox {
    fn new(id: u64, name: &str, special_use: i32) -> Self {
        let state = MailboxState {
            mailbox: id,
            name: name.to_owned(),
            uid_validity: 1000 + id as u32,
            uid_next: 1,
            highest_mod_seq: 1,
            first_recent: 1,
            special_use,
            ..MailboxState::default()
        };
        Self {
            state,
            messages: BTreeMap::new(),
            tombstones: Vec::new(),
        }
    }

    fn counted(&self) -> MailboxState {
        let unseen = |m: &&Message| m.row.system_flags & 1 == 0;
        let mut keywords: Vec<String> = self
            .messages
            .values()
            .flat_map(|m| m.row.keywords.clone())
            .collect();
        keywords.sort();
        keywords.dedup();
        MailboxState {
            exists: self.messages.len() as u32,
            unseen: self.messages.values().filter(unseen).count() as u32,
            first_unseen: self.messages.values().find(unseen).map_or(0, |m| m.row.uid),
            keywords,
            ..self.state.clone()
        }
    }

    fn chosen(&self, uids: &[UidRange]) -> Vec<u32> {
        let holds = |uid: &&u32| uids.iter().any(|r| (r.first..=r.last).contains(uid));
        self.messages
            .keys()
            .filter(|uid| uids.is_empty() || holds(uid))
            .copied()
            .collect()
    }

    fn add(&mut self, mut message: Message, mod_seq: u64) -> u32 {
        let uid = self.state.uid_next;
        self.state.uid_next += 1;
        self.state.highest_mod_seq = mod_seq;
        message.row.uid = uid;
        message.row.mod_seq = mod_seq;
        self.messages.insert(uid, message);
        uid
    }

    fn remove(&mut self, uid: u32, mod_seq: u64) {
        self.messages.remove(&uid);
        self.tombstones.push((uid, mod_seq));
        self.state.highest_mod_seq = mod_seq;
    }
}

struct State {
    mailboxes: Vec<Mailbox>,
    subscribed: Vec<String>,
    mod_seq: u64,
    next_id: u64,
}

impl State {
    fn by_name(&mut self, name: &str) -> Result<&mut Mailbox, Status> {
        let found = self.mailboxes.iter_mut().find(|m| m.state.name == name);
        found.ok_or_else(|| Status::not_found("mailbox"))
    }

    fn by_id(&mut self, id: u64) -> Result<&mut Mailbox, Status> {
        let found = self.mailboxes.iter_mut().find(|m| m.state.mailbox == id);
        found.ok_or_else(|| Status::not_found("mailbox"))
    }

    fn create(&mut self, name: &str, special_use: i32) {
        self.next_id += 1;
        self.mailboxes
            .push(Mailbox::new(self.next_id, name, special_use));
    }
}

/// The store; clones share the account.
#[derive(Clone)]
pub(crate) struct FakeStore {
    state: Arc<Mutex<State>>,
    events: Arc<watch::Sender<u64>>,
    maildrop: Arc<Semaphore>,
}

impl FakeStore {
    /// An account with INBOX and Trash.
    pub(crate) fn new() -> Self {
        let mut state = State {
            mailboxes: Vec::new(),
            subscribed: vec!["INBOX".to_owned()],
            mod_seq: 1,
            next_id: 0,
        };
        state.create("INBOX", 0);
        state.create("Trash", SpecialUse::Trash.into());
        Self {
            state: Arc::new(Mutex::new(state)),
            events: Arc::new(watch::channel(1).0),
            maildrop: Arc::new(Semaphore::new(1)),
        }
    }

    /// Serves on a port of its own, for as long as the runtime lives.
    pub(crate) async fn start(&self) -> StoreClient {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let directory = OneNode(endpoint.clone());
        let server = tonic::transport::Server::builder()
            .add_service(MailStoreServer::new(self.clone()))
            .add_service(DirectoryServer::new(directory))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let config = StoreClientConfig {
            endpoints: vec![endpoint],
            ..StoreClientConfig::default()
        };
        StoreClient::new(config, Channels::new(GrpcConfig::default()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside")
    }

    /// Runs a change under a new mod-sequence and tells the watches.
    fn change<T>(
        &self,
        work: impl FnOnce(&mut State, u64) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let mut state = self.lock();
        state.mod_seq += 1;
        let mod_seq = state.mod_seq;
        let result = work(&mut state, mod_seq);
        drop(state);
        self.events.send_replace(mod_seq);
        result
    }
}

fn pages<T: Send + 'static>(items: Vec<T>) -> Answer<Pages<T>> {
    Ok(Response::new(Box::pin(stream::iter(
        items.into_iter().map(Ok),
    ))))
}

/// Compresses ascending numbers to ranges.
fn ranges(uids: impl IntoIterator<Item = u32>) -> Vec<UidRange> {
    uids.into_iter()
        .map(|uid| UidRange {
            first: uid,
            last: uid,
        })
        .collect()
}

#[tonic::async_trait]
impl MailStore for FakeStore {
    async fn deliver(&self, _: Request<Streaming<DeliverRequest>>) -> Answer<DeliverResponse> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn get_credential(
        &self,
        _: Request<GetCredentialRequest>,
    ) -> Answer<GetCredentialResponse> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn list_mailboxes(
        &self,
        _: Request<ListMailboxesRequest>,
    ) -> Answer<ListMailboxesResponse> {
        let state = self.lock();
        Ok(Response::new(ListMailboxesResponse {
            mailboxes: state.mailboxes.iter().map(Mailbox::counted).collect(),
            subscribed: state.subscribed.clone(),
        }))
    }

    async fn create_mailbox(
        &self,
        request: Request<CreateMailboxRequest>,
    ) -> Answer<CreateMailboxResponse> {
        let request = request.into_inner();
        self.change(|state, _| {
            if state.by_name(&request.name).is_ok() {
                return Err(Status::already_exists("mailbox"));
            }
            state.create(&request.name, request.special_use);
            Ok(Response::new(CreateMailboxResponse::default()))
        })
    }

    async fn delete_mailbox(
        &self,
        request: Request<DeleteMailboxRequest>,
    ) -> Answer<DeleteMailboxResponse> {
        let name = request.into_inner().name;
        self.change(|state, _| {
            state.by_name(&name)?;
            state.mailboxes.retain(|m| m.state.name != name);
            Ok(Response::new(DeleteMailboxResponse {}))
        })
    }

    async fn rename_mailbox(
        &self,
        request: Request<RenameMailboxRequest>,
    ) -> Answer<RenameMailboxResponse> {
        let RenameMailboxRequest { from, to, .. } = request.into_inner();
        self.change(|state, _| {
            if state.by_name(&to).is_ok() {
                return Err(Status::already_exists("mailbox"));
            }
            state.by_name(&from)?.state.name = to;
            Ok(Response::new(RenameMailboxResponse {}))
        })
    }

    async fn set_subscription(
        &self,
        request: Request<SetSubscriptionRequest>,
    ) -> Answer<SetSubscriptionResponse> {
        let request = request.into_inner();
        let mut state = self.lock();
        state.subscribed.retain(|name| *name != request.name);
        if request.subscribed {
            state.subscribed.push(request.name);
        }
        Ok(Response::new(SetSubscriptionResponse {}))
    }

    async fn open_mailbox(&self, request: Request<OpenMailboxRequest>) -> Answer<MailboxState> {
        let request = request.into_inner();
        let mut state = self.lock();
        let mailbox = match request.which {
            Some(open_mailbox_request::Which::Name(name)) => state.by_name(&name)?,
            Some(open_mailbox_request::Which::Mailbox(id)) => state.by_id(id)?,
            None => return Err(Status::invalid_argument("which")),
        };
        let answer = mailbox.counted();
        if request.claim_recent {
            mailbox.state.first_recent = mailbox.state.uid_next;
        }
        Ok(Response::new(answer))
    }

    async fn list_uids(&self, request: Request<ListUidsRequest>) -> Answer<ListUidsResponse> {
        let mut state = self.lock();
        let mailbox = state.by_id(request.into_inner().mailbox)?;
        Ok(Response::new(ListUidsResponse {
            uids: ranges(mailbox.messages.keys().copied()),
            highest_mod_seq: mailbox.state.highest_mod_seq,
        }))
    }

    type ListMessagesStream = Pages<MessagePage>;

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Answer<Self::ListMessagesStream> {
        let request = request.into_inner();
        let mut state = self.lock();
        let mailbox = state.by_id(request.mailbox)?;
        let uids = mailbox.chosen(&request.uids);
        let page = |uid: u32| MessagePage {
            messages: vec![mailbox.messages[&uid].row.clone()],
        };
        pages(uids.into_iter().map(page).collect())
    }

    type ListChangesStream = Pages<ChangePage>;

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Answer<Self::ListChangesStream> {
        let request = request.into_inner();
        let mut state = self.lock();
        let Ok(mailbox) = state.by_id(request.mailbox) else {
            return pages(vec![ChangePage {
                highest_mod_seq: Some(1),
                mailbox_gone: true,
                ..ChangePage::default()
            }]);
        };
        let is_new = |m: &&Message| m.row.mod_seq > request.since_mod_seq;
        let changed = mailbox
            .messages
            .values()
            .filter(is_new)
            .map(|m| m.row.clone());
        let gone = mailbox
            .tombstones
            .iter()
            .filter(|(_, at)| *at > request.since_mod_seq);
        pages(vec![
            ChangePage {
                changed: changed.collect(),
                ..ChangePage::default()
            },
            ChangePage {
                expunged: ranges(gone.map(|(uid, _)| *uid)),
                highest_mod_seq: Some(mailbox.state.highest_mod_seq),
                uid_next: mailbox.state.uid_next,
                ..ChangePage::default()
            },
        ])
    }

    type GetEmailsStream = Pages<EmailPage>;

    async fn get_emails(
        &self,
        request: Request<GetEmailsRequest>,
    ) -> Answer<Self::GetEmailsStream> {
        let request = request.into_inner();
        let mut state = self.lock();
        let mailbox = state.by_id(request.mailbox)?;
        let email = |uid: u32| UidEmail {
            uid,
            content: Some(mailbox.messages[&uid].content.clone()),
        };
        let emails = mailbox
            .chosen(&request.uids)
            .into_iter()
            .map(email)
            .collect();
        pages(vec![EmailPage { emails }])
    }

    type ReadMessageStream = Pages<BodyChunk>;

    async fn read_message(
        &self,
        request: Request<ReadMessageRequest>,
    ) -> Answer<Self::ReadMessageStream> {
        let request = request.into_inner();
        let mut state = self.lock();
        let message = state.by_id(request.mailbox)?.messages.get(&request.uid);
        let octets = message
            .ok_or_else(|| Status::not_found("message"))?
            .octets
            .clone();
        let start = request.offset as usize;
        let end = match request.length {
            0 => octets.len(),
            length => octets.len().min(start + length as usize),
        };
        let chunk = |c: &[u8]| BodyChunk {
            data: Bytes::copy_from_slice(c),
        };
        pages(octets[start..end].chunks(CHUNK).map(chunk).collect())
    }

    async fn store_flags(&self, request: Request<StoreFlagsRequest>) -> Answer<StoreFlagsResponse> {
        let request = request.into_inner();
        self.change(|state, mod_seq| {
            let mailbox = state.by_id(request.mailbox)?;
            let mut messages = Vec::new();
            for uid in mailbox.chosen(&request.uids) {
                let Some(message) = mailbox.messages.get_mut(&uid) else {
                    continue;
                };
                let row = &mut message.row;
                let before = row.clone();
                match request.operation() {
                    FlagOperation::Replace => {
                        row.system_flags = request.system_flags;
                        row.keywords = request.keywords.clone();
                    }
                    FlagOperation::Add => {
                        row.system_flags |= request.system_flags;
                        row.keywords.extend(request.keywords.clone());
                        row.keywords.sort();
                        row.keywords.dedup();
                    }
                    _ => {
                        row.system_flags &= !request.system_flags;
                        row.keywords.retain(|k| !request.keywords.contains(k));
                    }
                }
                if *row != before {
                    row.mod_seq = mod_seq;
                    mailbox.state.highest_mod_seq = mod_seq;
                }
                messages.push(row.clone());
            }
            Ok(Response::new(StoreFlagsResponse {
                messages,
                modified: Vec::new(),
                highest_mod_seq: mailbox.state.highest_mod_seq,
            }))
        })
    }

    async fn copy_messages(
        &self,
        request: Request<CopyMessagesRequest>,
    ) -> Answer<CopyMessagesResponse> {
        let request = request.into_inner();
        self.change(|state, mod_seq| {
            let source = state.by_id(request.mailbox)?;
            let chosen = source.chosen(&request.uids);
            let copies: Vec<Message> = chosen
                .iter()
                .map(|uid| source.messages[uid].clone())
                .collect();
            let target = state.by_name(&request.target)?;
            let pair = |copy: Message| UidPair {
                source: copy.row.uid,
                target: target.add(copy, mod_seq),
            };
            Ok(Response::new(CopyMessagesResponse {
                copied: copies.into_iter().map(pair).collect(),
                target_uid_validity: target.state.uid_validity,
            }))
        })
    }

    async fn move_messages(
        &self,
        request: Request<MoveMessagesRequest>,
    ) -> Answer<MoveMessagesResponse> {
        let request = request.into_inner();
        let copied = self.copy_messages(Request::new(CopyMessagesRequest {
            account: request.account,
            mailbox: request.mailbox,
            uids: request.uids,
            target: request.target,
        }));
        let copied = copied.await?.into_inner();
        self.change(|state, mod_seq| {
            let source = state.by_id(request.mailbox)?;
            copied
                .copied
                .iter()
                .for_each(|pair| source.remove(pair.source, mod_seq));
            Ok(Response::new(MoveMessagesResponse {
                target_uid_validity: copied.target_uid_validity,
                moved: copied.copied.clone(),
                highest_mod_seq: mod_seq,
            }))
        })
    }

    async fn expunge(&self, request: Request<ExpungeRequest>) -> Answer<ExpungeResponse> {
        let request = request.into_inner();
        self.change(|state, mod_seq| {
            let mailbox = state.by_id(request.mailbox)?;
            let mut uids = mailbox.chosen(&request.uids);
            uids.retain(|uid| {
                request.ignore_deleted_flag || mailbox.messages[uid].row.system_flags & 8 != 0
            });
            uids.iter().for_each(|uid| mailbox.remove(*uid, mod_seq));
            Ok(Response::new(ExpungeResponse {
                expunged: ranges(uids),
                highest_mod_seq: mod_seq,
            }))
        })
    }

    async fn append(&self, request: Request<Streaming<AppendRequest>>) -> Answer<AppendResponse> {
        let mut steps = request.into_inner();
        let (mut begin, mut octets) = (None, Vec::new());
        while let Some(request) = steps.message().await? {
            match request.step {
                Some(append_request::Step::Begin(step)) => begin = Some(step),
                Some(append_request::Step::Chunk(chunk)) => octets.extend_from_slice(&chunk),
                Some(append_request::Step::Finish(finish)) => {
                    let begin: AppendBegin = begin.ok_or_else(|| Status::internal("order"))?;
                    assert_eq!(begin.size, octets.len() as u64);
                    return self.filed(&begin.mailbox, finish, octets);
                }
                None => return Err(Status::internal("step")),
            }
        }
        Err(Status::cancelled("no finish"))
    }

    type WatchStream = Pages<WatchEvent>;

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let event = |mod_seq| {
            Ok(WatchEvent {
                term: 1,
                mod_seq,
                mailboxes: Vec::new(),
                filed: Vec::new(),
            })
        };
        let events = WatchStream::new(self.events.subscribe()).map(event);
        Ok(Response::new(Box::pin(events)))
    }

    type HoldMaildropStream = Pages<HoldMaildropEvent>;

    async fn hold_maildrop(
        &self,
        _: Request<HoldMaildropRequest>,
    ) -> Answer<Self::HoldMaildropStream> {
        let Ok(held) = Arc::clone(&self.maildrop).try_acquire_owned() else {
            return Err(Fault::new(FaultKind::InUse, "held").into());
        };
        // Granted until the stream is dropped.
        let events = stream::iter([Ok(HoldMaildropEvent {})]).chain(stream::pending());
        let events = events.inspect(move |_| {
            let _ = &held;
        });
        Ok(Response::new(Box::pin(events)))
    }
}

impl FakeStore {
    fn filed(
        &self,
        mailbox: &str,
        finish: AppendFinish,
        octets: Vec<u8>,
    ) -> Answer<AppendResponse> {
        self.change(|state, mod_seq| {
            let mailbox = state.by_name(mailbox)?;
            let row = MessageRow {
                system_flags: finish.system_flags,
                keywords: finish.keywords,
                internal_date_ms: finish.internal_date_ms,
                internal_date_offset: finish.internal_date_offset,
                size: octets.len() as u64,
                ..MessageRow::default()
            };
            let message = Message {
                row,
                content: finish.email.unwrap_or_default(),
                octets: octets.into(),
            };
            Ok(Response::new(AppendResponse {
                uid: mailbox.add(message, mod_seq),
                mailbox: mailbox.state.mailbox,
                uid_validity: mailbox.state.uid_validity,
            }))
        })
    }
}

/// A cluster of one node, which leads all shards.
struct OneNode(String);

#[tonic::async_trait]
impl Directory for OneNode {
    async fn lookup(&self, _: Request<LookupRequest>) -> Answer<LookupResponse> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn get_topology(&self, _: Request<GetTopologyRequest>) -> Answer<Topology> {
        let leader = |shard| ShardLeader {
            shard,
            term: 1,
            endpoint: self.0.clone(),
        };
        Ok(Response::new(Topology {
            cluster_id: "test".to_owned(),
            mail_shards: 1,
            leaders: vec![leader(0), leader(1)],
            endpoints: vec![self.0.clone()],
        }))
    }

    async fn announce(&self, _: Request<AnnounceRequest>) -> Answer<AnnounceResponse> {
        Err(Status::unimplemented("not needed here"))
    }
}

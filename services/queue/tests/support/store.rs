//! A store and a routing service in memory, with the rules that the queue relies on: epochs, one
//! commit per Settle, deduplicated delivery.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use postino_proto::mail::v1::{Envelope, LocalTarget, Recipient};
use postino_proto::routing::v1::{Host, Hosts, TlsPolicy};
use postino_proto::store::v1::recipient_outcome::Outcome;
use postino_proto::store::v1::*;
use postino_queue::ports::{Body, CallError, Routing, Store};
use postino_types::{Domain, EnhancedStatus, QueueId, Reply, ShardId};
use tokio::sync::broadcast;

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64
}

/// A store of one mail shard, 1.
pub(crate) struct MemoryStore {
    state: Mutex<State>,
    events: broadcast::Sender<DueLetter>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) letters: BTreeMap<QueueId, (Letter, Bytes)>,
    /// Settled letters as they were when their last recipient was settled.
    pub(crate) gone: BTreeMap<QueueId, Letter>,
    pub(crate) lease: Option<(String, Instant)>,
    pub(crate) epoch: u64,
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) mailboxes: HashMap<u64, Vec<Bytes>>,
    pub(crate) filed: HashSet<(String, u32)>,
    pub(crate) refused_settles: u32,
    pub(crate) settles: u32,
    /// Deliveries that fail as if the shard had no leader.
    pub(crate) failing_deliveries: u32,
    pub(crate) deliveries: u32,
    /// Deliveries that panic.
    pub(crate) panicking_deliveries: u32,
    /// Reads of a letter that panic.
    pub(crate) panicking_reads: u32,
    /// How often each letter was read.
    pub(crate) reads: HashMap<QueueId, u32>,
    /// Letters come from a restored shard.
    pub(crate) remote_held: bool,
}

impl MemoryStore {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        let state = Mutex::new(State::default());
        std::sync::Arc::new(Self {
            state,
            events: broadcast::Sender::new(1000),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    /// Spools a letter with remote recipients, or local ones written `account:address`.
    pub(crate) fn spool(&self, reverse_path: &str, recipients: &[&str], message: &str) -> QueueId {
        let id = QueueId::mint(ShardId::new(1), now_ms(), fastrand::u64(..)).expect("fits");
        let recipient = |text: &&str| {
            let (local, address) = match text.split_once(':') {
                Some((account, address)) => {
                    let account = account.parse().expect("a number");
                    (Some(LocalTarget { account, shard: 1 }), address)
                }
                None => (None, *text),
            };
            let (address, original) = (address.to_owned(), address.to_owned());
            Recipient {
                address,
                original,
                local,
                orcpt: String::new(),
            }
        };
        let envelope = Envelope {
            reverse_path: reverse_path.to_owned(),
            recipients: recipients.iter().map(recipient).collect(),
            accepted_ms: now_ms(),
            eight_bit: !message.is_ascii(),
            ..Envelope::default()
        };
        self.insert(
            &mut self.state(),
            id,
            envelope,
            Bytes::copy_from_slice(message.as_bytes()),
        );
        id
    }

    fn insert(&self, state: &mut State, id: QueueId, envelope: Envelope, message: Bytes) {
        let pending = |index| RecipientState {
            recipient: index as u32,
            status: RecipientStatus::Pending.into(),
            ..RecipientState::default()
        };
        let letter = Letter {
            queue_id: id.to_string(),
            size: message.len() as u64,
            recipients: (0..envelope.recipients.len()).map(pending).collect(),
            envelope: Some(envelope),
            remote_held: state.remote_held,
            ..Letter::default()
        };
        state.letters.insert(id, (letter, message));
        let _ = self.events.send(DueLetter {
            queue_id: id.to_string(),
            due_ms: 0,
        });
    }

    pub(crate) fn letter_of(&self, id: QueueId) -> Letter {
        let state = self.state();
        let letter = state
            .letters
            .get(&id)
            .map(|(letter, _)| letter)
            .or(state.gone.get(&id));
        letter.cloned().expect("known letter")
    }

    pub(crate) fn is_settled(&self, id: QueueId) -> bool {
        self.state().gone.contains_key(&id)
    }

    /// Letters other than these: notifications.
    pub(crate) fn notifications(&self, but: &[QueueId]) -> Vec<(Letter, String)> {
        let state = self.state();
        let others = state.letters.iter().filter(|(id, _)| !but.contains(id));
        others
            .map(|(_, (letter, message))| {
                (
                    letter.clone(),
                    String::from_utf8_lossy(message).into_owned(),
                )
            })
            .collect()
    }

    /// An operator wants a letter tried now.
    pub(crate) fn retry(&self, id: QueueId) {
        let mut state = self.state();
        let now = now_ms();
        let (letter, _) = state.letters.get_mut(&id).expect("known letter");
        for recipient in &mut letter.recipients {
            recipient.next_attempt_ms = recipient.next_attempt_ms.min(now);
        }
        let due = letter.recipients.iter().map(|r| r.next_attempt_ms).min();
        let _ = self.events.send(DueLetter {
            queue_id: id.to_string(),
            due_ms: due.unwrap_or(now),
        });
    }

    /// An operator lets a letter leave that was held.
    pub(crate) fn release(&self, id: QueueId) {
        let mut state = self.state();
        let (letter, _) = state.letters.get_mut(&id).expect("known letter");
        letter.remote_held = false;
        drop(state);
        self.retry(id);
    }

    /// Somebody else takes the lease.
    pub(crate) fn steal_lease(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.lease = Some((
            "thief".to_owned(),
            Instant::now() + Duration::from_secs(3600),
        ));
    }

    pub(crate) fn free_lease(&self) {
        self.state().lease = None;
    }

    pub(crate) fn lease_holder(&self) -> Option<String> {
        self.state()
            .lease
            .as_ref()
            .map(|(holder, _)| holder.clone())
    }
}

fn settle_recipient(state: &mut RecipientState, outcome: Option<Outcome>) {
    state.attempts += 1;
    state.last_attempt_ms = now_ms();
    match outcome.expect("an outcome") {
        Outcome::Delivered(delivered) => {
            state.set_status(RecipientStatus::Delivered);
            state.last_reply = delivered.reply;
        }
        Outcome::Bounced(bounced) => {
            state.set_status(RecipientStatus::Bounced);
            state.last_reply = bounced.reply;
            state.last_remote = bounced.remote;
        }
        Outcome::Deferred(deferred) => {
            state.next_attempt_ms = deferred.next_attempt_ms;
            state.last_reply = deferred.reply;
            state.last_remote = deferred.remote;
            state.delay_notified |= deferred.delay_notified;
        }
    }
}

#[tonic::async_trait]
impl Store for MemoryStore {
    async fn mail_shards(&self) -> Result<Vec<u32>, CallError> {
        Ok(vec![1])
    }

    async fn announce(&self, request: AnnounceRequest) -> Result<Vec<Peer>, CallError> {
        let AnnounceRequest {
            role,
            instance,
            endpoint,
            ttl_ms,
        } = request;
        let mut state = self.state();
        if ttl_ms == 0 {
            state.peers.remove(&instance);
            return Ok(state.peers.values().cloned().collect());
        }
        state.peers.insert(
            instance.clone(),
            Peer {
                role,
                instance,
                endpoint,
            },
        );
        Ok(state.peers.values().cloned().collect())
    }

    async fn acquire(
        &self,
        request: AcquireLeaseRequest,
    ) -> Result<AcquireLeaseResponse, CallError> {
        let mut state = self.state();
        let now = Instant::now();
        match &state.lease {
            Some((holder, until)) if *holder != request.holder && *until > now => {
                Ok(AcquireLeaseResponse {
                    granted: false,
                    holder: holder.clone(),
                    remaining_ms: (*until - now).as_millis() as u64,
                    ..AcquireLeaseResponse::default()
                })
            }
            _ => {
                state.epoch += 1;
                let until = now + Duration::from_millis(request.ttl_ms);
                state.lease = Some((request.holder.clone(), until));
                let lease_epoch = state.epoch;
                Ok(AcquireLeaseResponse {
                    granted: true,
                    lease_epoch,
                    ..Default::default()
                })
            }
        }
    }

    async fn renew(&self, request: RenewLeaseRequest) -> Result<bool, CallError> {
        let mut state = self.state();
        if state.epoch != request.lease_epoch {
            return Ok(false);
        }
        let until = Instant::now() + Duration::from_millis(request.ttl_ms);
        state.lease = Some((request.holder, until));
        Ok(true)
    }

    async fn release(&self, request: ReleaseLeaseRequest) -> Result<(), CallError> {
        let mut state = self.state();
        if state.epoch == request.lease_epoch {
            state.lease = None;
        }
        Ok(())
    }

    /// In pages of at most two, so that paging is tested all the time.
    async fn list_due(&self, request: ListDueRequest) -> Result<ListDueResponse, CallError> {
        let state = self.state();
        let mut due: Vec<(u64, QueueId)> = state
            .letters
            .iter()
            .filter_map(|(id, (letter, _))| {
                let pending = letter
                    .recipients
                    .iter()
                    .filter(|r| r.status() == RecipientStatus::Pending);
                Some((pending.map(|r| r.next_attempt_ms).min()?, *id))
            })
            .filter(|(due, _)| *due < request.until_ms)
            .collect();
        due.sort_unstable();
        let start: usize = match request.cursor.is_empty() {
            true => 0,
            false => std::str::from_utf8(&request.cursor)
                .expect("ours")
                .parse()
                .expect("ours"),
        };
        let page = due.iter().skip(start).take(2);
        let letters = page
            .map(|(due_ms, id)| DueLetter {
                queue_id: id.to_string(),
                due_ms: *due_ms,
            })
            .collect();
        let next_cursor = match start + 2 < due.len() {
            true => Bytes::from((start + 2).to_string()),
            false => Bytes::new(),
        };
        Ok(ListDueResponse {
            letters,
            next_cursor,
        })
    }

    async fn follow(
        &self,
        _: FollowRequest,
    ) -> Result<BoxStream<'static, Result<FollowEvent, CallError>>, CallError> {
        let events = self.events.subscribe();
        let stream = futures::stream::unfold(events, |mut events| async move {
            let alive = tokio::time::sleep(Duration::from_secs(2));
            let letters = tokio::select! {
                event = events.recv() => vec![event.ok()?],
                () = alive => Vec::new(),
            };
            Some((Ok(FollowEvent { letters }), events))
        });
        Ok(stream.boxed())
    }

    async fn letter(&self, id: QueueId) -> Result<Option<Letter>, CallError> {
        let panics = {
            let mut state = self.state();
            let left = state.panicking_reads;
            state.panicking_reads = left.saturating_sub(1);
            *state.reads.entry(id).or_default() += 1;
            left > 0
        };
        // Not under the lock, which it would poison.
        assert!(!panics, "a bug that the test wants");
        let state = self.state();
        Ok(state.letters.get(&id).map(|(letter, _)| letter.clone()))
    }

    async fn body(&self, id: QueueId, offset: u64, length: u64) -> Result<Body, CallError> {
        let state = self.state();
        let Some((_, message)) = state.letters.get(&id) else {
            return Err(CallError::Refused("no such letter".into()));
        };
        let rest = message.slice(offset as usize..);
        let message = if length == 0 {
            rest
        } else {
            rest.slice(..length as usize)
        };
        let chunks: Vec<_> = message
            .chunks(7)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        Ok(futures::stream::iter(chunks).boxed())
    }

    async fn settle(&self, request: SettleRequest) -> Result<(), CallError> {
        let mut state = self.state();
        if state.epoch != request.lease_epoch {
            state.refused_settles += 1;
            return Err(CallError::LeaseLost);
        }
        state.settles += 1;
        for outcome in request.letters {
            let id: QueueId = outcome.queue_id.parse().expect("an id");
            let Some((letter, _)) = state.letters.get_mut(&id) else {
                continue;
            };
            for recipient in outcome.recipients {
                let at = recipient.recipient as usize;
                settle_recipient(&mut letter.recipients[at], recipient.outcome);
            }
            let pending = |r: &RecipientState| r.status() == RecipientStatus::Pending;
            if !letter.recipients.iter().any(pending) {
                let (letter, _) = state.letters.remove(&id).expect("was there");
                state.gone.insert(id, letter);
            }
            for new in outcome.notifications {
                let id: QueueId = new.queue_id.parse().expect("an id");
                self.insert(
                    &mut state,
                    id,
                    new.envelope.expect("an envelope"),
                    new.message,
                );
            }
        }
        Ok(())
    }

    async fn deliver(&self, begin: DeliverBegin) -> Result<Vec<DeliverResult>, CallError> {
        let panics = {
            let mut state = self.state();
            let left = state.panicking_deliveries;
            state.panicking_deliveries = left.saturating_sub(1);
            left > 0
        };
        assert!(!panics, "a bug that the test wants");
        let mut state = self.state();
        state.deliveries += 1;
        if state.failing_deliveries > 0 {
            state.failing_deliveries -= 1;
            return Err(CallError::Unavailable("no leader".into()));
        }
        let id: QueueId = begin.queue_id.parse().expect("an id");
        let message = state.letters[&id].1.clone();
        let mut results = Vec::new();
        for DeliverTarget { recipient, account } in begin.targets {
            let status = if account == 404 {
                DeliverStatus::NoAccount
            } else if state.filed.insert((begin.queue_id.clone(), recipient)) {
                state
                    .mailboxes
                    .entry(account)
                    .or_default()
                    .push(message.clone());
                DeliverStatus::Filed
            } else {
                DeliverStatus::Duplicate
            };
            results.push(DeliverResult {
                recipient,
                status: status.into(),
                shard: 0,
            });
        }
        Ok(results)
    }
}

/// Routes by a table; addresses at example.org are local accounts.
#[derive(Default)]
pub(crate) struct MemoryRouting {
    hosts: HashMap<String, Vec<SocketAddr>>,
}

impl MemoryRouting {
    pub(crate) fn to(routes: &[(&str, &[SocketAddr])]) -> std::sync::Arc<Self> {
        let hosts = routes
            .iter()
            .map(|(domain, hosts)| ((*domain).to_owned(), hosts.to_vec()));
        std::sync::Arc::new(Self {
            hosts: hosts.collect(),
        })
    }
}

#[tonic::async_trait]
impl Routing for MemoryRouting {
    async fn resolve(&self, address: &str) -> Result<Result<Vec<Recipient>, Reply>, CallError> {
        let recipient = |local| Recipient {
            address: address.to_owned(),
            original: address.to_owned(),
            local,
            orcpt: String::new(),
        };
        match address {
            "nobody@example.org" => Ok(Err(Reply::new(
                550,
                EnhancedStatus::permanent(1, 1),
                "no such user",
            ))),
            local if local.ends_with("@example.org") => {
                Ok(Ok(vec![recipient(Some(LocalTarget {
                    account: 1,
                    shard: 1,
                }))]))
            }
            _ => Ok(Ok(vec![recipient(None)])),
        }
    }

    async fn plan(&self, domain: &Domain) -> Result<Result<Hosts, Reply>, CallError> {
        let Some(hosts) = self.hosts.get(domain.as_str()) else {
            let reply = Reply::new(550, EnhancedStatus::permanent(1, 2), "no such domain");
            return Ok(Err(reply));
        };
        let host = |(number, address): (usize, &SocketAddr)| Host {
            name: format!("mx{number}.{domain}"),
            port: address.port().into(),
            addresses: vec![address.ip().to_string()],
            preference: number as u32,
            tls: TlsPolicy::Opportunistic.into(),
        };
        Ok(Ok(Hosts {
            site: domain.to_string(),
            hosts: hosts.iter().enumerate().map(host).collect(),
            ttl_seconds: 60,
        }))
    }
}

//! The nodes, what clients ask of them, and what is done to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, BasicNode, ReadPolicy};
use postino_proto::mail::v1::EmailContent;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::*;
use postino_types::ShardId;
use prost::Message;

use super::chance::{below, millis, one_in};
use super::executor;
use super::history::{Event, History};
use super::replica::{End, Replica, Surroundings, Volume};
use super::runtime::Runtime;
use super::wire::{Weather, Wire};
use crate::command;
use crate::model::mailbox::INBOX;
use crate::raft::types::{Batch, Body, Command, Raft};

pub(super) const SHARD: ShardId = ShardId::new(1);

/// When virtual time begins by the leaders' clocks: Unix time in milliseconds.
const START_MS: u64 = 1_700_000_000_000;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the nodes may take to come back into step when all is well again.
const RECOVERY: Duration = Duration::from_secs(120);

/// A fault in the program, for the proof that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Says that it has synced, and has not.
    UnsyncedLog,
    /// Comes back without its vote.
    ForgottenVote,
    /// Reads at once where it takes itself for the leader.
    UnaskedReads,
    /// Looks at something that differs between replicas.
    ImpureApply,
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) nodes: u64,
    /// How long things are done to the nodes, in virtual time.
    pub(super) length: Duration,
    pub(super) mutant: Option<Mutant>,
}

/// Where everything that happens is written down.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    pub(super) fn record(&self, event: Event) {
        // After the end nothing happens any more.
        if let Some(executor) = executor::current() {
            self.0.lock().unwrap().record(executor.now(), event);
        }
    }
}

/// Runs a simulation. All that happens follows from the seed.
pub(super) fn simulate(seed: u64, plan: Plan) -> History {
    let recorder = Recorder::default();
    let world = World::new(plan, recorder.clone());
    executor::run(seed, async move { world.live().await });
    std::mem::take(&mut *recorder.0.lock().unwrap())
}

/// A number by which a command is known in a history.
pub(super) fn number_of(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    let (first, _) = hash.as_bytes().split_at(8);
    u64::from_be_bytes(first.try_into().unwrap())
}

#[derive(Clone)]
struct World {
    plan: Plan,
    around: Surroundings,
    replicas: Arc<Mutex<BTreeMap<u64, Arc<Replica>>>>,
    /// Those that have ended: their files stay until the end.
    ended: Arc<Mutex<Vec<Arc<Replica>>>>,
    over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
}

impl World {
    fn new(plan: Plan, recorder: Recorder) -> Self {
        Self {
            plan,
            around: Surroundings {
                wire: Wire::new(recorder.clone()),
                recorder,
                mutant: plan.mutant,
                slowness: Arc::new(AtomicU64::new(5)),
            },
            replicas: Arc::default(),
            ended: Arc::default(),
            over: Arc::default(),
            next: Arc::default(),
        }
    }

    async fn live(self) {
        for node in 1..=self.plan.nodes {
            let directory = tempfile::tempdir().unwrap();
            self.start(node, 0, Volume { directory }).await;
        }
        let members: BTreeMap<u64, BasicNode> = (1..=self.plan.nodes)
            .map(|node| (node, BasicNode::default()))
            .collect();
        self.replica(1).raft.initialize(members).await.unwrap();
        let account = Kind::InitAccount(InitAccountCommand {
            account: 1,
            address: "a@example.org".into(),
            credential: Some(Credential::default()),
            ..InitAccountCommand::default()
        });
        self.until_done(account).await;
        for _ in 0..3 {
            Runtime::spawn(self.clone().write_on());
            Runtime::spawn(self.clone().read_on());
        }
        let end = executor::current().unwrap().now() + self.plan.length;
        while executor::current().unwrap().now() < end {
            Runtime::sleep(millis(2500)).await;
            self.harm().await;
        }
        self.over.store(true, Ordering::Relaxed);
        self.recover().await;
    }

    async fn start(&self, node: u64, life: u64, volume: Volume) {
        let replica = Replica::start(node, life, volume, &self.around).await;
        self.replicas
            .lock()
            .unwrap()
            .insert(node, Arc::new(replica));
    }

    fn replica(&self, node: u64) -> Arc<Replica> {
        Arc::clone(&self.replicas.lock().unwrap()[&node])
    }

    fn any(&self) -> Arc<Replica> {
        self.replica(1 + below(self.plan.nodes))
    }

    /// Mostly the one that some node takes for the leader.
    fn likely_leader(&self) -> Arc<Replica> {
        let asked = self.any();
        let leader = asked.raft.metrics().borrow_watched().current_leader;
        match leader {
            Some(leader) if !one_in(8) => self.replica(leader),
            _ => asked,
        }
    }

    /// Asks for a command, and tells whether it was done.
    async fn write(&self, kind: Kind) -> bool {
        let at = self.likely_leader();
        let encoded = command::encode(kind.clone());
        let number = number_of(&encoded);
        self.around
            .recorder
            .record(Event::Proposed { command: number });
        let body = match &kind {
            Kind::Append(append) => {
                Body::Inline(Bytes::from(vec![
                    b'x';
                    usize::try_from(append.email_size).unwrap()
                ]))
            }
            _ => Body::None,
        };
        let now = executor::current().unwrap().now();
        let batch = Batch {
            time_ms: START_MS + u64::try_from(now.as_millis()).unwrap(),
            commands: vec![Command {
                command: encoded,
                body,
            }],
        };
        let written = Runtime::timeout(PATIENCE, at.raft.client_write(batch)).await;
        let Ok(Ok(written)) = written else {
            return false;
        };
        // What a process says that has ended is not heard.
        if at.has_ended() {
            return false;
        }
        self.around.recorder.record(Event::Acknowledged {
            command: number,
            index: written.log_id.index,
        });
        true
    }

    async fn until_done(&self, kind: Kind) {
        while !self.write(kind.clone()).await {
            Runtime::sleep(millis(200)).await;
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    async fn write_on(self) {
        while !self.is_over() {
            Runtime::sleep(millis(150)).await;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.write(mail(number)).await;
        }
    }

    async fn read_on(self) {
        while !self.is_over() {
            Runtime::sleep(millis(200)).await;
            let read = self.next.fetch_add(1, Ordering::Relaxed);
            let at = self.likely_leader();
            self.around.recorder.record(Event::ReadBegan { read });
            let may_read = match self.plan.mutant {
                Some(Mutant::UnaskedReads) => {
                    let leader = at.raft.metrics().borrow_watched().current_leader;
                    leader == Some(at.node)
                }
                _ => Runtime::timeout(PATIENCE, barrier(&at.raft))
                    .await
                    .unwrap_or(false),
            };
            if may_read && !at.has_ended() {
                let applied = at.applied();
                let node = at.node;
                self.around.recorder.record(Event::Read {
                    read,
                    node,
                    applied,
                });
            }
        }
    }

    /// Does something to the nodes.
    async fn harm(&self) {
        let nodes = self.plan.nodes;
        let (one, other) = (1 + below(nodes), 1 + below(nodes));
        let wire = &self.around.wire;
        match below(9) {
            0 => wire.heal(),
            1 => wire.set_weather(Weather::ROUGH),
            2 => self.around.slowness.store(400, Ordering::Relaxed),
            3 => self.around.slowness.store(5, Ordering::Relaxed),
            4 => wire.cut(one, other),
            5 => {
                for peer in 1..=nodes {
                    wire.cut(one, peer);
                    wire.cut(peer, one);
                }
            }
            6 => {
                let raft = self.replica(one).raft.clone();
                // It may not be able to.
                let _ = raft.trigger().elect(false).await;
            }
            7 => self.crash(&[one]).await,
            _ => self.crash(&[one, other]).await,
        }
    }

    /// Ends processes at once, and starts them again after a while.
    async fn crash(&self, nodes: &[u64]) {
        let mut left = BTreeMap::new();
        for node in nodes {
            let replica = self.replica(*node);
            if !left.contains_key(node) {
                let how = if one_in(3) { End::Kill } else { End::PowerCut };
                left.insert(*node, (replica.life, replica.end(how, &self.around)));
                self.ended.lock().unwrap().push(replica);
            }
        }
        for (node, (life, volume)) in left {
            Runtime::sleep(millis(2000)).await;
            self.start(node, life + 1, volume).await;
        }
    }

    /// All is well again: every replica must come to where the last command is.
    async fn recover(&self) {
        self.around.wire.heal();
        self.around.slowness.store(5, Ordering::Relaxed);
        let last = mail(self.next.fetch_add(1, Ordering::Relaxed));
        let together = async {
            self.until_done(last).await;
            let leader = self.likely_leader();
            let goal = leader.applied();
            for node in 1..=self.plan.nodes {
                while self.replica(node).applied() < goal {
                    Runtime::sleep(millis(100)).await;
                }
            }
        };
        let came = Runtime::timeout(RECOVERY, Box::pin(together)).await.is_ok();
        for node in 1..=self.plan.nodes {
            let replica = self.replica(node);
            let why = match replica.halted() {
                Some(why) => why,
                None if came => continue,
                None => format!("stays at {}", replica.applied()),
            };
            self.around.recorder.record(Event::Stuck { node, why });
        }
    }
}

/// Waits until a read at this node would see everything that was acknowledged before.
async fn barrier(raft: &Raft) -> bool {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => linearizer.await_ready(raft).await.is_ok(),
        Err(_) => false,
    }
}

/// What clients ask for: no two are the same.
fn mail(number: u64) -> Kind {
    match below(5) {
        0 => Kind::Expunge(ExpungeCommand {
            account: 1,
            mailbox: INBOX,
            uids: vec![UidRange {
                first: 1,
                // Not a UID that there is; it makes the command another one.
                last: u32::try_from(number % 1_000_000).unwrap() + 2,
            }],
            ignore_deleted_flag: true,
            limit: 1 + u32::try_from(below(3)).unwrap(),
        }),
        _ => {
            let email = EmailContent {
                message_id: format!("<{number}@example.org>"),
                ..EmailContent::default()
            };
            let length = 10 + below(500);
            Kind::Append(AppendCommand {
                account: 1,
                mailbox: "INBOX".into(),
                upload_id: format!("p.{number}"),
                email: email.encode_to_vec().into(),
                email_size: length,
                body: Some(BodySource {
                    length,
                    ..BodySource::default()
                }),
                ..AppendCommand::default()
            })
        }
    }
}

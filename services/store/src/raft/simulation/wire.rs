//! The network of a simulation: messages are late, lost, doubled and out of order, as the seed will
//! have it. What is on it are the messages of the real protocol, encoded and decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::errors::{
    NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, BasicNode, OptionalSend, Snapshot};
use tokio::sync::oneshot;

use super::chance::{millis, one_in};
use super::history::Event;
use super::runtime::Runtime;
use super::world::Recorder;
use crate::raft::network::message;
use crate::raft::snapshot::ShardSnapshot;
use crate::raft::types::{CommittedLeaderId, Config, Raft, Vote};

/// How it is on the network now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// A message takes up to so many milliseconds.
    pub(super) delay: u64,
    /// One in so many messages is lost.
    pub(super) lost: u64,
    /// One in so many comes twice.
    pub(super) doubled: u64,
}

impl Weather {
    pub(super) const FINE: Self = Self {
        delay: 5,
        lost: 1000,
        doubled: 1000,
    };
    pub(super) const ROUGH: Self = Self {
        delay: 300,
        lost: 6,
        doubled: 6,
    };
}

/// All ways between the nodes. Clones share it.
#[derive(Clone)]
pub(super) struct Wire {
    state: Arc<Mutex<State>>,
    recorder: Recorder,
}

struct State {
    weather: Weather,
    /// Ways on which nothing comes through: from, to.
    cut: BTreeSet<(u64, u64)>,
    peers: BTreeMap<u64, (u64, Raft)>,
}

impl Wire {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                weather: Weather::FINE,
                cut: BTreeSet::new(),
                peers: BTreeMap::new(),
            })),
            recorder,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A node is there, in the so-manieth life of its process.
    pub(super) fn join(&self, node: u64, life: u64, raft: Raft) {
        self.state().peers.insert(node, (life, raft));
    }

    /// It is gone.
    pub(super) fn leave(&self, node: u64) {
        self.state().peers.remove(&node);
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    pub(super) fn cut(&self, from: u64, to: u64) {
        self.state().cut.insert((from, to));
    }

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.weather = Weather::FINE;
    }

    /// When a message comes, each time that it does.
    fn arrivals(&self, from: u64, to: u64) -> Vec<Duration> {
        let state = self.state();
        let weather = state.weather;
        if state.cut.contains(&(from, to)) || one_in(weather.lost) {
            return Vec::new();
        }
        let copies = if one_in(weather.doubled) { 2 } else { 1 };
        (0..copies).map(|_| millis(weather.delay)).collect()
    }

    fn peer(&self, node: u64) -> Option<Raft> {
        let state = self.state();
        state.peers.get(&node).map(|(_, raft)| raft.clone())
    }

    fn lives(&self, node: u64, life: u64) -> bool {
        let state = self.state();
        state.peers.get(&node).is_some_and(|(now, _)| *now == life)
    }
}

/// Makes the clients of one node, in one life of its process.
pub(super) struct Factory {
    pub(super) wire: Wire,
    pub(super) node: u64,
    pub(super) life: u64,
}

impl RaftNetworkFactory<Config> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Client {
        Client {
            wire: self.wire.clone(),
            from: self.node,
            life: self.life,
            to: target,
        }
    }
}

/// One node's way to another.
pub(super) struct Client {
    wire: Wire,
    from: u64,
    life: u64,
    to: u64,
}

impl Client {
    /// Asks the peer, as often as the request arrives, and gives the first answer that comes back.
    async fn carry<A, F>(
        &self,
        kind: &'static str,
        option: &RPCOption,
        ask: impl Fn(Raft) -> F + Clone + Send + 'static,
    ) -> Result<A, RPCError<Config>>
    where
        A: Send + 'static,
        F: Future<Output = Option<A>> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        // What a process says that has ended is not heard.
        let arrivals = match self.wire.lives(self.from, self.life) {
            true => self.wire.arrivals(self.from, self.to),
            false => Vec::new(),
        };
        for delay in arrivals {
            let (wire, from, to) = (self.wire.clone(), self.from, self.to);
            let (ask, sender) = (ask.clone(), Arc::clone(&sender));
            Runtime::spawn(async move {
                Runtime::sleep(delay).await;
                let Some(raft) = wire.peer(to) else { return };
                wire.recorder.record(Event::Delivered { from, to, kind });
                let Some(answer) = ask(raft).await else {
                    return;
                };
                let Some(back) = wire.arrivals(to, from).first().copied() else {
                    return;
                };
                Runtime::sleep(back).await;
                if let Some(sender) = sender.lock().unwrap().take() {
                    // It may have been given up.
                    let _ = sender.send(answer);
                }
            });
        }
        let late = |what: &str| RPCError::Network(NetworkError::from_string(what));
        match Runtime::timeout(option.hard_ttl(), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                // Nobody will answer; the caller does not know that.
                Runtime::sleep(option.hard_ttl()).await;
                Err(late("lost"))
            }
            Err(_) => Err(late("late")),
        }
    }
}

fn known<A>(answer: Result<A, RaftError<Config>>) -> Option<A> {
    answer.ok()
}

impl RaftNetworkV2<Config> for Client {
    type SnapshotData = ShardSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        if self.wire.lives(self.from, self.life) {
            self.wire.recorder.record(Event::Led {
                leader: self.from,
                term: request.vote.leader_id.term,
            });
        }
        let sent = message::append_out(&request).unwrap();
        let ask = move |raft: Raft| {
            let request = message::append_in(sent.clone()).unwrap();
            async move { known(raft.append_entries(request).await) }
        };
        let answer = self.carry("append", &option, ask).await?;
        Ok(message::appended_in(message::appended_out(&answer)).unwrap())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let sent = message::vote_request_out(&request);
        let (recorder, voter, candidate) = (self.wire.recorder.clone(), self.to, self.from);
        let ask = move |raft: Raft| {
            let request = message::vote_request_in(&sent).unwrap();
            let recorder = recorder.clone();
            async move {
                let term = request.vote.leader_id.term;
                let answer = known(raft.vote(request).await)?;
                if answer.vote_granted {
                    recorder.record(Event::Granted {
                        voter,
                        term,
                        candidate,
                    });
                }
                Some(answer)
            }
        };
        let answer = self.carry("vote", &option, ask).await?;
        Ok(message::voted_in(&message::voted_out(&answer)).unwrap())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let sent = message::vote_request_out(&request);
        let ask = move |raft: Raft| {
            let request = message::vote_request_in(&sent).unwrap();
            async move { known(raft.pre_vote(request).await) }
        };
        self.carry("pre-vote", &option, ask).await
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, ShardSnapshot>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        // The logs are kept whole: see the module.
        Err(Unreachable::from_string("no snapshots in a simulation").into())
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let sent = message::transfer_out(&request);
        let ask = move |raft: Raft| {
            let request = message::transfer_in(&sent).unwrap();
            async move { raft.handle_transfer_leader(request).await.ok() }
        };
        self.carry("transfer", &option, ask).await
    }
}

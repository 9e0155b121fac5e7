//! A peer, as openraft's replication and elections of one shard see it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, Snapshot};
use postino_proto::raft::v1 as proto;
use postino_types::{NodeId, ShardId};
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::link::{Link, LinkError, Receipt};
use super::snapshot::{self, Shipment};
use super::{Network, message};
use crate::raft::codec::CodecError;
use crate::raft::retention::Retention;
use crate::raft::snapshot::ShardSnapshot;
use crate::raft::types::{CommittedLeaderId, Config, LogId, Vote};

type Kind = proto::message::Kind;

/// Entries behind the last committed one from which on a peer counts as catching up.
const FAR_BEHIND: u64 = 256;

/// How long an append may be without an answer. A peer that lives, and whose disk does not, must
/// not keep this node's log from being purged.
const SILENCE: Duration = Duration::from_secs(60);

/// Makes the clients of one shard.
pub(crate) struct Factory {
    pub(crate) network: Arc<Network>,
    pub(crate) shard: ShardId,
    pub(crate) retention: Arc<Retention>,
}

impl RaftNetworkFactory<Config> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        Client {
            link: self.network.link(NodeId::new(target), &node.addr),
            shard: self.shard,
            network: Arc::clone(&self.network),
            retention: Arc::clone(&self.retention),
        }
    }
}

/// One shard's way to one peer.
pub(crate) struct Client {
    link: Arc<Link>,
    shard: ShardId,
    network: Arc<Network>,
    retention: Arc<Retention>,
}

/// An append that was sent, and what openraft wants to know when it is answered.
struct Sent {
    receipt: Receipt,
    previous: Option<LogId>,
    last: Option<LogId>,
    /// Held until the answer: the entries are in memory, here or at the peer.
    _budget: Option<OwnedSemaphorePermit>,
}

impl Client {
    async fn ask(&self, kind: Kind, option: &RPCOption) -> Result<Kind, RPCError<Config>> {
        within(option, self.exchange(kind)).await
    }

    /// The same for what nobody says again soon: a connection that is not up is waited for. A
    /// follower may never have had anything to say to the others before.
    async fn ask_once(&self, kind: Kind, option: &RPCOption) -> Result<Kind, RPCError<Config>> {
        let asked = async {
            self.link.up().await;
            self.exchange(kind).await
        };
        within(option, asked).await
    }

    async fn exchange(&self, kind: Kind) -> Result<Kind, LinkError> {
        let receipt = self.link.send(self.shard, kind).await?;
        receipt.answer().await
    }
}

async fn within(
    option: &RPCOption,
    asked: impl Future<Output = Result<Kind, LinkError>>,
) -> Result<Kind, RPCError<Config>> {
    match timeout(option.hard_ttl(), asked).await {
        Ok(answer) => refusal(answer.map_err(link_error)?),
        Err(late) => Err(RPCError::Network(NetworkError::new(&late))),
    }
}

/// Whether the entries of a request are old news: the peer is far behind.
fn is_catching_up(request: &AppendEntriesRequest<Config>) -> bool {
    let last = request.entries.last().map(|entry| entry.log_id.index);
    let committed = request.leader_commit.map_or(0, |id| id.index);
    last.is_some_and(|last| last + FAR_BEHIND < committed)
}

/// Sends one append, once the peer's budget has room for its entries; to one that is far behind at
/// the pace of snapshots.
async fn send_append(
    network: &Network,
    link: &Link,
    shard: ShardId,
    request: AppendEntriesRequest<Config>,
) -> Result<Sent, RPCError<Config>> {
    let previous = request.prev_log_id;
    let last = request.entries.last().map_or(previous, |e| Some(e.log_id));
    let append = message::append_out(&request).map_err(codec_error)?;
    let size = append.encoded_len();
    if is_catching_up(&request) {
        network.pacer.pass(size).await;
    }
    let budget = if append.entries.is_empty() {
        None
    } else {
        link.reserve(size).await
    };
    let receipt = link
        .send(shard, Kind::Append(append))
        .await
        .map_err(link_error)?;
    Ok(Sent {
        receipt,
        previous,
        last,
        _budget: budget,
    })
}

async fn append_answer(
    network: &Network,
    peer: NodeId,
    sent: Sent,
) -> Result<StreamAppendResult<Config>, RPCError<Config>> {
    let answer = timeout(SILENCE, sent.receipt.answer()).await;
    let silent =
        |_| RPCError::Network(NetworkError::from_string("the peer's disk does not answer"));
    match refusal(answer.map_err(silent)?.map_err(link_error)?)? {
        Kind::Appended(response) => {
            network.heard_of_disk(peer, response.disk_full);
            let response = message::appended_in(response).map_err(codec_error)?;
            Ok(response.into_stream_result(sent.previous, sent.last))
        }
        _ => Err(unexpected()),
    }
}

impl RaftNetworkV2<Config> for Client {
    type SnapshotData = ShardSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        let append = message::append_out(&request).map_err(codec_error)?;
        match self.ask(Kind::Append(append), &option).await? {
            Kind::Appended(response) => {
                self.network
                    .heard_of_disk(self.link.peer(), response.disk_full);
                message::appended_in(response).map_err(codec_error)
            }
            _ => Err(unexpected()),
        }
    }

    /// Pipelined: further appends leave while earlier ones have no answer. The deadline
    /// is long: a peer whose disk is slow must not be sent everything again, and a peer
    /// that is gone breaks the link.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<Config>, RPCError<Config>>>,
            RPCError<Config>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Config>> + OptionalSend + Unpin + 'static,
    {
        let (link, shard) = (Arc::clone(&self.link), self.shard);
        let (network, peer) = (Arc::clone(&self.network), self.link.peer());
        let pacing = Arc::clone(&network);
        let in_flight = self.network.settings.messages_in_flight;
        let answers = input
            .then(move |request| {
                let (pacing, link) = (Arc::clone(&pacing), Arc::clone(&link));
                async move { send_append(&pacing, &link, shard, request).await }
            })
            .map(move |sent| {
                let network = Arc::clone(&network);
                async move { append_answer(&network, peer, sent?).await }
            })
            .buffered(in_flight);
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let request = message::vote_request_out(&request);
        match self.ask_once(Kind::Vote(request), &option).await? {
            Kind::Voted(response) => message::voted_in(&response).map_err(codec_error),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let request = message::vote_request_out(&request);
        match self.ask_once(Kind::PreVote(request), &option).await? {
            Kind::Voted(response) => message::voted_in(&response).map_err(codec_error),
            _ => Err(unexpected()),
        }
    }

    /// No deadline: it may be large. A peer that is gone breaks its connection.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, ShardSnapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let ShardSnapshot::State(db) = snapshot.snapshot else {
            return Err(Unreachable::from_string("there is no snapshot to send").into());
        };
        let shipment = Shipment {
            db,
            shard: self.shard,
            vote,
            retention: Arc::clone(&self.retention),
        };
        let sent = snapshot::send(&self.network, &self.link, shipment);
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(status) => {
                    let (peer, reason) = (self.link.peer(), status.message());
                    tracing::info!(shard = %self.shard, %peer, reason, "a snapshot did not arrive");
                    Err(Unreachable::new(&status).into())
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let request = message::transfer_out(&request);
        match self.ask_once(Kind::Transfer(request), &option).await? {
            Kind::Transferred(response) => message::transferred_in(&response).map_err(codec_error),
            _ => Err(unexpected()),
        }
    }
}

fn refusal(answer: Kind) -> Result<Kind, RPCError<Config>> {
    match answer {
        Kind::Refused(refusal) => Err(RPCError::Unreachable(Unreachable::from_string(
            refusal.reason,
        ))),
        answer => Ok(answer),
    }
}

fn link_error(error: LinkError) -> RPCError<Config> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn codec_error(error: CodecError) -> RPCError<Config> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn unexpected() -> RPCError<Config> {
    RPCError::Unreachable(Unreachable::from_string("the peer answered something else"))
}

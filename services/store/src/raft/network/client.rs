//! A peer, as openraft's replication and elections of one shard see it.

use std::future::Future;
use std::sync::Arc;

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
use super::{Network, message};
use crate::raft::apply::NoSnapshot;
use crate::raft::codec::CodecError;
use crate::raft::types::{CommittedLeaderId, Config, LogId, Vote};

type Kind = proto::message::Kind;

/// Makes the clients of one shard.
pub(crate) struct Factory {
    network: Arc<Network>,
    shard: ShardId,
}

impl Factory {
    pub(crate) fn new(network: Arc<Network>, shard: ShardId) -> Self {
        Self { network, shard }
    }
}

impl RaftNetworkFactory<Config> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        Client {
            link: self.network.link(NodeId::new(target), &node.addr),
            shard: self.shard,
            messages_in_flight: self.network.settings.messages_in_flight,
        }
    }
}

/// One shard's way to one peer.
pub(crate) struct Client {
    link: Arc<Link>,
    shard: ShardId,
    messages_in_flight: usize,
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
        let asked = async {
            let receipt = self.link.send(self.shard, kind).await?;
            receipt.answer().await
        };
        match timeout(option.hard_ttl(), asked).await {
            Ok(answer) => refusal(answer.map_err(link_error)?),
            Err(late) => Err(RPCError::Network(NetworkError::new(&late))),
        }
    }
}

/// Sends one append, once the peer's budget has room for its entries.
async fn send_append(
    link: &Link,
    shard: ShardId,
    request: AppendEntriesRequest<Config>,
) -> Result<Sent, RPCError<Config>> {
    let previous = request.prev_log_id;
    let last = request.entries.last().map_or(previous, |e| Some(e.log_id));
    let append = message::append_out(&request).map_err(codec_error)?;
    let budget = if append.entries.is_empty() {
        None
    } else {
        link.reserve(append.encoded_len()).await
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

async fn append_answer(sent: Sent) -> Result<StreamAppendResult<Config>, RPCError<Config>> {
    match refusal(sent.receipt.answer().await.map_err(link_error)?)? {
        Kind::Appended(response) => {
            let response = message::appended_in(response).map_err(codec_error)?;
            Ok(response.into_stream_result(sent.previous, sent.last))
        }
        _ => Err(unexpected()),
    }
}

impl RaftNetworkV2<Config> for Client {
    type SnapshotData = NoSnapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        let append = message::append_out(&request).map_err(codec_error)?;
        match self.ask(Kind::Append(append), &option).await? {
            Kind::Appended(response) => message::appended_in(response).map_err(codec_error),
            _ => Err(unexpected()),
        }
    }

    /// Pipelined: further appends leave while earlier ones have no answer. No
    /// deadline of its own: a peer whose disk is slow must not be sent everything
    /// again, and a peer that is gone breaks the link.
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
        let answers = input
            .then(move |request| {
                let link = Arc::clone(&link);
                async move { send_append(&link, shard, request).await }
            })
            .map(|sent| async move { append_answer(sent?).await })
            .buffered(self.messages_in_flight);
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let request = message::vote_request_out(&request);
        match self.ask(Kind::Vote(request), &option).await? {
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
        match self.ask(Kind::PreVote(request), &option).await? {
            Kind::Voted(response) => message::voted_in(&response).map_err(codec_error),
            _ => Err(unexpected()),
        }
    }

    /// Never asked for while the whole log is kept; see [`NoSnapshot`].
    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, NoSnapshot>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let reason = "this version sends no snapshots";
        Err(StreamingError::Unreachable(Unreachable::from_string(
            reason,
        )))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let request = message::transfer_out(&request);
        match self.ask(Kind::Transfer(request), &option).await? {
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

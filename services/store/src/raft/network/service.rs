//! What a peer may ask this node.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::errors::RaftError;
use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::raft_server::{Raft as RaftApi, RaftServer};
use postino_types::{NodeId, ShardId};
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::frame::frames;
use super::{FRAME_LIMIT, PROTOCOL, message, snapshot};
use crate::db::Room;
use crate::raft::group::Group;
use crate::raft::node::RaftNode;
use crate::raft::types::{Config, Raft};

/// How long a caller may take to say hello.
pub(super) const HELLO: Duration = Duration::from_secs(5);

/// Answers that may wait for the transport.
const QUEUE: usize = 1024;

type Kind = proto::message::Kind;

/// The gRPC service that peers speak to. It exists before the node has an
/// identity, and refuses until [`RaftService::attach`].
#[derive(Clone, Default)]
pub struct RaftService {
    node: Arc<OnceLock<RaftNode>>,
}

impl RaftService {
    /// A service without a node.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets it answer for this node. A second node is ignored.
    pub fn attach(&self, node: RaftNode) {
        let _ = self.node.set(node);
    }

    fn node(&self) -> Result<&RaftNode, Status> {
        let node = self.node.get();
        node.ok_or_else(|| Status::unavailable("this node belongs to no cluster yet"))
    }

    /// The service, ready to be added to a server.
    pub fn into_server(self) -> RaftServer<Self> {
        RaftServer::new(self)
            .max_decoding_message_size(FRAME_LIMIT)
            .max_encoding_message_size(FRAME_LIMIT)
    }
}

/// The frames that answer a peer.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Result<proto::Frame, Status>> + Send>>;

#[tonic::async_trait]
impl RaftApi for RaftService {
    type StreamStream = Frames;

    async fn stream(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Frames>, Status> {
        let node = self.node()?;
        let mut incoming = request.into_inner();
        let first = timeout(HELLO, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello"))??;
        let hello = first
            .and_then(|frame| frame.hello)
            .ok_or_else(|| Status::invalid_argument("the first frame must say hello"))?;
        check(&hello, node)?;
        let network = node.network();
        network.announced(NodeId::new(hello.from), &hello.endpoint);

        let (answers, queue) = mpsc::channel(QUEUE);
        let answer = network.hello(NodeId::new(hello.from));
        tokio::spawn(read(node.clone(), incoming, answers));
        Ok(Response::new(Box::pin(frames(answer, queue).map(Ok))))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let node = self.node()?;
        let closed = node.network().closed();
        tokio::select! {
            () = closed.cancelled() => Err(Status::unavailable("the node is stopping")),
            received = snapshot::receive(node, request.into_inner()) => received.map(Response::new),
        }
    }
}

/// A node of another cluster, or one that looks for another node at this address,
/// must not be listened to: its terms and votes would be taken for ours.
pub(super) fn check(hello: &proto::Hello, node: &RaftNode) -> Result<(), Status> {
    let network = node.network();
    if hello.protocol != PROTOCOL {
        return Err(Status::failed_precondition(
            "another version of the protocol",
        ));
    }
    if hello.cluster_id != network.cluster.to_bytes() {
        return Err(Status::failed_precondition("another cluster"));
    }
    if hello.to != network.node.get() {
        return Err(Status::failed_precondition("another node"));
    }
    Ok(())
}

async fn read(
    node: RaftNode,
    mut incoming: Streaming<proto::Frame>,
    answers: mpsc::Sender<proto::Message>,
) {
    let closed = node.network().closed.clone();
    loop {
        let frame = tokio::select! {
            () = closed.cancelled() => return,
            frame = incoming.message() => frame,
        };
        // A peer that went away opens another stream when it is back.
        let Ok(Some(frame)) = frame else { return };
        for message in frame.messages {
            handle(&node, message, &answers).await;
        }
    }
}

/// Starts on one request; its answer leaves when it is there.
async fn handle(node: &RaftNode, message: proto::Message, answers: &mpsc::Sender<proto::Message>) {
    let (id, shard) = (message.id, message.shard);
    let Some(kind) = message.kind else { return };
    let group = node.group(ShardId::new(shard));
    let room = *node.db().room().borrow();
    let mut answer = Box::pin(answer(group, room, kind));
    let reply = move |kind| proto::Message {
        id,
        shard,
        kind: Some(kind),
    };
    // Appends of a shard must reach its group in order. The first poll hands the
    // request over; unconstrained, since otherwise tokio's budget could postpone it.
    let first = unconstrained(std::future::poll_fn(|context| {
        std::task::Poll::Ready(answer.as_mut().poll(context))
    }));
    if let std::task::Poll::Ready(kind) = first.await {
        // Without a receiver the stream is gone, and the peer asks again.
        let _ = answers.send(reply(kind)).await;
        return;
    }
    let answers = answers.clone();
    tokio::spawn(async move {
        let kind = answer.await;
        let _ = answers.send(reply(kind)).await;
    });
}

/// What this node answers a request about a shard.
pub(in crate::raft) async fn answer(group: Option<Group>, room: Room, kind: Kind) -> Kind {
    match group {
        Some(group) if group.is_mute() && is_about_leading(&kind) => {
            refused("this node was a member once, and is none yet".to_owned())
        }
        Some(group) => ask(group.raft(), room, kind).await.unwrap_or_else(refused),
        None => refused("no such shard here".to_owned()),
    }
}

/// Whether a request is for a vote, or to take the lead.
fn is_about_leading(kind: &Kind) -> bool {
    matches!(kind, Kind::Vote(_) | Kind::PreVote(_) | Kind::Transfer(_))
}

fn refused(reason: String) -> Kind {
    Kind::Refused(proto::Refusal { reason })
}

async fn ask(raft: &Raft, room: Room, kind: Kind) -> Result<Kind, String> {
    let invalid = |error: crate::raft::codec::CodecError| error.to_string();
    let stopped = |error: RaftError<Config>| error.to_string();
    Ok(match kind {
        // As if this node were away: whoever has room goes on, and it catches up later.
        Kind::Append(request) if room == Room::Critical && !request.entries.is_empty() => {
            return Err("the disk is full".to_owned());
        }
        Kind::Append(request) => {
            let request = message::append_in(request).map_err(invalid)?;
            let response = raft.append_entries(request).await.map_err(stopped)?;
            Kind::Appended(proto::AppendResponse {
                disk_full: !room.is_ample(),
                ..message::appended_out(&response)
            })
        }
        Kind::Vote(request) => {
            let request = message::vote_request_in(&request).map_err(invalid)?;
            let response = raft.vote(request).await.map_err(stopped)?;
            Kind::Voted(message::voted_out(&response))
        }
        Kind::PreVote(request) => {
            let request = message::vote_request_in(&request).map_err(invalid)?;
            let response = raft.pre_vote(request).await.map_err(stopped)?;
            Kind::Voted(message::voted_out(&response))
        }
        Kind::Transfer(request) => {
            let request = message::transfer_in(&request).map_err(invalid)?;
            let response = raft.handle_transfer_leader(request).await;
            let response = response.map_err(|error| error.to_string())?;
            Kind::Transferred(message::transferred_out(&response))
        }
        _ => return Err("not a request".to_owned()),
    })
}

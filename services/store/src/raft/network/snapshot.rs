//! One snapshot of one shard, from the node that leads it to a replica that is behind.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::Snapshot;
use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::snapshot_part::Part;
use postino_types::ShardId;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Network;
use super::link::Link;
use super::service::{HELLO, check};
use crate::db::Db;
use crate::raft::Group;
use crate::raft::codec::{self, required_vote, vote_in, vote_out};
use crate::raft::node::RaftNode;
use crate::raft::retention::Retention;
use crate::raft::shipments::Shipping;
use crate::raft::snapshot::{self, Meta, ShardSnapshot};
use crate::raft::types::Vote;

/// How long the sender of a snapshot may be silent in the middle of it.
const SILENCE: Duration = Duration::from_secs(30);

/// What is sent.
pub(super) struct Shipment {
    pub(super) db: Db,
    pub(super) shard: ShardId,
    pub(super) vote: Vote,
    pub(super) retention: Arc<Retention>,
}

/// Sends a snapshot and waits until it is installed. Returns the receiver's vote: if that is
/// higher than the sender's, it was not.
///
/// The state is read once it is this one's turn, so it may be newer than what openraft decided to
/// send: all the better.
pub(super) async fn send(
    network: &Arc<Network>,
    link: &Link,
    shipment: Shipment,
) -> Result<Vote, Status> {
    let turn = network.sending.acquire().await;
    let _turn = turn.map_err(|_| Status::cancelled("the node is stopping"))?;
    let (shard, peer) = (shipment.shard, link.peer());
    tracing::info!(%shard, %peer, "sending a snapshot");
    let read = snapshot::read(shipment.db, shard).await;
    let read = read.map_err(|error| Status::internal(error.to_string()))?;
    let (meta, parts) = read.ok_or_else(|| Status::internal("there is nothing to send"))?;
    let last = meta.last_log_id.map_or(0, |id| id.index);
    let _hold = shipment.retention.hold(last);
    let endpoint = link.endpoint(&network.addresses);
    let mut client = network.connect(endpoint).await?;
    let head = proto::SnapshotHead {
        hello: Some(network.hello(peer)),
        shard: shard.get(),
        vote: Some(vote_out(&shipment.vote)),
        applied: Some(codec::applied_out(
            meta.last_log_id.as_ref(),
            &meta.last_membership,
        )),
    };
    let shipping = network.shipments.begin(shard, peer);
    let parts = paced(Arc::clone(network), shipping, parts);
    let head = proto::SnapshotPart {
        part: Some(Part::Head(head)),
    };
    let parts = futures::stream::iter([head]).chain(parts);
    let response = client.snapshot(parts).await?.into_inner();
    let vote = response.vote.as_ref().map(vote_in);
    vote.ok_or_else(|| Status::internal("the peer answered without a vote"))
}

fn paced(
    network: Arc<Network>,
    shipping: Shipping,
    parts: mpsc::Receiver<proto::SnapshotPart>,
) -> impl Stream<Item = proto::SnapshotPart> + Send + 'static {
    let state = (network, shipping, parts);
    futures::stream::unfold(state, |(network, shipping, mut parts)| async move {
        let part = parts.recv().await?;
        let size = part.encoded_len();
        network.pacer.pass(size).await;
        shipping.add(size);
        Some((part, (network, shipping, parts)))
    })
}

/// Receives a snapshot, and has it installed.
pub(super) async fn receive(
    node: &RaftNode,
    mut parts: Streaming<proto::SnapshotPart>,
) -> Result<proto::SnapshotResponse, Status> {
    let first = timeout(HELLO, parts.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello"))??;
    let Some(Part::Head(head)) = first.and_then(|first| first.part) else {
        return Err(Status::invalid_argument("the first part must be the head"));
    };
    let hello = head.hello.unwrap_or_default();
    check(&hello, node)?;
    let shard = ShardId::new(head.shard);
    let group = node.group(shard);
    let group = group.ok_or_else(|| Status::not_found("no such shard here"))?;
    let invalid = |error: codec::CodecError| Status::invalid_argument(error.to_string());
    let vote = required_vote(head.vote.as_ref()).map_err(invalid)?;
    let (last_log_id, last_membership) =
        codec::applied_in(head.applied.unwrap_or_default()).map_err(invalid)?;
    let meta = Meta {
        last_log_id,
        last_membership,
    };
    let known = group.raft().metrics().borrow_watched().vote;
    if known > vote {
        // A leader of the past: its snapshot would only be thrown away.
        return Ok(response(&known));
    }
    // A second one of the same shard waits for the first.
    let _alone = group.receiving().lock().await;
    let turn = node.receiving().acquire().await;
    let _turn = turn.map_err(|_| Status::unavailable("the node is stopping"))?;
    has_room(&group)?;
    tracing::info!(%shard, from = hello.from, "receiving a snapshot");
    let (db, (sender, queue)) = (node.db().clone(), snapshot::pipe());
    let writing = tokio::task::spawn_blocking(move || snapshot::write(&db, shard, queue));
    let forwarded = forward(&group, &mut parts, sender).await;
    let internal = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let written = writing.await.map_err(|error| internal(&error))?;
    forwarded?;
    let incoming = written.map_err(|error| internal(&error))?;
    let snapshot = Snapshot {
        meta,
        snapshot: ShardSnapshot::Incoming(incoming),
    };
    let installed = group.raft().install_full_snapshot(vote, snapshot).await;
    let installed = installed.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(response(&installed.vote))
}

fn has_room(group: &Group) -> Result<(), Status> {
    match group.has_room() {
        true => Ok(()),
        false => Err(Status::resource_exhausted("the disk is full")),
    }
}

fn response(vote: &Vote) -> proto::SnapshotResponse {
    proto::SnapshotResponse {
        vote: Some(vote_out(vote)),
    }
}

/// Hands the parts to whoever writes them, until they end or the writer has had enough.
async fn forward(
    group: &Group,
    parts: &mut Streaming<proto::SnapshotPart>,
    writer: mpsc::Sender<proto::SnapshotPart>,
) -> Result<(), Status> {
    loop {
        let next = timeout(SILENCE, parts.message()).await;
        let next = next.map_err(|_| Status::deadline_exceeded("the snapshot broke off"))??;
        let Some(part) = next else { return Ok(()) };
        // What has come so far goes again, before the disk is too full for anything else.
        has_room(group)?;
        if writer.send(part).await.is_err() {
            return Ok(());
        }
    }
}

//! Bringing a node in. Every step can be repeated: an admission that was
//! interrupted is completed by asking again.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::cluster_client::ClusterClient;
use postino_proto::{Fault, FaultKind};
use postino_types::{NodeId, ShardId};
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Cluster;
use super::service::{membership_status, node_out};
use crate::identity::Identity;
use crate::raft::{Group, NodeAddress, RaftNode};

/// Groups that a node is added to at once.
const AT_ONCE: usize = 4;

/// How long a group may be without a leader before the admission gives up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Makes the node at `endpoint` a member of every group of this cluster. Only on
    /// the leader of the control group.
    pub(super) async fn admit(&self, endpoint: String) -> Result<NodeAddress, Status> {
        let endpoint = url(&endpoint);
        let _changing = self.inner.changing.lock().await;
        let node = self.running()?;
        let control = control(&node)?;
        control.read_barrier().await.map_err(Fault::from)?;

        let mut newcomer = connect(&endpoint).await?;
        let status = newcomer.status(proto::StatusRequest {}).await?.into_inner();
        let id = match status.identity {
            Some(identity) => member_id(&node, &identity)?,
            None => {
                let id = self
                    .inner
                    .parts
                    .node_ids
                    .allocate(control.clone(), endpoint.clone());
                let id = id.await.map_err(Fault::from)?;
                let identity = Identity {
                    node: id,
                    ..*node.identity()
                };
                let peers = control.status().voters;
                let adopt = proto::AdoptRequest {
                    identity: Some(identity.into()),
                    peers: peers.into_iter().map(node_out).collect(),
                };
                newcomer.adopt(adopt).await?;
                id
            }
        };
        let member = NodeAddress { id, endpoint };
        stream::iter(node.groups().to_vec())
            .map(|group| enlist(&node, group, &member))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        tracing::info!(%member, "a node has joined the cluster");
        Ok(member)
    }
}
fn control(node: &RaftNode) -> Result<Group, Status> {
    let control = node.group(ShardId::CONTROL);
    control
        .cloned()
        .ok_or_else(|| Status::internal("there is no control group"))
}

/// The id of a node that has an identity already, which must be one of this cluster.
fn member_id(node: &RaftNode, identity: &proto::Identity) -> Result<NodeId, Status> {
    let ours = node.identity();
    if identity.cluster_id != ours.cluster.to_bytes() {
        let message = "that node belongs to another cluster";
        return Err(Fault::new(FaultKind::WrongCluster, message).into());
    }
    if identity.node_id == ours.node.get() {
        return Err(Status::invalid_argument("that is this node"));
    }
    Ok(NodeId::new(identity.node_id))
}

/// Has the leader of one group add the node, wherever that leader is.
async fn enlist(node: &RaftNode, group: Group, member: &NodeAddress) -> Result<(), Status> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = match group.leader() {
            Some(leader) if leader.id == node.identity().node => {
                let enlisted = group.enlist(member.clone(), PATIENCE).await;
                enlisted.map_err(membership_status)
            }
            Some(leader) => enlist_at(node, &leader, group.shard(), member).await,
            None => Err(Fault::not_leader(None).into()),
        };
        match outcome {
            Ok(()) => return Ok(()),
            // The lead has moved, or a change of the members is under way.
            Err(status) if is_passing(&status) && Instant::now() < deadline => {
                tracing::debug!(shard = %group.shard(), %status, "asking again");
                sleep(Duration::from_millis(200)).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Unavailable | tonic::Code::Aborted
    )
}

async fn enlist_at(
    node: &RaftNode,
    leader: &NodeAddress,
    shard: ShardId,
    member: &NodeAddress,
) -> Result<(), Status> {
    let request = proto::EnlistRequest {
        cluster_id: node.identity().cluster.to_bytes(),
        shard: shard.get(),
        node: Some(node_out(member.clone())),
    };
    connect(&leader.endpoint).await?.enlist(request).await?;
    Ok(())
}

/// A client for the node at `endpoint`.
pub(super) async fn connect(endpoint: &str) -> Result<ClusterClient<Channel>, Status> {
    let unavailable = |error: tonic::transport::Error| {
        Status::unavailable(format!("{endpoint} cannot be reached: {error}"))
    };
    let channel = Endpoint::from_shared(endpoint.to_owned())
        .map_err(unavailable)?
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .map_err(unavailable)?;
    Ok(ClusterClient::new(channel))
}

/// An address as people write it, as the URL that tonic wants.
pub(super) fn url(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

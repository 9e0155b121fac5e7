//! Bringing a node in. Every step can be repeated: an admission that was
//! interrupted is completed by asking again.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::cluster_client::ClusterClient;
use postino_proto::{Fault, FaultKind};
use postino_types::{NodeId, ShardId};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Cluster;
use super::service::{membership_status, node_out};
use crate::identity::Identity;
use crate::raft::{Group, NodeAddress, RaftNode};

/// Groups that a node is added to at once.
const AT_ONCE: usize = 4;

/// How long a node may take to say who it is, or to take on an identity.
const ANSWER: Duration = Duration::from_secs(40);

/// How long a group may be without a leader before the admission gives up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Makes the node at `endpoint` one of this cluster, and a member of every group as
    /// long as the cluster has too few nodes for all replicas; later ones get replicas as
    /// the planner sees fit. Only on the leader of the control group.
    pub(super) async fn admit(&self, endpoint: String) -> Result<NodeAddress, Status> {
        let _changing = self.inner.changing.lock().await;
        let node = self.running()?;
        let member = self.welcome(&node, url(&endpoint)).await?;
        let enough = usize::try_from(self.inner.parts.replicas).unwrap_or(usize::MAX);
        if control(&node)?.status().voters.len() >= enough {
            tracing::info!(%member, "a node has joined the cluster");
            return Ok(member);
        }
        stream::iter(node.groups())
            .map(|group| enlist(&node, group, &member))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        tracing::info!(%member, "a node has joined the cluster, and every shard");
        Ok(member)
    }

    /// Makes the node at `endpoint` one of this cluster, without any replica yet. Only on
    /// the leader of the control group.
    pub(crate) async fn take_in(&self, endpoint: &str) -> Result<NodeAddress, Status> {
        let _changing = self.inner.changing.lock().await;
        let member = self.welcome(&self.running()?, url(endpoint)).await?;
        tracing::info!(%member, "a node has joined the cluster");
        Ok(member)
    }

    /// Gives a node its id and its identity, unless it has them already.
    async fn welcome(&self, node: &RaftNode, endpoint: String) -> Result<NodeAddress, Status> {
        let control = control(node)?;
        control.read_barrier().await.map_err(Fault::from)?;
        if let Some(gate) = self.inner.gate.get() {
            gate(endpoint.clone()).await?;
        }
        let mut newcomer = connect(&endpoint).await?;
        let status = newcomer.status(short(proto::StatusRequest {})).await?;
        let status = status.into_inner();
        if let Some(identity) = status.identity {
            let id = member_id(node, &identity)?;
            let refused = self.inner.parts.node_ids.refusal(id);
            if let Some(why) = refused.map_err(crate::shards::broken)? {
                return Err(Status::failed_precondition(why));
            }
            return Ok(NodeAddress { id, endpoint });
        }
        // An older build does not say, and knows the first one.
        let (level, known) = (self.level(ShardId::CONTROL), status.highest_level.max(1));
        if level > known {
            return Err(Status::failed_precondition(format!(
                "the cluster is at feature level {level}, and that node's build knows levels up \
                 to {known} only: run a newer build there"
            )));
        }
        let node_ids = &self.inner.parts.node_ids;
        let id = node_ids.allocate(control.clone(), endpoint.clone());
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
        newcomer.adopt(short(adopt)).await?;
        Ok(NodeAddress { id, endpoint })
    }
}

fn control(node: &RaftNode) -> Result<Group, Status> {
    let control = node.group(ShardId::CONTROL);
    control.ok_or_else(|| Status::internal("there is no control group"))
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

/// A call that is answered at once, or never.
pub(super) fn short<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER);
    request
}

/// A client for the node at `endpoint`.
pub(super) async fn connect(endpoint: &str) -> Result<ClusterClient<Channel>, Status> {
    channel(endpoint).await.map(ClusterClient::new)
}

/// A connection to the node at `endpoint`.
pub(super) async fn channel(endpoint: &str) -> Result<Channel, Status> {
    let unavailable = |error: tonic::transport::Error| {
        Status::unavailable(format!("{endpoint} cannot be reached: {error}"))
    };
    Endpoint::from_shared(endpoint.to_owned())
        .map_err(unavailable)?
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .map_err(unavailable)
}

/// An address as people write it, as the URL that tonic wants.
pub(super) fn url(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

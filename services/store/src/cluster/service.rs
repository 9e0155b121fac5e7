//! `postino.cluster.v1`.

use std::time::Duration;

use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::cluster_server::{Cluster as ClusterApi, ClusterServer};
use postino_proto::{Fault, FaultKind};
use postino_types::{NodeId, ShardId};
use tonic::{Request, Response, Status};

use super::{Cluster, ClusterError};
use crate::identity::{Identity, IdentityError};
use crate::raft::{GroupStatus, MembershipError, NodeAddress, RaftNode};

/// How long a node may take to catch up with one group.
const ENLIST: Duration = Duration::from_secs(300);

impl Cluster {
    /// The service, ready to be added to a server.
    pub fn into_server(self) -> ClusterServer<Self> {
        ClusterServer::new(self)
    }
}

#[tonic::async_trait]
impl ClusterApi for Cluster {
    async fn status(
        &self,
        _request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let Some(node) = self.node() else {
            return Ok(Response::new(proto::StatusResponse::default()));
        };
        let groups = node.groups().iter().map(|group| group_out(group.status()));
        Ok(Response::new(proto::StatusResponse {
            identity: Some((*node.identity()).into()),
            groups: groups.collect(),
        }))
    }

    async fn init(
        &self,
        request: Request<proto::InitRequest>,
    ) -> Result<Response<proto::InitResponse>, Status> {
        let identity = Cluster::init(self, request.into_inner().shard_count).await?;
        Ok(Response::new(proto::InitResponse {
            identity: Some(identity.into()),
        }))
    }

    async fn add_member(
        &self,
        request: Request<proto::AddMemberRequest>,
    ) -> Result<Response<proto::AddMemberResponse>, Status> {
        let node = self.admit(request.into_inner().endpoint).await?;
        Ok(Response::new(proto::AddMemberResponse {
            node: Some(node_out(node)),
        }))
    }

    async fn adopt(
        &self,
        request: Request<proto::AdoptRequest>,
    ) -> Result<Response<proto::AdoptResponse>, Status> {
        let request = request.into_inner();
        let identity = request.identity.as_ref();
        let identity = identity.ok_or_else(|| Status::invalid_argument("no identity"))?;
        let identity = Identity::try_from(identity)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Cluster::adopt(self, identity).await?;
        Ok(Response::new(proto::AdoptResponse {}))
    }

    async fn enlist(
        &self,
        request: Request<proto::EnlistRequest>,
    ) -> Result<Response<proto::EnlistResponse>, Status> {
        let request = request.into_inner();
        let node = self.running()?;
        if request.cluster_id != node.identity().cluster.to_bytes() {
            return Err(Fault::new(FaultKind::WrongCluster, "another cluster").into());
        }
        let group = node
            .group(ShardId::new(request.shard))
            .ok_or_else(|| Status::not_found("no such shard"))?;
        let member = request
            .node
            .ok_or_else(|| Status::invalid_argument("no node"))?;
        group
            .enlist(node_in(member), ENLIST)
            .await
            .map_err(membership_status)?;
        Ok(Response::new(proto::EnlistResponse {}))
    }
}

impl Cluster {
    /// The node, or the status that says that it belongs to no cluster.
    pub(super) fn running(&self) -> Result<RaftNode, Status> {
        self.node().ok_or_else(|| {
            Fault::new(
                FaultKind::Uninitialised,
                "this node belongs to no cluster yet",
            )
            .into()
        })
    }
}

pub(super) fn membership_status(error: MembershipError) -> Status {
    match error {
        MembershipError::NotLeader { leader } => {
            Fault::not_leader(leader.map(|leader| leader.endpoint)).into()
        }
        MembershipError::Stopped => Fault::not_leader(None).into(),
        MembershipError::Timeout => Status::deadline_exceeded(error.to_string()),
        MembershipError::Refused(_) => Status::aborted(error.to_string()),
    }
}

impl From<ClusterError> for Status {
    fn from(error: ClusterError) -> Self {
        match &error {
            ClusterError::Identity(IdentityError::Exists(_)) => {
                Self::already_exists(error.to_string())
            }
            ClusterError::Identity(IdentityError::ShardCount(_)) => {
                Self::invalid_argument(error.to_string())
            }
            ClusterError::Identity(IdentityError::StateLost { .. }) => {
                Self::failed_precondition(error.to_string())
            }
            _ => {
                tracing::error!(%error, "the node could not change its cluster");
                Self::internal("the node could not change its cluster; see its log")
            }
        }
    }
}

fn group_out(status: GroupStatus) -> proto::Group {
    proto::Group {
        shard: status.shard.get(),
        term: status.leadership.term,
        leader: status.leadership.leader.map(node_out),
        voters: status.voters.into_iter().map(node_out).collect(),
        learners: status.learners.into_iter().map(node_out).collect(),
        last_index: status.last_index,
        applied_index: status.applied_index,
        halted: status.halted.unwrap_or_default(),
    }
}

pub(super) fn node_out(node: NodeAddress) -> proto::Node {
    proto::Node {
        id: node.id.get(),
        endpoint: node.endpoint,
    }
}

fn node_in(node: proto::Node) -> NodeAddress {
    NodeAddress {
        id: NodeId::new(node.id),
        endpoint: node.endpoint,
    }
}
